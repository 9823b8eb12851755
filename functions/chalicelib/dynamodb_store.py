"""The request store in DynamoDB. docs/dynamodb.md describes the table.

One table: partition key `bucket` (string), sort key `id` (binary), time-to-live attribute `expires_at` (Unix
seconds). A record's bucket is the minute in its request id and one of a few shards, so that a minute can be
read by key. Every write is one conditional item write; there are no transactions, no scan and no index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.dynamodb_items import (
    MINUTE_MS,
    Item,
    found_instead,
    is_condition_failure,
    new_record,
    number,
    place_key,
    record,
    record_key,
    unavailable,
)
from chalicelib.dynamodb_reads import read_item, records_of
from chalicelib.errors import (
    AdoptionFailedError,
    FenceLostError,
    PlaceTakenError,
    RequestAlreadyReservedError,
    RequestStoreUnavailableError,
)
from chalicelib.request_store import (
    PREDECESSORS,
    UNFINISHED,
    Look,
    NewRequest,
    RequestRecord,
    RequestState,
    Reservation,
    SignedTransaction,
)
from chalicelib.windows import WindowId, counted_in, window_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FIRST_FENCE = 1
# The states of a place.
PARKED, TAKEN = {"S": "parked"}, {"S": "taken"}


class DynamoDbRequestStore:
    """`RequestStore` on one DynamoDB table; the guarantees are the port's."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def reserve(self, request: NewRequest) -> Reservation:
        """See `RequestStore.reserve`."""
        item = {**new_record(request, FIRST_FENCE), "taker": _taker()}
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression="attribute_not_exists(id)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if not is_condition_failure(error):
                raise unavailable(error) from error
            if not _is_written(error, item):
                raise RequestAlreadyReservedError("this request id is taken: run the command again") from None
        except BotoCoreError as error:
            raise unavailable(error) from error
        return Reservation(request.request_id, FIRST_FENCE)

    def record_signed(self, reservation: Reservation, transaction: SignedTransaction) -> Reservation:
        """See `RequestStore.record_signed`."""
        raised = Reservation(reservation.request_id, reservation.fence + 1)
        self._advance(
            reservation,
            RequestState.SIGNED,
            {
                "fence": number(raised.fence),
                "transaction": {"B": transaction.data},
                "signature": {"B": transaction.signature},
                "digest": {"S": transaction.digest},
            },
        )
        return raised

    def record_submitted(self, reservation: Reservation) -> None:
        """See `RequestStore.record_submitted`."""
        self._advance(reservation, RequestState.SUBMITTED, {})

    def record_answered(self, reservation: Reservation, *, status_code: int, response_digest: str) -> None:
        """See `RequestStore.record_answered`."""
        self._finish(
            reservation,
            RequestState.ANSWERED,
            {"status_code": number(status_code), "response_digest": {"S": response_digest}},
        )

    def record_refused(self, reservation: Reservation) -> None:
        """See `RequestStore.record_refused`."""
        self._finish(reservation, RequestState.REFUSED, {})

    def record_expired(self, reservation: Reservation) -> None:
        """See `RequestStore.record_expired`."""
        self._finish(reservation, RequestState.EXPIRED, {})

    def park(
        self, reservation: Reservation, place: bytes, *, accepted: bool, now_ms: int, until_ms: int
    ) -> None:
        """See `RequestStore.park`.

        The record first: a place must never lead to a record that cannot be adopted yet, for its adopter
        would then submit a second command, and the retry of this one a third.
        """
        resume = RequestState.SUBMITTED if accepted else RequestState.SIGNED
        self._advance(
            reservation, RequestState.PARKED, {"resume": {"S": resume.value}}, also="ADD parkings :one"
        )
        values = {"state": PARKED, "request_id": {"B": reservation.request_id}, "until_ms": number(until_ms)}
        try:
            self._update(
                place_key(place),
                values | {"expires_at": number((until_ms + MINUTE_MS) // 1000)},
                condition="attribute_not_exists(id) OR #state <> :state OR #until_ms <= :now",
                extra={":now": number(now_ms)},
            )
        except ClientError as error:
            if not is_condition_failure(error):
                raise unavailable(error) from error
            if not _is_written(error, values):
                raise PlaceTakenError("another command is parked for the same request") from None
        except BotoCoreError as error:
            raise unavailable(error) from error

    def look(self, place: bytes | None, window: WindowId) -> Look:
        """See `RequestStore.look`."""
        wanted = [window_key(window), *([] if place is None else [place_key(place)])]
        try:
            answer = self._client.batch_get_item(
                RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}}
            )
        except (ClientError, BotoCoreError) as error:
            raise unavailable(error) from error
        if answer.get("UnprocessedKeys"):
            raise RequestStoreUnavailableError("the gateway's request store is overloaded: try again")
        found = {item["bucket"]["S"]: item for item in answer["Responses"].get(self._table, [])}
        counter, *places = (found.get(key["bucket"]["S"]) for key in wanted)
        return Look(
            parked=any(item is not None and item["state"] == PARKED for item in places),
            counted=0 if counter is None else counted_in(counter),
        )

    def adopt(self, place: bytes, now_ms: int) -> RequestRecord | None:
        """See `RequestStore.adopt`."""
        parked = read_item(self._client, self._table, place_key(place))
        if parked is None or parked["state"] != PARKED or int(parked["until_ms"]["N"]) <= now_ms:
            return None
        taker = _taker()
        taken = self._take(
            place_key(place),
            {"state": TAKEN, "taker": taker},
            condition="#state = :parked AND request_id = :request",
            extra={":parked": PARKED, ":request": parked["request_id"]},
        )
        if taken is None:
            return None
        found = self._take(
            record_key(bytes(parked["request_id"]["B"])),
            {"taker": taker},
            also=", #state = #resume, #fence = #fence + :one",
            condition="#state = :parked",
            extra={":parked": PARKED, ":one": number(1)},
            names=("state", "resume", "fence"),
        )
        if found is None:
            raise AdoptionFailedError
        return record(found)

    def unfinished(self, minute: int) -> Iterator[RequestRecord]:
        """See `RequestStore.unfinished`."""
        states: dict[str, Item] = {f":state{i}": {"S": state.value} for i, state in enumerate(UNFINISHED)}
        found = records_of(
            self._client,
            self._table,
            minute,
            condition=f"#state IN ({', '.join(states)})",
            values=states,
            names={"#state": "state"},
        )
        return map(record, found)

    def get(self, request_id: bytes) -> RequestRecord | None:
        """See `RequestStore.get`."""
        item = read_item(self._client, self._table, record_key(request_id))
        return None if item is None else record(item)

    def _finish(self, reservation: Reservation, state: RequestState, attributes: Item) -> None:
        self._advance(reservation, state, attributes, also="REMOVE reply_key")

    def _advance(
        self, reservation: Reservation, state: RequestState, attributes: Item, *, also: str = ""
    ) -> None:
        """Move the record to `state`, if fence and present state allow it."""
        before = {f":before{index}": {"S": prior.value} for index, prior in enumerate(PREDECESSORS[state])}
        mine = number(reservation.fence)
        extra: Item = {**before, ":mine": mine}
        if ":one" in also:
            extra[":one"] = number(1)
        values: Item = {"state": {"S": state.value}, **attributes}
        try:
            self._update(
                record_key(reservation.request_id),
                values,
                also=f" {also}",
                condition=f"#fence = :mine AND #state IN ({', '.join(before)})",
                extra=extra,
                names=("fence",),
            )
        except ClientError as error:
            if not is_condition_failure(error):
                raise unavailable(error) from error
            if not _is_written(error, {"fence": mine, **values}):
                raise FenceLostError(
                    "somebody else has taken this command over: run it again only after a look"
                ) from None
        except BotoCoreError as error:
            raise unavailable(error) from error

    def _take(self, key: Item, values: Item, **update: Any) -> Item | None:
        """One conditional update that only one caller can win; the item as it is then, None for the others.

        Raises AdoptionFailedError if nobody knows who won: then nothing may be submitted either.
        """
        try:
            return self._update(key, values, returned="ALL_NEW", **update)
        except ClientError as error:
            if not is_condition_failure(error):
                raise AdoptionFailedError from error
            found = found_instead(error)
            # Ours: the client repeated a write whose reply was lost.
            return found if found.get("taker") == values["taker"] else None
        except BotoCoreError as error:
            raise AdoptionFailedError from error

    def _update(
        self,
        key: Item,
        values: Item,
        *,
        condition: str,
        extra: Item,
        also: str = "",
        names: tuple[str, ...] = (),
        returned: Literal["ALL_NEW", "NONE"] = "NONE",
    ) -> Item:
        """One conditional write; the new item if it is to be returned. Raises the client's errors."""
        answer = self._client.update_item(
            TableName=self._table,
            Key=key,
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values) + also,
            ConditionExpression=condition,
            ExpressionAttributeNames={f"#{name}": name for name in (*values, *names)},
            ExpressionAttributeValues={**{f":{name}": value for name, value in values.items()}, **extra},
            ReturnValues=returned,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        return answer.get("Attributes", {})


def _taker() -> Item:
    """Tells this attempt from all others."""
    return {"B": os.urandom(16)}


def _is_written(error: ClientError, values: Item) -> bool:
    """Whether the item that failed the condition is what was to be written: the client repeats a write whose
    reply was lost."""
    found = found_instead(error)
    return all(found.get(name) == value for name, value in values.items())
