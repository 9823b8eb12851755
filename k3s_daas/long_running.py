"""Requests without a natural end, watches and followed logs, and the time limit that a watch carries.

Both halves read the same query by the same rules: the gateway shortens a watch to what it can wait for, and
the listener again to what it allows, whatever the gateway said.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote_plus

from k3s_daas.attributes import RequestAttributes

# How the API server reads a boolean parameter: present means true, except for these.
_FALSE = frozenset({"0", "false"})
# More digits than any time needs; Python refuses to read thousands of them.
_SECONDS = re.compile(r"\+?[0-9]{1,9}", re.ASCII)


def is_true(query: str, name: str) -> bool:
    """Whether a boolean parameter is set; the first one counts, as at the API server."""
    value = first_value(query, name)
    return value is not None and value.lower() not in _FALSE


def first_value(query: str, name: str) -> str | None:
    """The decoded value of a parameter, None if it is not there."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return next((value for key, value in pairs if key == name), None)


def follows_log(attributes: RequestAttributes, query: str) -> bool:
    """A log that is read on as it is written."""
    return attributes.subresource == "log" and is_true(query, "follow")


def is_long_running(attributes: RequestAttributes, query: str) -> bool:
    """A watch or a followed log: it has no end of its own and must be given one."""
    return attributes.verb == "watch" or follows_log(attributes, query)


def seconds(text: str | None) -> int | None:
    """A time limit as the API server reads it; None if there is none."""
    return int(text) if text and _SECONDS.fullmatch(text) and int(text) > 0 else None


def bounded_watch(query: str, limit_s: int) -> str:
    """The query with exactly one `timeoutSeconds`, at most `limit_s`; all else as it was, in order."""
    kept: list[str] = []
    timeout = limit_s
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        if unquote_plus(key) == "timeoutSeconds":
            timeout = min(timeout, seconds(unquote_plus(value)) or timeout)
        else:
            kept.append(pair)
    return "&".join([*kept, f"timeoutSeconds={timeout}"])
