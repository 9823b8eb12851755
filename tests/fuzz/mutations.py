"""What may be wrong with a call: one of its values, its object, its sender, its bytes, or their number."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.fuzz.model import Call
from tests.fuzz.planner import CAPABILITIES, LISTENER_NAMESPACE, NAMESPACES, POLICY, ROLES, Planner
from tests.fuzz.shapes import DAY_MS, HPKE_KEY_BYTES, SMALL_ORDER
from tests.fuzz.values import (
    PURE_TYPES,
    Argument,
    Chunks,
    MalformedError,
    Object,
    Payment,
    PolicyCall,
    Pure,
    decode,
    encode,
)

U64_MAX = 2**64 - 1
_TEXTS = (
    "", "*", "/", "get", "list", "watch", "create", "delete", "impersonate", "pods", "pods/log", "pods/*",
    "*/proxy", "proxy", "exec", "namespaces", "serviceaccounts", "token", "v1", "apps",
    "authorization.k8s.io", "selfsubjectaccessreviews", "/openapi/*", "/openapi/v3", "*x", "a b",
    "x" * 64, "x" * 300, "ünïcode", "a\x00b", "UPPER", "-", LISTENER_NAMESPACE, *ROLES, *NAMESPACES,
)  # fmt: skip
_LENGTHS = (0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 129, 200, 201, HPKE_KEY_BYTES, 16_000, 16_001)
_COUNTS = (0, 1, 8, 9, 32, 33)


def mutate(planner: Planner, call: Call) -> Call:
    """A call with one thing changed; it may still be a good one."""
    changes: Sequence[tuple[Callable[[Planner, Call], Call], int]] = (
        (_other_value, 10),
        (_nudged, 4),
        (_other_object, 4),
        (_other_sender, 3),
        (_random_bytes, 2),
        (_cut_or_longer, 1),
        (_other_kind, 1),
        (_swapped, 1),
        (_other_number, 1),
    )
    change = planner.rng.choices([change for change, _ in changes], [weight for _, weight in changes])[0]
    return change(planner, call)


def _replaced(call: Call, position: int, argument: Argument) -> Call:
    arguments = list(call.arguments)
    arguments[position] = argument
    return replace(call, arguments=tuple(arguments))


def _positions(call: Call, *kinds: type) -> list[int]:
    return [i for i, argument in enumerate(call.arguments) if isinstance(argument, kinds)]


def _kind(call: Call, position: int) -> str:
    parameters = call.function.parameters
    return parameters[position].type if position < len(parameters) else "u64"


def _other_value(planner: Planner, call: Call) -> Call:
    """A well-formed value that means something else."""
    positions = _positions(call, Pure, Chunks, Payment, PolicyCall)
    if not positions:
        return _other_object(planner, call)
    position = planner.rng.choice(positions)
    argument = call.arguments[position]
    if isinstance(argument, Payment):
        return _replaced(call, position, Payment(planner.rng.choice((0, 0, 1, 999))))
    if isinstance(argument, PolicyCall):
        values = list(argument.arguments)
        values[planner.rng.randrange(len(values))] = encode("u64", _number(planner))
        return _replaced(call, position, PolicyCall(tuple(values)))
    kind = _kind(call, position)
    return _replaced(call, position, value_of(planner, kind)) if kind in PURE_TYPES else call


def value_of(planner: Planner, kind: str) -> Argument:
    """Some value of a type, preferably one that matters."""
    rng = planner.rng
    choices: dict[str, Callable[[], Any]] = {
        "u8": lambda: rng.choice((0, 1, 9, 10, 255)),
        "u16": lambda: rng.choice((0, 199, 200, 599, 600, 65_535)),
        "u64": lambda: _number(planner),
        "bool": lambda: rng.random() < 0.5,
        "address": lambda: rng.choice((planner.anybody(), bytes(32), rng.randbytes(32))),
        "ID": lambda: rng.choice((*planner.known.capabilities[-8:], rng.randbytes(32))),
        "String": lambda: rng.choice(_TEXTS),
        "vector<String>": lambda: [rng.choice(_TEXTS) for _ in range(rng.choice(_COUNTS))],
        "vector<u8>": lambda: _bytes(planner),
    }
    if kind == "vector<vector<u8>>":
        return _vectors(planner)
    return encode(kind, choices[kind]())


def _number(planner: Planner) -> int:
    now_ms = planner.stage.view.now_ms
    edges = (0, 1, 999, 1_000, 1_001, 10_000, 10_001, U64_MAX - 1, U64_MAX, 2**63, 16 * 1024 * 1024 + 1)
    times = [now_ms + delta for delta in (-900_001, -60_001, -1, 0, 1, 1_001, 60_001, 900_001, 31 * DAY_MS)]
    return planner.rng.choice((*edges, *times, *POLICY.values()))


def _bytes(planner: Planner) -> bytes:
    rng = planner.rng
    known = [one for ids in planner.known.requests.values() for one in ids[-2:]]
    special = (
        rng.choice(sorted(SMALL_ORDER)).to_bytes(32, "little"),
        b"\xff" * 32,
        rng.choice(known) if known else b"",
        # A request id of a time far away.
        rng.choice((0, U64_MAX, planner.stage.view.now_ms - 60_001)).to_bytes(8, "big") + rng.randbytes(8),
    )
    return rng.choice((*special, rng.randbytes(rng.choice(_LENGTHS))))


def _vectors(planner: Planner) -> Argument:
    rng = planner.rng
    parts = [_bytes(planner) for _ in range(rng.choice((0, 1, 2, 8, 9)))]
    if rng.random() < 0.2:
        parts = [rng.randbytes(16) for _ in range(rng.choice((64, 65)))]
    # All of them in one input, or one input each.
    if rng.random() < 0.5:
        return encode("vector<vector<u8>>", parts)
    return Chunks(tuple(encode("vector<u8>", part) for part in parts))


def _nudged(planner: Planner, call: Call) -> Call:
    """A number one more or one less, or a byte of a hash, key or signature changed."""
    for position in planner.rng.sample(range(len(call.arguments)), len(call.arguments)):
        argument, kind = call.arguments[position], _kind(call, position)
        if not isinstance(argument, Pure) or kind not in ("u8", "u16", "u64", "vector<u8>"):
            continue
        try:
            value = decode(kind, argument)
        except MalformedError:
            continue
        if isinstance(value, int):
            limit = {"u8": 255, "u16": 65_535, "u64": U64_MAX}[kind]
            value = min(limit, max(0, value + planner.rng.choice((-1, 1))))
        elif value:
            where = planner.rng.randrange(len(value))
            value = value[:where] + bytes([value[where] ^ 1 << planner.rng.randrange(8)]) + value[where + 1 :]
        return _replaced(call, position, encode(kind, value))
    return _other_sender(planner, call)


def _other_object(planner: Planner, call: Call) -> Call:
    """Another one of the type, most of the time; else one of any type, or an id that is none."""
    positions = _positions(call, Object)
    if not positions:
        return _other_sender(planner, call)
    rng, known, view = planner.rng, planner.known, planner.stage.view
    position = rng.choice(positions)
    everything = [*known.clusters, *known.seals[-20:], *known.capabilities[-20:], planner.admin.coin]
    alike = [one for one in everything if view.type_of(one) == _kind(call, position)]
    choice = rng.random()
    if alike and choice < 0.7:
        chosen = rng.choice(alike)
    else:
        chosen = rng.choice(everything) if choice < 0.9 else rng.randbytes(32)
    changed = _replaced(call, position, Object(chosen))
    # With its owner as the sender, so that the call reaches the contract.
    if view.type_of(chosen) in CAPABILITIES and rng.random() < 0.8:
        owner = view.capability(chosen).owner
        if planner.is_account(owner):
            changed = replace(changed, sender=owner)
    return changed


def _other_sender(planner: Planner, call: Call) -> Call:
    return replace(call, sender=planner.anybody())


def _random_bytes(planner: Planner, call: Call) -> Call:
    positions = _positions(call, Pure, Chunks)
    if not positions:
        return _other_object(planner, call)
    length = planner.rng.choice((0, 1, 8, 32, 33, 100, 16_384))
    return _replaced(call, planner.rng.choice(positions), Pure(planner.rng.randbytes(length)))


def _cut_or_longer(planner: Planner, call: Call) -> Call:
    positions = _positions(call, Pure)
    if not positions:
        return _other_object(planner, call)
    position = planner.rng.choice(positions)
    argument = call.arguments[position]
    assert isinstance(argument, Pure)
    data = argument.data[:-1] if planner.rng.random() < 0.5 else argument.data + b"\0"
    return _replaced(call, position, Pure(data))


def _other_kind(planner: Planner, call: Call) -> Call:
    """Bytes where an object belongs, or an object where bytes belong."""
    if not call.arguments:
        return call
    position = planner.rng.randrange(len(call.arguments))
    if isinstance(call.arguments[position], Object):
        return _replaced(call, position, Pure(planner.rng.randbytes(32)))
    return _replaced(call, position, Object(planner.cluster))


def _swapped(planner: Planner, call: Call) -> Call:
    if len(call.arguments) < 2:
        return _other_sender(planner, call)
    arguments = list(call.arguments)
    first, second = planner.rng.sample(range(len(arguments)), 2)
    arguments[first], arguments[second] = arguments[second], arguments[first]
    return replace(call, arguments=tuple(arguments))


def _other_number(planner: Planner, call: Call) -> Call:
    if planner.rng.random() < 0.5 and call.arguments:
        return replace(call, arguments=call.arguments[:-1])
    return replace(call, arguments=(*call.arguments, encode("u64", 1)))


def mutated(planner: Planner, call: Call) -> Call:
    """Half of the calls stay as they are, the others get one to three changes."""
    rng: random.Random = planner.rng
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        call = mutate(planner, call)
    return call
