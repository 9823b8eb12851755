"""The golden bytes: one file of vectors, which Python tests read and from which the Move tests are written.

``python -m tests.move.golden`` writes ``golden_tests.move`` and ``signed.move`` in ``move/tests`` anew, and
adds to the vectors the events that the sources declare and that have none yet. It never changes a vector:
whoever changes the bytes of one on purpose deletes it there first.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from k3s_daas.bcs import Writer
from k3s_daas.bearer import Claims

ROOT = Path(__file__).parents[2]
EVENTS_SOURCE = ROOT / "move" / "sources" / "events.move"
VECTORS = ROOT / "tests" / "vectors" / "contract_bytes.json"
MOVE_TESTS = ROOT / "move" / "tests" / "golden_tests.move"
MOVE_SIGNED = ROOT / "move" / "tests" / "signed.move"

ATTRIBUTE_NAMES = (
    "verb",
    "api_group",
    "api_version",
    "resource",
    "subresource",
    "namespace",
    "name",
    "non_resource_url",
)
NOW_MS = 1_750_000_000_000
"""Where the clock of the Move tests stands at first."""

_TEXTS = {
    "verb": "patch",
    "api_group": "apps",
    "api_version": "v1",
    "resource": "deployments",
    "subresource": "scale",
    "namespace": "shop",
    "name": "web",
    "non_resource_url": "",
    "role": "operator",
    "listener_namespace": "daas-listener",
    "reason": "the key was stolen",
}
_LENGTHS = {"request_id": 16, "hpke_key": 48, "signature": 97, "payload_reference": 5}


@dataclass(frozen=True)
class Field:
    """One field of a vector; bytes and addresses are hex in JSON."""

    name: str
    type: str
    value: Any

    def encode(self, writer: Writer) -> None:
        """Append the BCS."""
        _ENCODERS[self.type](writer, self.value)

    def in_move(self) -> str:
        """The value as a Move expression."""
        return _LITERALS[self.type](self.value)


@dataclass(frozen=True)
class Vector:
    """A struct with its values, and what its BCS must be."""

    name: str
    fields: tuple[Field, ...]
    bcs: bytes

    def encode(self) -> bytes:
        """BCS of the fields, by the product's codec: what ``bcs`` is compared with."""
        writer = Writer()
        for field in self.fields:
            field.encode(writer)
        return writer.finish()

    def value(self, name: str) -> Any:
        [field] = [field for field in self.fields if field.name == name]
        return field.value

    def raw(self, name: str) -> bytes:
        """A field of bytes, or an address."""
        return bytes.fromhex(self.value(name))


_ENCODERS: dict[str, Callable[[Writer, Any], object]] = {
    "u8": Writer.u8,
    "u16": Writer.u16,
    "u64": Writer.u64,
    "bool": Writer.boolean,
    "String": Writer.string,
    "address": lambda writer, value: writer.address(bytes.fromhex(value)),
    "ID": lambda writer, value: writer.address(bytes.fromhex(value)),
    "vector<u8>": lambda writer, value: writer.byte_vector(bytes.fromhex(value)),
    "vector<String>": lambda writer, value: writer.vector(value, Writer.string),
    "vector<Header>": lambda writer, value: writer.vector(
        value, lambda inner, header: inner.string(header[0]).string(header[1])
    ),
}


def _move_text(text: str) -> str:
    return f'b"{text}".to_string()'


_LITERALS: dict[str, Callable[[Any], str]] = {
    "u8": str,
    "u16": str,
    "u64": str,
    "bool": lambda value: "true" if value else "false",
    "String": _move_text,
    "address": lambda value: f"@0x{value}",
    "ID": lambda value: f"object::id_from_address(@0x{value})",
    "vector<u8>": lambda value: f'x"{value}"',
    "vector<String>": lambda value: f"vector[{', '.join(map(_move_text, value))}]",
    "vector<Header>": lambda value: "vector[{}]".format(
        ", ".join(f"Header {{ name: {_move_text(n)}, value: {_move_text(v)} }}" for n, v in value)
    ),
}


# === The vectors ===


def read_vectors(section: str) -> dict[str, Vector]:
    """Name -> vector of a section of the file: ``events`` or ``messages``."""
    stored = json.loads(VECTORS.read_text())[section]
    return {
        name: Vector(name, tuple(Field(*field) for field in entry["fields"]), bytes.fromhex(entry["bcs"]))
        for name, entry in stored.items()
    }


def session_key() -> Ed25519PrivateKey:
    """The session key of the vectors and of the Move tests, from a public label."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a session key for golden bytes").digest())


def scenario_id(transaction: int, index: int) -> bytes:
    """The id of an object that a transaction of a Move test creates: both are numbered."""
    digest = transaction.to_bytes(8, "little") + bytes(24)
    return hashlib.blake2b(b"\xf1" + digest + index.to_bytes(8, "little"), digest_size=32).digest()


def signed_claims() -> Claims:
    """What the commands of the Move tests bring, for the cluster and the seal of their setting."""
    return Claims(
        cluster=scenario_id(0, 0),
        # The holder's transaction is the fourth, and its first object is the coin.
        seal=scenario_id(3, 1),
        gateway=(0x6A).to_bytes(32, "big"),
        not_before_ms=NOW_MS - 60_000,
        expires_at_ms=NOW_MS + 600_000,
        secret_hash=hashlib.sha3_256(b"the secret of a token").digest(),
    )


# === The events as the sources declare and emit them ===


def declared_events(source: str) -> dict[str, list[tuple[str, str]]]:
    """Struct -> (field, type), in order."""
    text = re.sub(r"//[^\n]*", "", source)
    return {
        name: re.findall(r"(\w+)\s*:\s*([\w<>]+)", body)
        for name, body in re.findall(r"public struct (\w+) has copy, drop \{([^}]*)\}", text)
    }


def emitters(source: str) -> dict[str, tuple[str, list[str]]]:
    """Struct -> the function that emits it, with the names of its parameters."""
    text = re.sub(r"//[^\n]*", "", source)
    found = {}
    for function, parameters, body in re.findall(
        r"public\(package\) fun (\w+)\(([^)]*)\) \{(.*?)\n\}", text, re.DOTALL
    ):
        [struct] = re.findall(r"event::emit\((\w+)", body)
        found[struct] = function, re.findall(r"(\w+)\s*:", parameters)
    return found


def _sample(name: str, kind: str, position: int) -> Any:
    """A value that stands for this field and no other, so that a change of order shows."""
    samples: dict[str, Any] = {
        "address": bytes([0x11 * (position % 15 + 1)]).hex() * 32,
        "vector<u8>": bytes([0xA0 + position]).hex() * _LENGTHS.get(name, 32),
        "vector<String>": ["shop", "web"],
        "String": _TEXTS.get(name, f"the-{name}"),
        "bool": True,
        "u8": 3 + position % 5,
        "u16": 404,
        "u64": position + (NOW_MS if name.endswith("_ms") else 1 << 33),
    }
    return samples["address" if kind == "ID" else kind]


def _complete(stored: dict[str, Any]) -> None:
    for name, fields in declared_events(EVENTS_SOURCE.read_text()).items():
        if name not in stored["events"]:
            values = [Field(n, kind, _sample(n, kind, i)) for i, (n, kind) in enumerate(fields)]
            encoded = Vector(name, tuple(values), b"").encode()
            stored["events"][name] = {
                "fields": [[field.name, field.type, field.value] for field in values],
                "bcs": encoded.hex(),
            }


# === The Move tests ===


def render_signed() -> str:
    """The text of ``signed.move``."""
    claims = signed_claims()
    key = session_key()

    def function(name: str, kind: str, value: Any) -> str:
        return f"public fun {name}(): {kind} {{ {_LITERALS[kind](value)} }}"

    functions = [
        function("now_ms", "u64", NOW_MS),
        function("cluster", "address", claims.cluster.hex()),
        function("seal", "address", claims.seal.hex()),
        function("gateway", "address", claims.gateway.hex()),
        function("not_before_ms", "u64", claims.not_before_ms),
        function("expires_at_ms", "u64", claims.expires_at_ms),
        function("secret_hash", "vector<u8>", claims.secret_hash.hex()),
        function("session_key", "vector<u8>", key.public_key().public_bytes_raw().hex()),
        function("signature", "vector<u8>", key.sign(claims.signing_bytes()).hex()),
    ]
    return "\n\n".join([_SIGNED_HEADER, *functions]) + "\n"


_SIGNED_HEADER = """\
/// Claims for the seal of `world` with the signature of its session key: Move tests cannot sign.
///
/// Written by `python -m tests.move.golden`; not to be edited.
#[test_only]
module k3s_daas::signed;"""


def render() -> str:
    """The text of ``golden_tests.move``."""
    source = EVENTS_SOURCE.read_text()
    functions = emitters(source)
    parts = [_HEADER]
    for name, vector in read_vectors("events").items():
        parts.append("\n".join(_event_test(vector, *functions[name])))
    messages = read_vectors("messages")
    parts.append("\n".join(_claims_test(messages["Claims"])))
    for name in ("KeyAnnouncement", "RequestEnvelope", "ResponseEnvelope"):
        parts.append("\n".join(_message_test(messages[name])))
    return "\n\n".join(parts) + "\n"


_HEADER = """\
/// The bytes that leave the contract, or that it must understand: pinned here and in `tests/vectors`.
///
/// Written by `python -m tests.move.golden` from `tests/vectors/contract_bytes.json`; not to be edited. What
/// exists off chain only (envelopes, the announcement of a key) is declared here with the fields of Python.
#[test_only]
module k3s_daas::golden_tests;

use k3s_daas::attributes;
use k3s_daas::claims;
use k3s_daas::events;
use std::bcs;
use std::string::String;
use std::unit_test::assert_eq;
use sui::event;

public struct Header has copy, drop { name: String, value: String }

public struct KeyAnnouncement has copy, drop {
    domain: vector<u8>,
    cluster: address,
    executor: address,
    generation: u64,
    hpke_key: vector<u8>,
}

public struct RequestEnvelope has copy, drop {
    method: String,
    path: String,
    query: String,
    headers: vector<Header>,
    body: vector<u8>,
    reply_key: vector<u8>,
}

public struct ResponseEnvelope has copy, drop { status: u16, headers: vector<Header>, body: vector<u8> }"""


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _indented(fields: list[str]) -> Iterator[str]:
    for field in fields:
        yield f"        {field},"


def _event_test(vector: Vector, function: str, parameters: list[str]) -> Iterator[str]:
    values = {field.name: field.in_move() for field in vector.fields}
    yield "#[test]"
    yield f"fun {_snake(vector.name)}() {{"
    if "attributes" in parameters:
        yield "    let attributes = attributes::new("
        yield from _indented([values[name] for name in ATTRIBUTE_NAMES])
        yield "    );"
        values["attributes"] = "&attributes"
    yield f"    events::{function}("
    yield from _indented([values[name] for name in parameters])
    yield "    );"
    yield f"    let emitted = event::events_by_type<events::{vector.name}>();"
    yield "    assert_eq!(emitted.length(), 1);"
    yield f'    assert_eq!(bcs::to_bytes(&emitted[0]), x"{vector.bcs.hex()}");'
    yield "}"


def _claims_test(vector: Vector) -> Iterator[str]:
    """Beside the bytes: a signature over them verifies, and over others it does not."""
    key = session_key()
    arguments = [field.in_move() for field in vector.fields[1:]]
    yield "#[test]"
    yield "fun claims() {"
    yield "    let claims = claims::new("
    yield from _indented(arguments)
    yield "    );"
    yield f'    assert_eq!(bcs::to_bytes(&claims), x"{vector.bcs.hex()}");'
    yield "    assert!(claims.is_well_formed());"
    yield f'    let key = x"{key.public_key().public_bytes_raw().hex()}";'
    yield f'    let mut signature = x"{key.sign(vector.bcs).hex()}";'
    yield "    assert!(claims.is_signed_by(&key, &signature));"
    yield "    let last = &mut signature[63];"
    yield "    *last = *last ^ 1;"
    yield "    assert!(!claims.is_signed_by(&key, &signature));"
    yield "}"


def _message_test(vector: Vector) -> Iterator[str]:
    yield "#[test]"
    yield f"fun {_snake(vector.name)}() {{"
    yield f"    let message = {vector.name} {{"
    yield from _indented([f"{field.name}: {field.in_move()}" for field in vector.fields])
    yield "    };"
    yield f'    assert_eq!(bcs::to_bytes(&message), x"{vector.bcs.hex()}");'
    yield "}"


def main() -> int:
    stored = json.loads(VECTORS.read_text())
    _complete(stored)
    VECTORS.write_text(_json(stored))
    MOVE_TESTS.write_text(render())
    MOVE_SIGNED.write_text(render_signed())
    return 0


def _json(stored: dict[str, Any]) -> str:
    """One line for each field: what changes shows in a comparison."""
    text = json.dumps(stored, indent=1)
    return (
        re.sub(r'\[\n\s+("\w+"),\n\s+("[\w<>]+"),\n\s+("[^"]*"|\d+|true|false)\n\s+\]', r"[\1, \2, \3]", text)
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
