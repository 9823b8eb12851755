"""Counters that hold across all functions: so many events of a key in each window of time.

One item per key and window in the gateway's table; windows are aligned to Unix time. Every count is one
conditional, atomic update, and nothing is read before it. docs/dynamodb.md has the keys.

Guarantees:

1. However many functions count at once, `count` allows at most `limit` events of one key in one window.
2. What it allowed is counted at least once. A write whose reply was lost may be counted twice.
3. It raises RequestStoreUnavailableError if nobody knows. The caller decides what that means; nothing that
   costs gas may go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.dynamodb_items import Item, is_condition_failure, number, unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# How long an item is kept after its window: clocks of functions differ by less.
KEEP_S = 60


class Counted(NamedTuple):
    """Whether the event was within the limit, how many more are, and when the window ends (whole seconds,
    at least 1)."""

    allowed: bool
    left: int
    retry_after_s: int


class WindowId(NamedTuple):
    """One window of one key; `end_s` is the Unix time at which it ends."""

    key: str
    end_s: int


class Windows(Protocol):
    """See the module's guarantees."""

    def count(self, key: str, *, window_s: int, limit: int) -> Counted:
        """Count one event of `key`, unless `limit` are counted in this window already.

        Raises RequestStoreUnavailableError.
        """
        ...


class DynamoDbWindows:
    """`Windows` in the gateway's table; used by many request threads at once."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._client = client
        self._table = table
        self._now_ms = now_ms

    def count(self, key: str, *, window_s: int, limit: int) -> Counted:
        """See `Windows.count`."""
        now_ms = self._now_ms()
        end_s = window_end_s(now_ms, window_s)
        retry_after_s = max(1, -(-(end_s * 1000 - now_ms) // 1000))
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=window_key(WindowId(key, end_s)),
                UpdateExpression="SET #expires = :expires ADD #count :one",
                ConditionExpression="attribute_not_exists(#count) OR #count < :limit",
                ExpressionAttributeNames={"#expires": "expires_at", "#count": "count"},
                ExpressionAttributeValues={
                    ":expires": number(end_s + KEEP_S),
                    ":one": number(1),
                    ":limit": number(limit),
                },
                ReturnValues="UPDATED_NEW",
            )
        except ClientError as error:
            if is_condition_failure(error):
                return Counted(False, 0, retry_after_s)
            raise unavailable(error) from error
        except BotoCoreError as error:
            raise unavailable(error) from error
        return Counted(True, max(0, limit - counted_in(answer["Attributes"])), retry_after_s)


def window_end_s(now_ms: int, window_s: int) -> int:
    """Unix seconds at which the window of this moment ends."""
    return (now_ms // (window_s * 1000) + 1) * window_s


def window_key(window: WindowId) -> Item:
    """The key of one window's item."""
    return {"bucket": {"S": f"window/{window.key}"}, "id": {"B": window.end_s.to_bytes(8, "big")}}


def counted_in(item: Item) -> int:
    """What a window's item says."""
    return int(item["count"]["N"])
