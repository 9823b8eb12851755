"""Events as they may come besides the usual shape: fields that are null, missing, or filled in otherwise.

API Gateway's own test console and other front ends leave out what the usual path fills in; whoever may invoke
the function by himself can send any JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

Event = dict[str, Any]


def _null(name: str) -> Callable[[Event], None]:
    def shape(event: Event) -> None:
        event[name] = None

    return shape


def _missing(name: str) -> Callable[[Event], None]:
    def shape(event: Event) -> None:
        event.pop(name, None)

    return shape


def _other_type(name: str, value: object) -> Callable[[Event], None]:
    def shape(event: Event) -> None:
        event[name] = value

    return shape


def _in_context(name: str, value: object) -> Callable[[Event], None]:
    def shape(event: Event) -> None:
        event["requestContext"][name] = value

    return shape


def _text_body(event: Event) -> None:
    """As API Gateway hands over what is no binary type to it."""
    if event.get("isBase64Encoded") and _is_base64(event.get("body")):
        event["body"] = base64.b64decode(event["body"]).decode("utf-8", "replace")
    event["isBase64Encoded"] = False


def _is_base64(body: str | None) -> bool:
    try:
        return body is not None and bool(base64.b64decode(body, validate=True))
    except ValueError:
        return False


def _bad_base64(event: Event) -> None:
    event["body"], event["isBase64Encoded"] = "no base64!", True


def _surrogate_body(event: Event) -> None:
    event["body"], event["isBase64Encoded"] = "\ud800", False


def _decoded_segments(event: Event) -> None:
    """AWS reports them both ways."""
    segments = event.get("pathParameters") or {}
    event["pathParameters"] = {name: unquote(value) for name, value in segments.items()} or None


def _null_header(event: Event) -> None:
    event["headers"] = {**(event.get("headers") or {}), "content-type": None, "accept": None}


# What only somebody who invokes the function by himself can send.
_OTHER_TYPES: tuple[tuple[str, object], ...] = (
    ("headers", ["accept"]),
    ("headers", {"accept": 1}),
    ("multiValueHeaders", {"accept": None}),
    ("multiValueHeaders", {"accept": [None]}),
    ("queryStringParameters", {"limit": None}),
    ("multiValueQueryStringParameters", "limit=1"),
    ("multiValueQueryStringParameters", {"limit": [1]}),
    ("pathParameters", None),
    ("pathParameters", {f"s{index}": "\ud800" for index in range(12)}),
    ("pathParameters", {"s0": None}),
    ("pathParameters", ["api"]),
    ("body", 1),
    ("body", {"kind": "Pod"}),
    ("requestContext", None),
    ("requestContext", "api"),
    ("requestContext", {}),
    ("requestContext", {"resourcePath": "/{proxy+}", "httpMethod": "GET"}),
    ("requestContext", {"resourcePath": ["/"], "httpMethod": "GET"}),
    ("requestContext", {"resourcePath": "/"}),
    ("requestContext", {"resourcePath": "/", "httpMethod": "GET", "identity": "me"}),
)
SHAPES: dict[str, Callable[[Event], None]] = {
    "headers null": _null("headers"),
    "headers missing": _missing("headers"),
    "headers with nulls": _null_header,
    "multiValueHeaders null": _null("multiValueHeaders"),
    "multiValueHeaders missing": _missing("multiValueHeaders"),
    "queryStringParameters missing": _missing("queryStringParameters"),
    "multiValueQueryStringParameters null": _null("multiValueQueryStringParameters"),
    "multiValueQueryStringParameters missing": _missing("multiValueQueryStringParameters"),
    "body missing": _missing("body"),
    "body empty": lambda event: event.update(body="", isBase64Encoded=False),
    "body as text": _text_body,
    "body no base64": _bad_base64,
    "body no unicode": _surrogate_body,
    "isBase64Encoded missing": _missing("isBase64Encoded"),
    "stageVariables missing": _missing("stageVariables"),
    "path missing": _missing("path"),
    "resource missing": _missing("resource"),
    "segments decoded": _decoded_segments,
    "pathParameters missing at the root": lambda event: (
        None if event.get("pathParameters") else _missing("pathParameters")(event)
    ),
    "requestTimeEpoch missing": lambda event: event["requestContext"].pop("requestTimeEpoch", None),
    "requestTimeEpoch in the future": _in_context("requestTimeEpoch", 2**53),
    "requestTimeEpoch a text": _in_context("requestTimeEpoch", "yesterday"),
    "identity null": _in_context("identity", None),
    "identity empty": _in_context("identity", {}),
    # Last: the others look at what they change.
    **{f"{name} is {value!r}": _other_type(name, value) for name, value in _OTHER_TYPES},
}
"""Name -> what is done to an event; several are done in this order."""
