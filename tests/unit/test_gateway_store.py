"""The request store's guarantees, on moto's DynamoDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from chalicelib.dynamodb_items import record_key
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.errors import (
    AdoptionFailedError,
    FenceLostError,
    PlaceTakenError,
    RequestAlreadyReservedError,
    RequestStoreUnavailableError,
)
from chalicelib.http_request import GatewayRequest
from chalicelib.parking_keys import ParkingKeys
from chalicelib.request_store import (
    PREDECESSORS,
    Look,
    NewRequest,
    RequestState,
    Reservation,
    SignedTransaction,
)
from chalicelib.windows import DynamoDbWindows, WindowId
from moto import mock_aws

from infra.local.aws import create_request_table
from k3s_daas.errors import SealedDataError
from k3s_daas.sealing import SealingPrivateKey

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REQUEST = NewRequest(
    request_id=bytes(range(16)),
    seal=b"\x05" * 32,
    arrived_at_ms=1_000_000,
    start_by_ms=1_024_000,
    finish_by_ms=1_240_000,
    answer_by_ms=1_840_000,
    due_ms=5_440_000,
)
PLACE = b"\x07" * 32
SIGNED = SignedTransaction(data=b"transaction", signature=b"signature", digest="D1")


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client(
            "dynamodb", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        create_request_table(client, "requests")
        yield client


@pytest.fixture
def store(client: DynamoDBClient) -> DynamoDbRequestStore:
    return DynamoDbRequestStore(client, "requests")


def test_a_request_id_is_reserved_once(store: DynamoDbRequestStore) -> None:
    store.reserve(REQUEST)
    with pytest.raises(RequestAlreadyReservedError):
        store.reserve(REQUEST)


class RepeatingClient:
    """Loses the first reply to each write, and repeats it, as botocore does after a broken connection."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in ("put_item", "update_item"):
            return found

        def write(**arguments: Any) -> Any:
            found(**arguments)
            return found(**arguments)

        return write


def test_a_write_whose_reply_was_lost_and_that_is_repeated_is_ours(
    store: DynamoDbRequestStore, client: DynamoDBClient
) -> None:
    repeating = DynamoDbRequestStore(RepeatingClient(client), "requests")  # type: ignore[arg-type] # a test double
    signed = repeating.record_signed(repeating.reserve(REQUEST), SIGNED)
    repeating.record_submitted(signed)
    repeating.park(signed, PLACE, accepted=True, now_ms=0, until_ms=1_000)
    adopted = repeating.adopt(PLACE, 0)
    assert adopted is not None
    assert (adopted.parkings, adopted.fence) == (1, 3)
    repeating.record_answered(adopted.reservation, status_code=200, response_digest="R1")
    found = store.get(REQUEST.request_id)
    assert found is not None
    assert (found.state, found.status_code) == (RequestState.ANSWERED, 200)


def test_other_bytes_under_the_same_fence_are_not_taken_for_a_repeated_write(
    store: DynamoDbRequestStore,
) -> None:
    reserved = store.reserve(REQUEST)
    store.record_signed(reserved, SIGNED)
    with pytest.raises(FenceLostError):
        store.record_signed(reserved, replace(SIGNED, digest="D2"))


def test_the_record_has_the_signed_bytes_before_anything_is_submitted(store: DynamoDbRequestStore) -> None:
    store.record_signed(store.reserve(REQUEST), SIGNED)
    record = store.get(REQUEST.request_id)
    assert record is not None
    assert (record.state, record.transaction, record.request) == (RequestState.SIGNED, SIGNED, REQUEST)


def test_new_bytes_raise_the_fence_and_shut_out_the_old_holder(store: DynamoDbRequestStore) -> None:
    reserved = store.reserve(REQUEST)
    first = store.record_signed(reserved, SIGNED)
    second = store.record_signed(first, SignedTransaction(b"other", b"signature", "D2"))
    for overtaken in (reserved, first):
        with pytest.raises(FenceLostError):
            store.record_submitted(overtaken)
    store.record_submitted(second)
    record = store.get(REQUEST.request_id)
    assert record is not None
    assert record.state is RequestState.SUBMITTED
    assert record.transaction is not None
    assert record.transaction.digest == "D2"


def test_an_answered_record_never_changes_again(store: DynamoDbRequestStore) -> None:
    reservation = store.record_signed(store.reserve(REQUEST), SIGNED)
    store.record_answered(reservation, status_code=201, response_digest="R1")
    for write in (store.record_submitted, store.record_refused, store.record_expired):
        with pytest.raises(FenceLostError):
            write(reservation)
    record = store.get(REQUEST.request_id)
    assert record is not None
    assert (record.state, record.status_code, record.response_digest) == (RequestState.ANSWERED, 201, "R1")


def test_an_unsigned_record_cannot_be_marked_submitted(store: DynamoDbRequestStore) -> None:
    with pytest.raises(FenceLostError):
        store.record_submitted(store.reserve(REQUEST))


def test_the_drawing_has_the_transitions_that_the_store_allows_and_no_others() -> None:
    text = (Path(__file__).parents[2] / "docs/dynamodb.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^    ([a-z]+) --> ([a-z]+): .+$", text, re.M)
    allowed = [(before, state) for state, all_before in PREDECESSORS.items() for before in all_before]
    adopted = [(RequestState.PARKED, RequestState.SIGNED), (RequestState.PARKED, RequestState.SUBMITTED)]
    assert sorted(drawn) == sorted([*allowed, *adopted])


def test_a_record_carries_a_time_to_live_after_its_last_answer(
    store: DynamoDbRequestStore, client: DynamoDBClient
) -> None:
    store.reserve(REQUEST)
    item = client.get_item(TableName="requests", Key=record_key(REQUEST.request_id))["Item"]
    assert int(item["expires_at"]["N"]) * 1000 > REQUEST.answer_by_ms


def test_a_missing_table_is_an_error_that_names_no_account(client: DynamoDBClient) -> None:
    with pytest.raises(RequestStoreUnavailableError, match="ResourceNotFoundException"):
        DynamoDbRequestStore(client, "absent").reserve(REQUEST)


def test_an_unknown_request_has_no_record(store: DynamoDbRequestStore) -> None:
    assert store.get(b"\xff" * 16) is None


PARKABLE = replace(REQUEST, wrapped_reply_key=b"wrapped")


def parked(store: DynamoDbRequestStore, *, accepted: bool = True, until_ms: int = 2_000_000) -> Reservation:
    reservation = store.record_signed(store.reserve(PARKABLE), SIGNED)
    store.park(reservation, PLACE, accepted=accepted, now_ms=1_025_000, until_ms=until_ms)
    return reservation


@pytest.mark.parametrize(
    ("accepted", "state"), [(True, RequestState.SUBMITTED), (False, RequestState.SIGNED)]
)
def test_what_is_parked_is_adopted_once_and_goes_on_where_it_was(
    store: DynamoDbRequestStore, accepted: bool, state: RequestState
) -> None:
    before = parked(store, accepted=accepted)
    record = store.adopt(PLACE, 1_026_000)
    assert record is not None
    assert (record.state, record.request, record.transaction) == (state, PARKABLE, SIGNED)
    assert (record.fence, record.parkings) == (before.fence + 1, 1)
    assert store.adopt(PLACE, 1_026_000) is None
    with pytest.raises(FenceLostError):
        store.record_answered(before, status_code=200, response_digest="R")
    store.record_answered(record.reservation, status_code=200, response_digest="R")


def test_a_place_is_free_again_after_each_adoption(store: DynamoDbRequestStore) -> None:
    parked(store)
    for parkings in range(1, 4):
        record = store.adopt(PLACE, 1_026_000)
        assert record is not None
        assert record.parkings == parkings
        store.park(record.reservation, PLACE, accepted=True, now_ms=1_026_000, until_ms=2_000_000)


def test_a_place_holds_one_record_until_its_time_is_over(store: DynamoDbRequestStore) -> None:
    parked(store, until_ms=1_100_000)
    other = replace(PARKABLE, request_id=b"\x01" * 16)
    reservation = store.record_signed(store.reserve(other), SIGNED)
    with pytest.raises(PlaceTakenError):
        store.park(reservation, PLACE, accepted=True, now_ms=1_099_999, until_ms=2_000_000)
    third = replace(PARKABLE, request_id=b"\x02" * 16)
    reservation = store.record_signed(store.reserve(third), SIGNED)
    store.park(reservation, PLACE, accepted=True, now_ms=1_100_000, until_ms=2_000_000)
    record = store.adopt(PLACE, 1_100_001)
    assert record is not None
    assert record.request.request_id == third.request_id


def test_nothing_is_adopted_after_its_time(store: DynamoDbRequestStore) -> None:
    parked(store, until_ms=1_100_000)
    assert store.adopt(PLACE, 1_100_000) is None


def test_a_finished_record_cannot_be_parked_nor_adopted(store: DynamoDbRequestStore) -> None:
    reservation = parked(store)
    store.record_answered(reservation, status_code=200, response_digest="R")
    with pytest.raises(AdoptionFailedError):
        store.adopt(PLACE, 1_026_000)
    with pytest.raises(FenceLostError):
        store.park(reservation, PLACE, accepted=True, now_ms=1_026_000, until_ms=2_000_000)


def test_the_open_records_of_a_minute_are_found_by_key(store: DynamoDbRequestStore) -> None:
    minute = 29_000_000
    ids = [(minute * 60_000 + number).to_bytes(8, "big") + bytes([number]) * 8 for number in range(9)]
    for request_id in ids:
        store.reserve(replace(REQUEST, request_id=request_id))
    store.record_expired(Reservation(ids[3], 1))
    assert {record.request.request_id for record in store.unfinished(minute)} == {*ids} - {ids[3]}
    assert [*store.unfinished(minute + 1)] == []


def test_two_keys_of_kms_name_other_places_and_unwrap_nothing() -> None:
    reply_key, request = SealingPrivateKey.generate(), GatewayRequest("POST", "/a", "b=c", (), b"{}", 0)
    first, second = ParkingKeys(b"\x01" * 32), ParkingKeys(b"\x02" * 32)
    assert first.place(request, b"s", "x") != second.place(request, b"s", "x")
    wrapped = first.wrap(reply_key, b"i" * 16)
    assert first.unwrap(wrapped, b"i" * 16).private_bytes() == reply_key.private_bytes()
    for keys, request_id in ((second, b"i" * 16), (first, b"j" * 16)):
        with pytest.raises(SealedDataError):
            keys.unwrap(wrapped, request_id)


def test_parts_of_a_request_cannot_be_moved_between_each_other() -> None:
    keys = ParkingKeys(b"\x01" * 32)
    requests = [
        (GatewayRequest("POST", "/a", "b", (), b"", 0), "s"),
        (GatewayRequest("POST", "/ab", "", (), b"", 0), "s"),
        (GatewayRequest("POST", "/a", "b", (), b"", 0), ""),
        (GatewayRequest("PUT", "/a", "b", (), b"", 0), "s"),
        (GatewayRequest("POST", "/a", "b", (("Accept", "x"),), b"", 0), "s"),
        (GatewayRequest("POST", "/a", "b", (("Content-Type", "x"),), b"", 0), "s"),
    ]
    assert len({keys.place(request, b"seal", session) for request, session in requests}) == len(requests)


# One look before a command begins

WINDOW = WindowId("aborts/0x05", 1_080)


def test_a_look_tells_what_is_parked_and_what_is_counted(
    client: DynamoDBClient, store: DynamoDbRequestStore
) -> None:
    assert store.look(PLACE, WINDOW) == store.look(None, WINDOW) == Look(parked=False, counted=0)
    parked(store)
    windows = DynamoDbWindows(client, "requests", lambda: 1_079_999)
    for _ in range(2):
        windows.count("aborts/0x05", window_s=60, limit=5)
    assert store.look(PLACE, WINDOW) == Look(parked=True, counted=2)
    assert store.look(None, WINDOW) == Look(parked=False, counted=2)
    assert store.look(b"\x00" * 32, WINDOW._replace(end_s=1_140)) == Look(parked=False, counted=0)
    store.adopt(PLACE, 1_026_000)
    assert not store.look(PLACE, WINDOW).parked


def test_half_a_look_is_none(
    client: DynamoDBClient, store: DynamoDbRequestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    half: dict[str, Any] = {"Responses": {}, "UnprocessedKeys": {"requests": {"Keys": [{}]}}}
    monkeypatch.setattr(client, "batch_get_item", lambda **_: half)
    with pytest.raises(RequestStoreUnavailableError):
        store.look(PLACE, WINDOW)
