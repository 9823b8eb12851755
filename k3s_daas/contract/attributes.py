"""Kubernetes request attributes as the contract knows them (Move struct `attributes::Attributes`)."""

from __future__ import annotations

from dataclasses import dataclass, fields

from k3s_daas.attributes import RequestAttributes
from k3s_daas.bcs import Reader, Writer


@dataclass(frozen=True, slots=True)
class OnChainAttributes:
    """Either `resource` is set, or `non_resource_url`: the pattern of the role's rule, never the path itself.

    The field order is the one of the Move struct, of both events, and of the call's arguments.
    """

    verb: str
    api_group: str = ""
    api_version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    non_resource_url: str = ""

    @classmethod
    def of(cls, attributes: RequestAttributes, non_resource_url: str) -> OnChainAttributes:
        """What goes on chain of a request. Paths are not public: of a non-resource request only
        `non_resource_url` does, the pattern of the rule that admits it."""
        if not attributes.is_resource_request:
            return cls(verb=attributes.verb, non_resource_url=non_resource_url)
        return cls(
            verb=attributes.verb,
            api_group=attributes.api_group,
            api_version=attributes.api_version,
            resource=attributes.resource,
            subresource=attributes.subresource,
            namespace=attributes.namespace,
            name=attributes.name,
        )

    def values(self) -> tuple[str, ...]:
        """All fields, in order."""
        return tuple(getattr(self, name) for name in ATTRIBUTE_NAMES)

    def write(self, writer: Writer) -> None:
        """Appends the BCS."""
        for value in self.values():
            writer.string(value)

    @classmethod
    def read(cls, reader: Reader) -> OnChainAttributes:
        """Reads the BCS. Raises `BcsError`."""
        return cls(*(reader.string() for _ in ATTRIBUTE_NAMES))


ATTRIBUTE_NAMES = tuple(field.name for field in fields(OnChainAttributes))
