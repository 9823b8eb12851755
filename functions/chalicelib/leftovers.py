"""Which of the gateway's commands may still have an object on chain, found by the minute that they came in.

Guarantees:

1. `due` reads by key, in one minute of the request ids' clock: every command that may ever have been sent, is
   due by `now_ms`, and was not settled. It is strongly consistent.
2. Nothing else about a record changes: state and fence stay, so whoever writes it is not disturbed.
3. `settle` can be repeated. It also takes the wrapped reply key away: nobody can adopt the command any more.
4. What is not settled stays until `expires_at` of its record (40 days after `answer_by`).
5. `progress` is what the last `save_progress` wrote, or nothing. Losing it loses time only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.dynamodb_items import Item, is_condition_failure, number, record_key, unavailable
from chalicelib.dynamodb_reads import read_item, records_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Kept so long after it was settled, for whoever looks into a failure.
SETTLED_KEEP_MS = 24 * 60 * 60 * 1000
_PROGRESS_KEY: Item = {"bucket": {"S": "reclaim"}, "id": {"B": b"progress"}}


class Leftover(NamedTuple):
    """A command whose request may be on chain, under this seal."""

    seal: bytes
    request_id: bytes


class Progress(NamedTuple):
    """How far runs came. `minutes`: age in minutes -> the first minute not yet looked through at that age;
    `checkpoint`: the first one whose events were not yet all old enough to be heard (see `reclaim`)."""

    minutes: Mapping[int, int]
    checkpoint: int


class Leftovers(Protocol):
    """The guarantees are the module's. Every method may raise RequestStoreUnavailableError."""

    def due(self, minute: int, now_ms: int) -> Iterator[Leftover]:
        """Commands of one minute (Unix time) that must be due on chain by `now_ms`."""
        ...

    def settle(self, request_id: bytes, now_ms: int) -> None:
        """Nothing of this command is on chain any more, and nothing ever will be."""
        ...

    def progress(self) -> Progress:
        """How far the last run came."""
        ...

    def save_progress(self, progress: Progress) -> None:
        """Remember how far this run came."""
        ...


class DynamoDbLeftovers:
    """`Leftovers` in the records of the gateway's table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def due(self, minute: int, now_ms: int) -> Iterator[Leftover]:
        """See `Leftovers.due`."""
        for item in records_of(
            self._client,
            self._table,
            minute,
            condition="attribute_exists(digest) AND attribute_not_exists(settled_ms) AND due_ms <= :now",
            values={":now": number(now_ms)},
            only="id, seal",
        ):
            yield Leftover(bytes(item["seal"]["B"]), bytes(item["id"]["B"]))

    def settle(self, request_id: bytes, now_ms: int) -> None:
        """See `Leftovers.settle`."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=record_key(request_id),
                UpdateExpression="SET settled_ms = :now, expires_at = :end REMOVE reply_key",
                # Time-to-live may have been quicker: an item with nothing but these two would be no record.
                ConditionExpression="attribute_exists(id)",
                ExpressionAttributeValues={
                    ":now": number(now_ms),
                    ":end": number((now_ms + SETTLED_KEEP_MS) // 1000),
                },
            )
        except ClientError as error:
            if not is_condition_failure(error):
                raise unavailable(error) from error
        except BotoCoreError as error:
            raise unavailable(error) from error

    def progress(self) -> Progress:
        """See `Leftovers.progress`."""
        item = read_item(self._client, self._table, _PROGRESS_KEY)
        if item is None:
            return Progress({}, 0)
        minutes = {int(age): int(minute["N"]) for age, minute in item["minutes"]["M"].items()}
        return Progress(minutes, int(item["checkpoint"]["N"]))

    def save_progress(self, progress: Progress) -> None:
        """See `Leftovers.save_progress`."""
        minutes = {str(age): number(minute) for age, minute in progress.minutes.items()}
        item = {**_PROGRESS_KEY, "minutes": {"M": minutes}, "checkpoint": number(progress.checkpoint)}
        try:
            # Two runs at once may write in any order: the worst is that something is looked through again.
            self._client.put_item(TableName=self._table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise unavailable(error) from error
