"""The request store's guarantees, on moto's DynamoDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from chalicelib.dynamodb_items import record_key
from chalicelib.dynamodb_store import DynamoDbRequestStore
from chalicelib.errors import FenceLostError, RequestAlreadyReservedError, RequestStoreUnavailableError
from chalicelib.request_store import NewRequest, RequestState, SignedTransaction
from moto import mock_aws

from infra.local.aws import create_request_table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REQUEST = NewRequest(
    request_id=bytes(range(16)),
    seal=b"\x05" * 32,
    arrived_at_ms=1_000_000,
    start_by_ms=1_024_000,
    finish_by_ms=1_240_000,
    answer_by_ms=1_840_000,
)
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
