"""Request bodies in Kubernetes' protobuf encoding, decoded to the same JSON that a JSON body would be.

kubectl's typed commands (`create deployment`, `create secret`, `auth can-i`, …) send protobuf and do not
fall back to JSON. Field numbers come from `data/protobuf_fields.txt`; a field or kind that is not there
gives a 400 or 415, never a silently shortened object. Answers are always JSON, which kubectl accepts.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from infra.local.kube.errors import ApiError, Json, bad_request
from infra.local.kube.naming import micro_timestamp, timestamp

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_MAX_DEPTH = 64

# API group → the prefix of its messages in the table.
_PACKAGES = {
    "": "core",
    "apps": "apps",
    "authentication.k8s.io": "authentication",
    "authorization.k8s.io": "authorization",
    "autoscaling": "autoscaling",
    "batch": "batch",
    "coordination.k8s.io": "coordination",
    "networking.k8s.io": "networking",
    "policy": "policy",
    "rbac.authorization.k8s.io": "rbac",
    "scheduling.k8s.io": "scheduling",
}

Wire = tuple[int, int, Any]  # field number, wire type, value (int or bytes)


@dataclass(frozen=True)
class _Field:
    name: str
    type: str
    repeated: bool
    mapped: bool
    pointer: bool


@cache
def _messages() -> dict[str, dict[int, _Field]]:
    text = files("infra.local.kube").joinpath("data/protobuf_fields.txt").read_text("utf-8")
    found: dict[str, dict[int, _Field]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        message, _, listed = line.partition(": ")
        fields: dict[int, _Field] = {}
        for entry in filter(None, listed.split(", ")):
            number, name, declared = entry.split(" ")
            kind = re.fullmatch(r"(map\()?([\w.-]+)\)?([*?]?)", declared)
            if kind is None:
                raise ValueError(f"bad type {declared!r} of {message}.{name}")
            mark = kind[3]
            fields[int(number)] = _Field(name, kind[2], mark == "*", bool(kind[1]), mark == "?")
        found[message] = fields
    return found


def decode(body: bytes) -> Json:
    """The object in a protobuf body, with apiVersion and kind. 400 if malformed, 415 for an unknown kind."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is not a Kubernetes protobuf message: it lacks the magic prefix")
    try:
        api_version, kind, raw = _unwrap(body[len(_MAGIC) :])
        message = _message_name(api_version, kind)
        decoded = _decode_message(message, raw, 0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise bad_request(f"the protobuf body is malformed: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **decoded}


def _unwrap(data: bytes) -> tuple[str, str, bytes]:
    """runtime.Unknown: 1 typeMeta (1 apiVersion, 2 kind), 2 raw, 3 contentEncoding, 4 contentType."""
    api_version = kind = ""
    raw = b""
    for number, _, value in _wire_fields(data):
        if number == 1:
            for inner, _, text in _wire_fields(value):
                if inner == 1:
                    api_version = text.decode()
                elif inner == 2:
                    kind = text.decode()
        elif number == 2:
            raw = value
        elif number == 3 and value:
            raise bad_request(f"unsupported content encoding {value!r} inside the protobuf body")
    return api_version, kind, raw


def _message_name(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    package = "meta" if kind in ("DeleteOptions",) else _PACKAGES.get(group, "")
    if (group, version) == ("autoscaling", "v1"):
        package = "autoscalingv1"
    name = f"{package}.{kind}"
    if name not in _messages():
        message = f"no protobuf decoder for {api_version} {kind}; send application/json instead"
        raise ApiError(415, "UnsupportedMediaType", message)
    return name


def _wire_fields(data: bytes) -> Iterator[Wire]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        value: Any
        if wire_type == 0:
            value, position = _varint(data, position)
        elif wire_type == 1:
            value, position = data[position : position + 8], position + 8
        elif wire_type == 2:
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
        elif wire_type == 5:
            value, position = data[position : position + 4], position + 4
        else:
            raise bad_request(f"the protobuf body is malformed: wire type {wire_type}")
        if position > len(data):
            raise bad_request("the protobuf body is malformed: it ends inside a field")
        yield number, wire_type, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > 63:
            raise bad_request("the protobuf body is malformed: a number is too long")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _decode_message(message: str, data: bytes, depth: int) -> Json:
    if depth > _MAX_DEPTH:
        raise bad_request("the protobuf body is nested too deeply")
    declared = _messages()[message]
    decoded: Json = {}
    for number, wire_type, raw in _wire_fields(data):
        field = declared.get(number)
        if field is None:
            raise bad_request(f"the protobuf body has an unknown field: number {number} of {message}")
        if field.type == "-":
            continue
        if (wire_type == 2) == (field.type in ("i", "t")):
            raise bad_request(f"the protobuf body is malformed: {message}.{field.name} has the wrong type")
        if field.mapped:
            key, value = _map_entry(field, raw, depth)
            decoded.setdefault(field.name, {})[key] = value
        elif field.repeated:
            decoded.setdefault(field.name, []).append(_value(field.type, raw, depth))
        elif field.name == "~":
            decoded.update(_decode_message(field.type, raw, depth + 1))
        else:
            value = _value(field.type, raw, depth)
            # A plain Go field is always on the wire; JSON leaves it out when it has its zero value.
            if field.pointer or value not in ("", 0, False, None, {}):
                decoded[field.name] = value
    return decoded


def _map_entry(field: _Field, data: bytes, depth: int) -> tuple[str, Any]:
    key, value = "", _value(field.type, b"", depth)
    for number, _, raw in _wire_fields(data):
        if number == 1:
            key = raw.decode()
        elif number == 2:
            value = _value(field.type, raw, depth)
    return key, value


def _value(kind: str, raw: Any, depth: int) -> Any:
    decoder = _DECODERS.get(kind)
    return decoder(raw) if decoder else _decode_message(kind, raw, depth + 1)


def _moment(raw: bytes) -> datetime | None:
    """1 seconds, 2 nanoseconds; an empty message is the zero time, which JSON leaves out."""
    parts = {number: value for number, _, value in _wire_fields(raw)}
    seconds = _signed(parts.get(1, 0))
    if not parts or seconds <= 0:
        return None
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=parts.get(2, 0) // 1000)


def _time(raw: bytes) -> str | None:
    moment = _moment(raw)
    return timestamp(moment) if moment else None


def _micro_time(raw: bytes) -> str | None:
    moment = _moment(raw)
    return micro_timestamp(moment) if moment else None


def _quantity(raw: bytes) -> str:
    """1 the quantity as text."""
    return next((value.decode() for number, _, value in _wire_fields(raw) if number == 1), "")


def _string_list(raw: bytes) -> list[str]:
    """1 the strings, repeated."""
    return [value.decode() for _, _, value in _wire_fields(raw)]


def _int_or_string(raw: bytes) -> int | str:
    """1 type (0 integer, 1 string), 2 integer, 3 string."""
    parts = {number: value for number, _, value in _wire_fields(raw)}
    if parts.get(1):
        return str(parts.get(3, b"").decode())
    return _signed(parts.get(2, 0))


def _text(raw: bytes) -> str:
    return raw.decode()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _double(raw: bytes) -> float:
    found: float = struct.unpack("<d", raw)[0]
    return found


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "s": _text,
    "i": _signed,
    "t": bool,
    "b": _base64,
    "d": _double,
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "List": _string_list,
}
