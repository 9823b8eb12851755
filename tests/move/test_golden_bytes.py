"""What leaves the contract, and what it must understand, byte for byte, as in `move/tests`."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import fields

import pytest

from k3s_daas.bearer import Claims
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.events import (
    ApiRequested,
    RequestProcessed,
    RequestsReclaimed,
    RequestTimedOut,
    ResponseIgnored,
)
from k3s_daas.contract.keys import announcement
from k3s_daas.envelope import RequestEnvelope, ResponseEnvelope, padded_size
from tests.move import golden
from tests.move.golden import ATTRIBUTE_NAMES, EVENTS_SOURCE, Vector

EVENTS = golden.read_vectors("events")
MESSAGES = golden.read_vectors("messages")
DECODED: dict[str, Callable[[bytes], object]] = {
    "K8sAPIRequest": ApiRequested.decode,
    "K8sRequestProcessed": RequestProcessed.decode,
    "ResponseIgnored": ResponseIgnored.decode,
    "RequestTimedOut": RequestTimedOut.decode,
    "RequestsReclaimed": RequestsReclaimed.decode,
}


@pytest.mark.parametrize("vector", [*EVENTS.values(), *MESSAGES.values()], ids=lambda vector: vector.name)
def test_the_bytes_are_the_bcs_of_the_values(vector: Vector) -> None:
    assert vector.encode() == vector.bcs


def test_every_event_of_the_contract_has_a_vector() -> None:
    declared = golden.declared_events(EVENTS_SOURCE.read_text())
    assert {
        name: [(field.name, field.type) for field in vector.fields] for name, vector in EVENTS.items()
    } == declared


def test_every_value_of_a_vector_is_another_one() -> None:
    """Else a change of order could go unseen."""
    for vector in EVENTS.values():
        values = [(field.type, field.value) for field in vector.fields if field.value not in ("", True)]
        assert len({repr(value) for value in values}) == len(values), vector.name


@pytest.mark.parametrize("name", DECODED)
def test_the_product_reads_the_events_that_it_acts_on(name: str) -> None:
    vector = EVENTS[name]
    decoded = DECODED[name](vector.bcs)
    read: list[object] = []
    for field in fields(decoded):  # type: ignore[arg-type]  # every decoder gives a dataclass
        value = getattr(decoded, field.name)
        read.extend(value.values() if isinstance(value, OnChainAttributes) else [value])
    assert [one.hex() if isinstance(one, bytes) else one for one in read] == [
        field.value for field in vector.fields
    ]


def test_the_product_claims_what_the_contract_rebuilds() -> None:
    vector = MESSAGES["Claims"]
    claims = Claims(
        cluster=vector.raw("cluster"),
        seal=vector.raw("seal"),
        gateway=vector.raw("gateway"),
        not_before_ms=vector.value("not_before_ms"),
        expires_at_ms=vector.value("expires_at_ms"),
        secret_hash=vector.raw("secret_hash"),
    )
    assert claims.signing_bytes() == vector.bcs


def test_the_product_announces_keys_in_these_bytes() -> None:
    vector = MESSAGES["KeyAnnouncement"]
    message = announcement(
        vector.raw("cluster"), vector.raw("executor"), vector.value("generation"), vector.raw("hpke_key")
    )
    assert message == vector.bcs


def test_the_product_seals_requests_in_these_bytes() -> None:
    vector = MESSAGES["RequestEnvelope"]
    envelope = RequestEnvelope(
        vector.value("method"),
        vector.value("path"),
        vector.value("query"),
        tuple((name, value) for name, value in vector.value("headers")),
        vector.raw("body"),
        vector.raw("reply_key"),
    )
    assert envelope.to_bcs() == vector.bcs
    assert RequestEnvelope.decode(_packed(vector.bcs)) == envelope


def test_the_product_seals_responses_in_these_bytes() -> None:
    vector = MESSAGES["ResponseEnvelope"]
    headers = tuple((name, value) for name, value in vector.value("headers"))
    envelope = ResponseEnvelope(vector.value("status"), headers, vector.raw("body"))
    assert envelope.to_bcs() == vector.bcs
    assert ResponseEnvelope.decode(_packed(vector.bcs)) == envelope


def _packed(content: bytes) -> bytes:
    """The layout around the fields, written down here once more; stored blocks are the same in every zlib."""
    compressed = zlib.compress(content, 0)
    packed = b"\x01" + len(compressed).to_bytes(4, "little") + compressed
    size = padded_size(len(packed))
    assert size is not None
    return packed + bytes(size - len(packed))


# === The Move side ===


def test_the_move_tests_pin_the_same_bytes() -> None:
    """``python -m tests.move.golden`` writes them."""
    assert golden.MOVE_TESTS.read_text() == golden.render()
    assert golden.MOVE_SIGNED.read_text() == golden.render_signed()


def test_every_vector_stands_in_the_move_tests() -> None:
    pinned = set(re.findall(r'x"([0-9a-f]+)"\);', golden.MOVE_TESTS.read_text()))
    assert pinned == {vector.bcs.hex() for vector in (*EVENTS.values(), *MESSAGES.values())}


def test_the_attributes_stand_in_their_order() -> None:
    assert tuple(field.name for field in fields(OnChainAttributes)) == ATTRIBUTE_NAMES
