"""Which requests are discovery: what an API server serves, the same for everybody who may ask.

Both halves decide by this list. The listener runs these requests as `DISCOVERY_USER` instead of the holder,
and the gateway keeps their replies for other holders. Both only hold together: a reply that was made for one
holder must not reach another one, nor must one holder's refusal.

The list is closed on purpose. Every path on it is covered by Kubernetes' own ClusterRole `system:discovery`,
and nothing else may be asked in that user's name: no resource, no method but GET and HEAD, no spelling with
escapes or a slash at the end.
"""

from __future__ import annotations

import re

from k3s_daas.attributes import RequestAttributes

DISCOVERY_USER = "daas:discovery"
"""Kubernetes user of discovery requests; in no group of ours, bound to `system:discovery`."""

# Groups and versions are DNS names; OpenAPI has documents for other paths too (`.well-known/…`).
_NAME = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_DISCOVERY_PATH = re.compile(
    rf"/version|/api(?:/{_NAME})?|/apis(?:/{_NAME}){{0,2}}|/openapi/v2|/openapi/v3(?:/[A-Za-z0-9._-]+){{0,4}}",
    re.ASCII,
)
_DEFINITIONS = frozenset(
    {("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")}
)


def is_discovery(attributes: RequestAttributes) -> bool:
    """Whether the request runs as `DISCOVERY_USER`, and its reply is the same for every holder."""
    return (
        not attributes.is_resource_request
        and attributes.verb == "get"
        and _DISCOVERY_PATH.fullmatch(attributes.path) is not None
    )


def changes_discovery(attributes: RequestAttributes) -> bool:
    """Whether the request may change what discovery answers: it writes a CRD or an APIService."""
    return (attributes.api_group, attributes.resource) in _DEFINITIONS and not attributes.is_read
