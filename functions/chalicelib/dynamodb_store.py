"""The request store in DynamoDB.

Table: partition key `request_id` (binary), time-to-live attribute `expires_at` (Unix seconds). Every write
is one conditional item write; there are no transactions and no index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import FenceLostError, RequestAlreadyReservedError, RequestStoreUnavailableError
from chalicelib.request_store import (
    PREDECESSORS,
    NewRequest,
    RequestRecord,
    RequestState,
    Reservation,
    SignedTransaction,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Kept a day after the last moment at which an answer can arrive, for whoever looks into a failure.
KEEP_MS = 24 * 60 * 60 * 1000


class DynamoDbRequestStore:
    """`RequestStore` on one DynamoDB table; the guarantees are the port's."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def reserve(self, request: NewRequest) -> Reservation:
        """See `RequestStore.reserve`."""
        fence = 1
        item: dict[str, Any] = {
            "request_id": {"B": request.request_id},
            "seal": {"B": request.seal},
            "state": {"S": RequestState.RESERVED.value},
            "fence": _number(fence),
            "arrived_at_ms": _number(request.arrived_at_ms),
            "start_by_ms": _number(request.start_by_ms),
            "finish_by_ms": _number(request.finish_by_ms),
            "answer_by_ms": _number(request.answer_by_ms),
            "expires_at": _number((request.answer_by_ms + KEEP_MS) // 1000),
        }
        try:
            self._client.put_item(
                TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(request_id)"
            )
        except ClientError as error:
            if _is_condition_failure(error):
                raise RequestAlreadyReservedError("this request id is taken: run the command again") from None
            raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error
        return Reservation(request.request_id, fence)

    def record_signed(self, reservation: Reservation, transaction: SignedTransaction) -> Reservation:
        """See `RequestStore.record_signed`."""
        raised = Reservation(reservation.request_id, reservation.fence + 1)
        self._advance(
            reservation,
            RequestState.SIGNED,
            {
                "fence": _number(raised.fence),
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
        self._advance(
            reservation,
            RequestState.ANSWERED,
            {"status_code": _number(status_code), "response_digest": {"S": response_digest}},
        )

    def record_refused(self, reservation: Reservation) -> None:
        """See `RequestStore.record_refused`."""
        self._advance(reservation, RequestState.REFUSED, {})

    def record_expired(self, reservation: Reservation) -> None:
        """See `RequestStore.record_expired`."""
        self._advance(reservation, RequestState.EXPIRED, {})

    def get(self, request_id: bytes) -> RequestRecord | None:
        """See `RequestStore.get`."""
        try:
            answer = self._client.get_item(
                TableName=self._table, Key={"request_id": {"B": request_id}}, ConsistentRead=True
            )
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error
        item = answer.get("Item")
        return None if item is None else _record(item)

    def _advance(self, reservation: Reservation, state: RequestState, attributes: dict[str, Any]) -> None:
        """Move the record to `state`, if fence and present state allow it."""
        values = {"#state": {"S": state.value}, **{f"#{name}": value for name, value in attributes.items()}}
        before = {f":before{index}": {"S": prior.value} for index, prior in enumerate(PREDECESSORS[state])}
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"request_id": {"B": reservation.request_id}},
                UpdateExpression="SET " + ", ".join(f"{name} = :{name[1:]}" for name in values),
                ConditionExpression=f"#fence = :mine AND #state IN ({', '.join(before)})",
                ExpressionAttributeNames={name: name[1:] for name in [*values, "#fence"]},
                ExpressionAttributeValues={
                    **{f":{name[1:]}": value for name, value in values.items()},
                    **before,
                    ":mine": _number(reservation.fence),
                },
            )
        except ClientError as error:
            if _is_condition_failure(error):
                raise FenceLostError(
                    "somebody else has taken this command over: run it again only after a look"
                ) from None
            raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error


def _record(item: dict[str, Any]) -> RequestRecord:
    transaction = None
    if "transaction" in item:
        transaction = SignedTransaction(
            data=bytes(item["transaction"]["B"]),
            signature=bytes(item["signature"]["B"]),
            digest=item["digest"]["S"],
        )
    return RequestRecord(
        request=NewRequest(
            request_id=bytes(item["request_id"]["B"]),
            seal=bytes(item["seal"]["B"]),
            arrived_at_ms=int(item["arrived_at_ms"]["N"]),
            start_by_ms=int(item["start_by_ms"]["N"]),
            finish_by_ms=int(item["finish_by_ms"]["N"]),
            answer_by_ms=int(item["answer_by_ms"]["N"]),
        ),
        state=RequestState(item["state"]["S"]),
        fence=int(item["fence"]["N"]),
        transaction=transaction,
        response_digest=item["response_digest"]["S"] if "response_digest" in item else None,
        status_code=int(item["status_code"]["N"]) if "status_code" in item else None,
    )


def _number(value: int) -> dict[str, Any]:
    return {"N": str(value)}


def _is_condition_failure(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException"


def _unavailable(error: ClientError | BotoCoreError) -> RequestStoreUnavailableError:
    # The class name only: AWS messages carry account numbers and table names.
    name = (
        error.response.get("Error", {}).get("Code")
        if isinstance(error, ClientError)
        else type(error).__name__
    )
    return RequestStoreUnavailableError(f"the gateway's request store does not answer ({name}): try again")
