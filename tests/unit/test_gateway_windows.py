"""Counters across functions: exact under a race, closed at the limit, new in the next window."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from chalicelib.errors import RequestStoreUnavailableError
from chalicelib.windows import Counted, DynamoDbWindows, WindowId, window_key
from moto import mock_aws

from infra.local.aws import create_request_table
from tests.unit.gateway_world import one_at_a_time

START_MS = 1_800_000_000_000
TABLE = "windows"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with mock_aws():
        session = boto3.session.Session("local", "local", region_name="us-east-1")
        client = session.client("dynamodb")
        one_at_a_time(client)
        create_request_table(client, TABLE)
        yield client


class Clock:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


def test_so_many_are_allowed_and_no_more(client: Any) -> None:
    windows = DynamoDbWindows(client, TABLE, lambda: START_MS)
    counted = [windows.count("watch/one", window_s=60, limit=3) for _ in range(5)]
    assert [item.allowed for item in counted] == [True, True, True, False, False]
    assert [item.left for item in counted] == [2, 1, 0, 0, 0]


def test_two_functions_that_race_allow_no_more_than_one_would(client: Any) -> None:
    functions = [DynamoDbWindows(client, TABLE, lambda: START_MS) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda n: functions[n % 4].count("race", window_s=60, limit=10), range(40)))
    assert sum(item.allowed for item in counted) == 10


def test_keys_do_not_count_for_each_other(client: Any) -> None:
    windows = DynamoDbWindows(client, TABLE, lambda: START_MS)
    assert not [windows.count("mine", window_s=60, limit=1) for _ in range(2)][1].allowed
    assert windows.count("yours", window_s=60, limit=1).allowed


def test_the_next_window_begins_when_retry_after_says(client: Any) -> None:
    clock = Clock()
    windows = DynamoDbWindows(client, TABLE, clock)
    clock.ms += 12_345
    windows.count("time", window_s=60, limit=1)
    refused = windows.count("time", window_s=60, limit=1)
    assert refused == Counted(False, 0, 48)
    clock.ms += refused.retry_after_s * 1000
    assert windows.count("time", window_s=60, limit=1).allowed


def test_retry_after_is_never_zero(client: Any) -> None:
    windows = DynamoDbWindows(client, TABLE, lambda: START_MS + 59_999)
    assert windows.count("late", window_s=60, limit=1).retry_after_s == 1


def test_an_item_ends_a_minute_after_its_window(client: Any) -> None:
    DynamoDbWindows(client, TABLE, lambda: START_MS).count("ends", window_s=60, limit=1)
    item = client.get_item(TableName=TABLE, Key=window_key(WindowId("ends", START_MS // 1000 + 60)))["Item"]
    assert item["expires_at"] == {"N": str(START_MS // 1000 + 120)}


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "UpdateItem"),
        EndpointConnectionError(endpoint_url="unused"),
    ],
)
def test_nobody_is_allowed_while_the_table_cannot_be_asked(failure: Exception) -> None:
    class Away:
        def update_item(self, **_: Any) -> Any:
            raise failure

    windows = DynamoDbWindows(Away(), TABLE, lambda: START_MS)  # type: ignore[arg-type] # all that is used of it
    with pytest.raises(RequestStoreUnavailableError):
        windows.count("away", window_s=60, limit=1)
