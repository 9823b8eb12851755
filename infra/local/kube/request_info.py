"""Path and method → verb, resource, subresource, namespace and name.

The rules are those of the API server's `RequestInfo` (k8s.io/apiserver/pkg/endpoints/request).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True)
class RequestInfo:
    """What authorization, audit and routing know of a request."""

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    """Of the object addressed; of a list or watch, the one that its field selector picks."""

    @property
    def full_resource(self) -> str:
        """`pods/status`, as rules and messages name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """`path` is percent-decoded. A method that Kubernetes does not know gives the verb in lower case."""
    non_resource = RequestInfo(verb=method.lower(), path=path)
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return non_resource
    verb = _VERBS.get(method, method.lower())
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        # namespaces/{name}/status and …/finalize are the namespace's own subresources.
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = "/".join(rest[2:])
    if not name and verb == "get":
        # As API servers read a boolean parameter: present means true, except for these.
        verb = "list" if query.get("watch", "0").lower() in ("0", "false") else "watch"
    elif not name and verb == "delete":
        verb = "deletecollection"
    if not name and verb in ("list", "watch", "deletecollection"):
        # A list of one name is authorized as that name, so that resourceNames can allow it.
        selected = re.fullmatch(r"metadata\.name==?([^,=!]+)", query.get("fieldSelector", ""))
        name = selected[1] if selected else ""
    return RequestInfo(verb, path, True, group, version, resource, subresource, namespace, name)
