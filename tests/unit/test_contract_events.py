"""Events: golden bytes, exact types, strict decoding."""

import pytest

from k3s_daas.bcs import Writer
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.contract.events import (
    API_REQUEST,
    ApiRequested,
    RequestProcessed,
    RequestsReclaimed,
    RequestTimedOut,
    ResponseIgnored,
    decode_event,
    event_type,
    is_event,
)
from k3s_daas.errors import WireFormatError
from k3s_daas.sui.ledger import ChainEvent

PACKAGE = b"\x0a" * 32
ATTRIBUTES = OnChainAttributes("get", "apps", "v1", "deployments", "", "default", "web", "")
REQUESTED = ApiRequested(
    cluster=b"\x01" * 32,
    seal=b"\x02" * 32,
    request_id=b"\x03" * 16,
    requester=b"\x04" * 32,
    role="viewer",
    priority=5,
    gateway=b"\x06" * 32,
    executor=b"\x07" * 32,
    session_key=b"\x08" * 32,
    attributes=ATTRIBUTES,
    payload_hash=b"\x09" * 32,
    payload_size=10,
    payload_reference=b"ref",
    accepted_at_ms=11,
    start_by_ms=12,
    finish_by_ms=13,
    answer_by_ms=14,
)
REQUESTED_BYTES = bytes.fromhex(
    "01" * 32
    + "02" * 32
    + "10"
    + "03" * 16
    + "04" * 32
    + "06766965776572"  # viewer
    + "05"
    + "06" * 32
    + "07" * 32
    + "20"
    + "08" * 32
    + "03676574"  # get
    + "0461707073"  # apps
    + "027631"  # v1
    + "0b6465706c6f796d656e7473"  # deployments
    + "00"
    + "0764656661756c74"  # default
    + "03776562"  # web
    + "00"
    + "20"
    + "09" * 32
    + "0a00000000000000"
    + "03726566"  # ref
    + "".join(f"{value:02x}" + "00" * 7 for value in (11, 12, 13, 14))
)


def event(type_tag: str, contents: bytes = REQUESTED_BYTES) -> ChainEvent:
    return ChainEvent(PACKAGE, "k8s_gateway", type_tag, b"\x06" * 32, contents, "digest", 0)


def test_a_request_is_read_field_by_field() -> None:
    assert ApiRequested.decode(REQUESTED_BYTES) == REQUESTED
    assert decode_event(event(event_type(PACKAGE, API_REQUEST)), PACKAGE) == REQUESTED


def test_an_answer_is_read_field_by_field() -> None:
    writer = Writer().address(b"\x01" * 32).address(b"\x02" * 32).byte_vector(b"\x03" * 16)
    writer.address(b"\x04" * 32).string("viewer").address(b"\x07" * 32)
    ATTRIBUTES.write(writer)
    writer.u16(404).byte_vector(b"\x09" * 32).byte_vector(b"\x0a" * 32).u64(7).u64(8).u64(9)
    assert RequestProcessed.decode(writer.finish()) == RequestProcessed(
        cluster=b"\x01" * 32,
        seal=b"\x02" * 32,
        request_id=b"\x03" * 16,
        requester=b"\x04" * 32,
        role="viewer",
        executor=b"\x07" * 32,
        attributes=ATTRIBUTES,
        status_code=404,
        request_hash=b"\x09" * 32,
        response_hash=b"\x0a" * 32,
        response_size=7,
        accepted_at_ms=8,
        answered_at_ms=9,
    )


def test_an_ignored_answer_is_read() -> None:
    contents = Writer().address(b"\x01" * 32).address(b"\x02" * 32).byte_vector(b"\x03").address(b"\x07" * 32)
    found = decode_event(event(event_type(PACKAGE, "ResponseIgnored"), contents.u8(2).finish()), PACKAGE)
    assert found == ResponseIgnored(b"\x01" * 32, b"\x02" * 32, b"\x03", b"\x07" * 32, 2)


def test_what_became_of_reclaimed_requests_is_read() -> None:
    start = Writer().address(b"\x01" * 32).address(b"\x02" * 32)
    start.byte_vector(b"\x03" * 16).address(b"\x04" * 32).address(b"\x07" * 32).u64(8).u64(9)
    found = decode_event(event(event_type(PACKAGE, "RequestTimedOut"), start.finish()), PACKAGE)
    assert found == RequestTimedOut(
        b"\x01" * 32, b"\x02" * 32, b"\x03" * 16, b"\x04" * 32, b"\x07" * 32, 8, 9
    )
    sums = Writer().address(b"\x01" * 32).address(b"\x02" * 32).address(b"\x06" * 32).u64(5).u64(1).u64(2)
    found = decode_event(event(event_type(PACKAGE, "RequestsReclaimed"), sums.finish()), PACKAGE)
    assert found == RequestsReclaimed(
        b"\x01" * 32, b"\x02" * 32, b"\x06" * 32, reclaimed=5, timed_out=1, skipped=2
    )


@pytest.mark.parametrize(
    "contents", [REQUESTED_BYTES[:-1], REQUESTED_BYTES + b"\x00", b"", REQUESTED_BYTES[1:]]
)
def test_missing_and_extra_bytes_are_refused(contents: bytes) -> None:
    with pytest.raises(WireFormatError):
        decode_event(event(event_type(PACKAGE, API_REQUEST), contents), PACKAGE)


PREFIX = "0x" + "0a" * 32
FOREIGN = [
    "0x" + "0b" * 32 + "::events::K8sAPIRequest",
    f"{PREFIX}::event::K8sAPIRequest",
    f"{PREFIX}::k8s_gateway::K8sAPIRequest",
    f"{PREFIX}::events::K8sAPIRequests",
    f"{PREFIX}::events::XK8sAPIRequest",
    f"{PREFIX}::events::k8sAPIRequest",
    f"{PREFIX}::events::K8sAPIRequest<u8>",
    f"0x1::m::Wrapper<{PREFIX}::events::K8sAPIRequest>",
    f"{PREFIX}::events::K8sAPIRequest::More",
    "K8sAPIRequest",
    "",
]


@pytest.mark.parametrize("type_tag", FOREIGN)
def test_only_the_exact_type_is_ours(type_tag: str) -> None:
    assert not is_event(event(type_tag), PACKAGE, API_REQUEST)
    assert decode_event(event(type_tag), PACKAGE) is None


def test_a_short_address_is_the_same_type() -> None:
    package = (0xA).to_bytes(32, "big")
    assert is_event(event("0xa::events::K8sAPIRequest"), package, API_REQUEST)
