"""How records and places look as DynamoDB items: keys, attributes, and what an AWS error means."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import RequestStoreUnavailableError
from chalicelib.request_store import NewRequest, RequestRecord, RequestState, SignedTransaction
from k3s_daas.ids import request_id_time_ms

Item = dict[str, Any]

# A request stays on chain for at most 30 days after the last moment at which it can be answered.
KEEP_MS = 40 * 24 * 60 * 60 * 1000
MINUTE_MS = 60_000
# The records of one minute are spread over this many buckets; a sweep reads each of them.
SHARDS = 4


def record_key(request_id: bytes) -> Item:
    """The key of a command's record; it follows from the request id alone."""
    minute = request_id_time_ms(request_id) // MINUTE_MS
    return {"bucket": {"S": record_bucket(minute, request_id[-1] % SHARDS)}, "id": {"B": request_id}}


def record_bucket(minute: int, shard: int) -> str:
    """The partition that holds a share of one minute's records."""
    return f"request/{minute}/{shard}"


def place_key(place: bytes) -> Item:
    """The key of a parking place: one item in a partition of its own."""
    return {"bucket": {"S": f"place/{place.hex()}"}, "id": {"B": place}}


def new_record(request: NewRequest, fence: int) -> Item:
    """The item of a reserved command."""
    item: Item = {
        **record_key(request.request_id),
        "seal": {"B": request.seal},
        "state": {"S": RequestState.RESERVED.value},
        "fence": number(fence),
        "arrived_at_ms": number(request.arrived_at_ms),
        "start_by_ms": number(request.start_by_ms),
        "finish_by_ms": number(request.finish_by_ms),
        "answer_by_ms": number(request.answer_by_ms),
        "due_ms": number(request.due_ms),
        "expires_at": number((request.answer_by_ms + KEEP_MS) // 1000),
    }
    if request.wrapped_reply_key:
        item["reply_key"] = {"B": request.wrapped_reply_key}
    return item


def record(item: Item) -> RequestRecord:
    """The record that an item holds."""
    transaction = None
    if "transaction" in item:
        transaction = SignedTransaction(
            data=bytes(item["transaction"]["B"]),
            signature=bytes(item["signature"]["B"]),
            digest=item["digest"]["S"],
        )
    return RequestRecord(
        request=NewRequest(
            request_id=bytes(item["id"]["B"]),
            seal=bytes(item["seal"]["B"]),
            arrived_at_ms=int(item["arrived_at_ms"]["N"]),
            start_by_ms=int(item["start_by_ms"]["N"]),
            finish_by_ms=int(item["finish_by_ms"]["N"]),
            answer_by_ms=int(item["answer_by_ms"]["N"]),
            due_ms=int((item.get("due_ms") or item["answer_by_ms"])["N"]),
            wrapped_reply_key=bytes(item["reply_key"]["B"]) if "reply_key" in item else b"",
        ),
        state=RequestState(item["state"]["S"]),
        fence=int(item["fence"]["N"]),
        transaction=transaction,
        response_digest=item["response_digest"]["S"] if "response_digest" in item else None,
        status_code=int(item["status_code"]["N"]) if "status_code" in item else None,
        parkings=int(item["parkings"]["N"]) if "parkings" in item else 0,
    )


def number(value: int) -> Item:
    """A whole number, as DynamoDB writes it."""
    return {"N": str(value)}


def is_condition_failure(error: ClientError) -> bool:
    """Whether the item was not as the write's condition says."""
    return error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException"


def found_instead(error: ClientError) -> Item:
    """The item that failed a condition, if the write asked for it; empty where there was none."""
    found: Any = error.response.get("Item")
    return found if isinstance(found, dict) else {}


def unavailable(error: ClientError | BotoCoreError) -> RequestStoreUnavailableError:
    """The store's own error for whatever AWS said."""
    # The class name only: AWS messages carry account numbers and table names.
    name = (
        error.response.get("Error", {}).get("Code")
        if isinstance(error, ClientError)
        else type(error).__name__
    )
    return RequestStoreUnavailableError(f"the gateway's request store does not answer ({name}): try again")
