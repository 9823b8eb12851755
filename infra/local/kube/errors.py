"""Every refusal of the API server, as the `metav1.Status` that kubectl expects.

The pairs of code and reason are those of `k8s.io/apimachinery/pkg/api/errors`; kubectl prints the
message and decides by the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.local.kube.registry import Resource

Json = dict[str, Any]


class ApiError(Exception):
    """A request that ends in a failure Status. `headers` go out with it (for `Allow`, `Retry-After`)."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Json:
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body


@dataclass(frozen=True)
class Cause:
    """One field error of a 422: `reason` is FieldValueRequired, FieldValueInvalid, …"""

    reason: str
    field: str
    text: str

    def as_json(self) -> Json:
        return {"reason": self.reason, "message": self.text, "field": self.field}

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


def required(field: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", field, f"Required value{': ' + why if why else ''}")


def invalid_value(field: str, value: object, why: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Cause("FieldValueInvalid", field, f"Invalid value: {shown}: {why}")


def _details(resource: Resource, name: str = "") -> Json:
    details: Json = {}
    if name:
        details["name"] = name
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(message: str, details: Json | None = None) -> ApiError:
    return ApiError(403, "Forbidden", message, details)


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def modified(resource: Resource, name: str) -> ApiError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def apply_conflict(causes: Sequence[tuple[str, str]]) -> ApiError:
    """Server-side apply met fields of other managers: pairs of (manager description, field path)."""
    count = len(causes)
    head = f"Apply failed with {count} conflict{'s' if count > 1 else ''}: "
    if count == 1:
        message = head + f"conflict with {causes[0][0]}: {causes[0][1]}"
    else:
        by_manager: dict[str, list[str]] = {}
        for manager, field in causes:
            by_manager.setdefault(manager, []).append(field)
        message = head + "\n".join(
            f"conflicts with {manager}:\n" + "\n".join(f"- {field}" for field in fields)
            for manager, fields in by_manager.items()
        )
    listed = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": field}
        for manager, field in causes
    ]
    return ApiError(409, "Conflict", message, {"causes": listed})


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    texts = [str(cause) for cause in causes]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    qualified = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details: Json = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    details["causes"] = [cause.as_json() for cause in causes]
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {joined}', details)


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def not_acceptable(offered: str) -> ApiError:
    message = f"only the following media types are accepted: {offered}"
    return ApiError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: str) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(415, "UnsupportedMediaType", message)


def too_large(limit: int) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def revision_too_large(wanted: int, current: int) -> ApiError:
    message = f"Too large resource version: {wanted}, current: {current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return ApiError(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})


def not_implemented(what: str) -> ApiError:
    """Something that a real cluster does and this one, which runs no containers, does not."""
    return ApiError(501, "NotImplemented", what)
