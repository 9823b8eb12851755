"""What handlers take and give: an authorized request, and what to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.local.kube.authentication import User
from infra.local.kube.errors import Json
from infra.local.kube.registry import Resource
from infra.local.kube.request_info import RequestInfo


@dataclass(frozen=True)
class Call:
    """A request whose sender is known and allowed to send it."""

    info: RequestInfo
    method: str
    query: Mapping[str, str]
    user: User
    content_type: str = ""
    body: bytes = b""
    agent: str = ""

    @property
    def media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()

    def namespace_scope(self, resource: Resource) -> str | None:
        """The namespace of a list; None for all."""
        return self.info.namespace if resource.namespaced and self.info.namespace else None

    def object_namespace(self, resource: Resource) -> str:
        return self.info.namespace if resource.namespaced else ""


@dataclass
class Answer:
    """An object, or a list of objects with the list's metadata, and how to send it."""

    code: int = 200
    obj: Json | None = None
    items: list[Json] | None = None
    list_metadata: Json = field(default_factory=dict)
    resource: Resource | None = None
    warnings: list[str] = field(default_factory=list)
