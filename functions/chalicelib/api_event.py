"""What an API Gateway proxy event (version 1) is made of, as far as this app reads it.

A front end of another kind, or whoever may invoke the function by himself, can send anything that is JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def is_proxy_event(event: object) -> bool:
    """Whether everything that is read of the event has the type that API Gateway gives it, or is missing."""
    return isinstance(event, dict) and all(is_one(event.get(name)) for name, is_one in _FIELDS.items())


def is_complete(event: Mapping[str, Any]) -> bool:
    """Whether a proxy event has what its route needs: a method, and a value for each part of the path."""
    context = event["requestContext"]
    names = (part[1:-1] for part in context["resourcePath"].split("/") if part.startswith("{"))
    return context.get("httpMethod") is not None and all(
        name in (event.get("pathParameters") or {}) for name in names
    )


def _is_context(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and isinstance(value.get("resourcePath"), str | None)
        and isinstance(value.get("httpMethod"), str | None)
        and isinstance(value.get("identity"), dict | None)
    )


def _is_texts(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    )


def _is_texts_or_nulls(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(text, str | None) for text in value.values())
    )


def _is_lists(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(
            isinstance(texts, list) and all(isinstance(text, str) for text in texts)
            for texts in value.values()
        )
    )


_FIELDS: Mapping[str, Callable[[object], bool]] = {
    "headers": _is_texts_or_nulls,
    "multiValueHeaders": _is_lists,
    "queryStringParameters": _is_texts,
    "multiValueQueryStringParameters": _is_lists,
    "pathParameters": _is_texts,
    "requestContext": _is_context,
    "body": lambda value: isinstance(value, str | bytes | None),
}
