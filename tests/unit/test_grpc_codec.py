"""The gRPC codec reads and writes what betterproto2 does, and takes less from an endpoint that lies."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from typing import Any, get_args, get_type_hints

import betterproto2
import pytest
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from k3s_daas.sui.grpc_codec import MessageCodec

CODEC = MessageCodec()
MOMENT = datetime.datetime(2026, 5, 4, 3, 2, 1, 987000, tzinfo=datetime.UTC)
REQUESTS = [
    v2.GetObjectRequest,
    v2.BatchGetObjectsRequest,
    v2.GetTransactionRequest,
    v2.ListEventsRequest,
    v2.ListOwnedObjectsRequest,
]
REPLIES = [
    v2.GetPackageResponse,
    v2.GetServiceInfoResponse,
    v2.ExecutedTransaction,
    v2.BatchGetObjectsResponse,
    v2.ListEventsResponse,
]
SCALARS: dict[str, list[Any]] = {
    "bool": [True],
    "int32": [-1, 1 << 30],
    "int64": [-1, 1 << 62],
    "uint32": [200, (1 << 32) - 1],
    "uint64": [0, 127, 128, (1 << 64) - 1],
    "string": ["", "é" * 100],
    "bytes": [b"", bytes(300)],
}
UNREAD = ("map", "double", "float")


def filled(message: Any, depth: int, choice: int) -> Any:
    """A message with every field set that the codec reads, down to some depth."""
    hints = get_type_hints(message, vars(sys.modules[message.__module__]), {})
    values = {}
    for field in dataclasses.fields(message):
        meta = betterproto2.FieldMetadata.get(field)
        kind = (get_args(hints[field.name]) or (hints[field.name],))[0]
        if meta.proto_type in UNREAD:
            continue
        if meta.proto_type != "message":
            options = list(kind) if meta.proto_type == "enum" else SCALARS[meta.proto_type]
            value = options[choice % len(options)]
        elif meta.unwrap is not None:
            value = MOMENT if kind is datetime.datetime else datetime.timedelta(seconds=3)
        elif depth == 0:
            continue
        else:
            value = filled(kind, depth - 1, choice)
            if not value:
                continue
        values[field.name] = [value, value] if meta.repeated else value
    return message(**values)


@pytest.mark.parametrize("message", REQUESTS + REPLIES)
@pytest.mark.parametrize("choice", range(4))
def test_reads_what_betterproto2_writes(message: Any, choice: int) -> None:
    whole = filled(message, 4, choice)
    assert CODEC.decode(bytes(whole), message) == message.parse(bytes(whole))


@pytest.mark.parametrize("message", REQUESTS)
@pytest.mark.parametrize("choice", range(4))
def test_writes_what_betterproto2_writes(message: Any, choice: int) -> None:
    whole = filled(message, 4, choice)
    assert CODEC.encode(whole, message) == bytes(whole)
    assert CODEC.encode(message(), message) == b""


def test_a_message_of_another_kind_is_not_sent() -> None:
    with pytest.raises(TypeError, match="a GetObjectRequest is to be sent, not a GetEpochRequest"):
        CODEC.encode(v2.GetEpochRequest(), v2.GetObjectRequest)


def test_a_field_that_cannot_be_written_is_not_left_out() -> None:
    with pytest.raises(TypeError, match="timestamp"):
        CODEC.encode(v2.ExecutedTransaction(timestamp=MOMENT), v2.ExecutedTransaction)


def test_unknown_fields_are_passed_over() -> None:
    unknown = b"\xf8\x7f\x05" + b"\xf9\x7f" + bytes(8) + b"\xfa\x7f\x02ab" + b"\xfd\x7f" + bytes(4)
    found = CODEC.decode(unknown + bytes(v2.Object(version=7)) + unknown, v2.Object)
    assert found == v2.Object(version=7)


def test_json_that_an_endpoint_adds_is_passed_over() -> None:
    text = b"\x0a\x01k\x12\x03\x1a\x01v"
    number = b"\x11" + bytes(8)
    struct = b"\x0a" + bytes([len(text)]) + text
    for value in (number, b"\x2a" + bytes([len(struct)]) + struct):
        json = b"\xa2\x06" + bytes([len(value)]) + value
        assert CODEC.decode(bytes(v2.Object(version=7)) + json, v2.Object).version == 7


def test_an_unknown_member_of_an_enumeration_keeps_its_number() -> None:
    found = CODEC.decode(b"\x08\xc8\x01", v2.Owner)
    assert (found.kind, found.kind.name) == (200, "")


def test_packed_numbers_are_read_as_single_ones_are() -> None:
    abilities = v2.TypeParameter(constraints=[v2.Ability.COPY, v2.Ability.STORE])
    copy, store = (bytes((ability.value,)) for ability in abilities.constraints)
    assert CODEC.decode(b"\x0a\x02" + copy + store, v2.TypeParameter) == abilities
    assert CODEC.decode(b"\x08" + copy + b"\x08" + store, v2.TypeParameter) == abilities
    with pytest.raises((ValueError, LookupError)):
        CODEC.decode(b"\x0a\x01\x81\x01", v2.TypeParameter)


def nested(levels: int) -> bytes:
    """A type within a type, and so on, as a package's description may have it."""
    data = b""
    for _ in range(levels):
        data = b"\x1a" + betterproto2.encode_varint(len(data)) + data
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"\x0a\x05ab", v2.Bcs, id="a field ends beyond its message"),
        pytest.param(b"\x0a\x04\x0a\x05ab" + bytes(9), v2.GetObjectResponse, id="a nested field does"),
        pytest.param(b"\x0a", v2.Bcs, id="nothing after the key"),
        pytest.param(b"\x18" + b"\xff" * 10 + b"\x01", v2.Object, id="a number of eleven bytes"),
        pytest.param(b"\x08\x01", v2.Bcs, id="text that is a number"),
        pytest.param(b"\x1a\x01a", v2.Object, id="a number that is text"),
        pytest.param(b"\x12\x01\xff", v2.Object, id="text that is not UTF-8"),
        pytest.param(b"\xfb\x7f", v2.Object, id="a wire type that is gone"),
        pytest.param(b"\xf9\x7f\x00", v2.Object, id="an unknown field that is cut off"),
        pytest.param(nested(200), v2.OpenSignatureBody, id="nesting without end"),
        pytest.param(b"\x3a\x0a\x08" + b"\xff" * 8 + b"\x7f", v2.ExecutedTransaction, id="no moment"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, message: Any) -> None:
    with pytest.raises((ValueError, LookupError)):
        CODEC.decode(data, message)


def test_a_message_cut_anywhere_is_read_or_refused_and_nothing_else() -> None:
    data = bytes(filled(v2.ExecutedTransaction, 2, 2))
    read = 0
    for end in range(len(data)):
        try:
            CODEC.decode(data[:end], v2.ExecutedTransaction)
            read += 1
        except (ValueError, LookupError):
            pass
    assert 1 <= read <= len(dataclasses.fields(v2.ExecutedTransaction)) * 2
