"""Content negotiation: which of the offered forms an `Accept` header asks for first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from infra.local.kube.errors import bad_request, not_acceptable, unsupported_media_type
from infra.local.kube.protobuf import MEDIA_TYPE, decode

JSON_TYPE, YAML_TYPE = "application/json", "application/yaml"
_OFFERED = "application/json, application/yaml"


@dataclass(frozen=True)
class Form:
    """The form of an answer: media type, and the transformation (`Table`, …) or "" for the object itself."""

    media_type: str = JSON_TYPE
    transform: str = ""
    group: str = ""
    version: str = ""

    @property
    def content_type(self) -> str:
        if self.transform == "APIGroupDiscoveryList":
            return f"{self.media_type};g={self.group};v={self.version};as={self.transform}"
        return self.media_type


_TRANSFORMS = {
    ("Table", "meta.k8s.io", "v1"),
    ("PartialObjectMetadata", "meta.k8s.io", "v1"),
    ("PartialObjectMetadataList", "meta.k8s.io", "v1"),
}
DISCOVERY = {("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2")}


def negotiate(accept: str, transforms: set[tuple[str, str, str]] | None = None) -> Form:
    """The first acceptable form in the order of the header. Raises 406 if there is none.

    Protobuf is never offered: kubectl names JSON as its second choice.
    """
    allowed = _TRANSFORMS if transforms is None else transforms
    for entry in accept.split(",") if accept.strip() else ["*/*"]:
        media, *parameters = (part.strip() for part in entry.split(";"))
        given = dict(p.split("=", 1) for p in parameters if "=" in p)
        if media in ("*/*", "application/*"):
            media = JSON_TYPE
        if media not in (JSON_TYPE, YAML_TYPE):
            continue
        if "as" not in given:
            return Form(media)
        wanted = (given["as"], given.get("g", ""), given.get("v", ""))
        if wanted in allowed:
            return Form(media, *wanted)
    raise not_acceptable(_OFFERED)


def decode_body(content_type: str, body: bytes) -> Any:
    """A request body as JSON data; None for an empty one. 415 for other types, 400 if it does not parse."""
    if not body:
        return None
    media = content_type.partition(";")[0].strip().lower() or JSON_TYPE
    if media == MEDIA_TYPE:
        return decode(body)
    if media != JSON_TYPE and not media.endswith(("+json", "yaml")):
        raise unsupported_media_type(f"{JSON_TYPE}, {YAML_TYPE}, {MEDIA_TYPE}")
    try:
        # YAML's safe loader would read JSON too, but turns some strings into dates.
        return _yaml(body) if media.endswith("yaml") else _json(body)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise bad_request(f"the object provided is unrecognized: couldn't parse the body: {error}") from error


def _json(body: bytes) -> Any:
    return json.loads(body)


class _JsonLoader(yaml.SafeLoader):
    """YAML 1.2's JSON types only: no dates."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(body: bytes) -> Any:
    if body.lstrip()[:1] == b"{":
        return _json(body)
    return yaml.load(body, Loader=_JsonLoader)  # noqa: S506 - derived from the safe loader
