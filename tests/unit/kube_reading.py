"""How kube-apiserver reads a request line: a model of its own, which shares no code with the product.

The rules are those of Go's `net/http` (the path is percent-decoded once, `+` stays in it), `url.ParseQuery`
(`+` is a space, pairs with `;` are dropped) and `RequestInfo` in k8s.io/apiserver.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_VERB_OF_METHOD = {
    **{"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
}
_NOT_IN_NAMES = ("/", "%")


class NotHttpError(Exception):
    """A server would answer 400 to this request line."""


@dataclass(frozen=True)
class Reading:
    """`resource` is empty for a non-resource request, whose `verb` is the method in lower case."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def values(self) -> tuple[str, ...]:
        return (
            *(self.verb, self.group, self.version, self.resource),
            *(self.subresource, self.namespace, self.name),
        )


def read(method: str, target: str) -> Reading:
    """What the API server authorises and runs for `METHOD target HTTP/1.1`."""
    if not re.fullmatch(r"/[\x21-\x7e]*", target):
        raise NotHttpError("the target is not one word of ASCII that begins with a slash")
    raw_path, _, raw_query = target.partition("?")
    path, query = _decoded(raw_path), _query(raw_query)
    parts = path.strip("/").split("/") if path.strip("/") else []
    other = Reading(method.lower(), path)
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return other
    grouped = parts.pop(0) == "apis"
    if grouped and len(parts) < 3:
        return other
    group = parts.pop(0) if grouped else ""
    version = parts.pop(0)
    verb = _VERB_OF_METHOD.get(method, "")
    if parts[0] in ("watch", "proxy"):
        if len(parts) < 2:
            raise NotHttpError("nothing follows the special verb")
        verb = parts.pop(0)
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in ("status", "finalize"):
            parts = parts[2:]
    resource, name = parts[0], parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 and verb != "proxy" else ""
    if not name and verb == "get":
        verb = "watch" if query.get("watch", ["0"])[0].lower() not in ("0", "false") else "list"
        name = _selected(query)
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Reading(verb, path, group, version, resource, subresource, namespace, name)


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise NotHttpError("a percent sign that escapes nothing")
    # Go keeps the bytes; what is no UTF-8 stays different from everything that is.
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def _query(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in text.split("&"):
        if not pair or ";" in pair:
            continue
        key, _, value = pair.partition("=")
        try:
            key, value = (_decoded(part.replace("+", " ")) for part in (key, value))
        except NotHttpError:
            continue
        found.setdefault(key, []).append(value)
    return found


def _selected(query: dict[str, list[str]]) -> str:
    """The name that the field selector leaves, if it is one that a path could carry."""
    for term in query.get("fieldSelector", [""])[0].split(","):
        match = re.fullmatch(r"\s*metadata\.name(==|=)(?P<name>[^,=!]*)", term)
        if match is not None:
            name = match["name"]
            if name in (".", "..") or any(sign in name for sign in _NOT_IN_NAMES):
                return ""
            return name
    return ""
