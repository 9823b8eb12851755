"""The second level of the cache of discovery: what all functions know together, in the gateway's table.

Guarantees:

1. `definitions` is strongly consistent: from the moment that `change` returned, every function sees another
   generation, and that definitions are changing until `until_ms`.
2. `take` gives only what a function with the same parking key put under exactly this key and this generation,
   unaltered. Whoever can write to the table can remove a reply, and not make one.
3. `put` never replaces a newer reply by an older one.

Discovery is not secret, so a reply is compressed and sealed for its integrity. One that is larger than an
item of DynamoDB may be is not put at all: it is kept by the process that fetched it.
"""

from __future__ import annotations

import json
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.discovery_cache import DiscoveryKey
from chalicelib.dynamodb_items import Item, is_condition_failure, number, unavailable
from chalicelib.dynamodb_reads import read_item
from chalicelib.parking_keys import ParkingKeys
from chalicelib.replies import GatewayReply
from k3s_daas.errors import SealedDataError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# DynamoDB's limit for an item is 400 KiB, names and key included.
MOST_BYTES = 390 * 1024
# An old reply can still be confirmed by its ETag; then nobody needs it any more.
KEEP_MS = 60 * 60 * 1000
_MARKER_KEY: Item = {"bucket": {"S": "discovery"}, "id": {"B": b"definitions"}}


class Marker(NamedTuple):
    """Which generation of definitions is current, and until when (Unix ms) they may still be changing."""

    generation: int
    changing_until_ms: int


class Shelved(NamedTuple):
    """A reply, and when it was asked for (Unix ms)."""

    reply: GatewayReply
    fetched_ms: int


class DiscoveryShelf(Protocol):
    """The guarantees are the module's. Every method may raise RequestStoreUnavailableError."""

    def definitions(self) -> Marker:
        """The state of now."""
        ...

    def change(self, until_ms: int) -> None:
        """Definitions are about to change, or did: nothing that was put is given any more."""
        ...

    def take(self, key: DiscoveryKey, generation: int) -> Shelved | None:
        """What was put last, however old it is."""
        ...

    def put(self, key: DiscoveryKey, generation: int, shelved: Shelved) -> None:
        """Leave a complete reply for all."""
        ...


class DynamoDbShelf:
    """`DiscoveryShelf` in the gateway's table; used by many request threads at once."""

    def __init__(self, client: DynamoDBClient, table: str, keys: ParkingKeys) -> None:
        self._client = client
        self._table = table
        self._keys = keys

    def definitions(self) -> Marker:
        """See `DiscoveryShelf.definitions`."""
        item = read_item(self._client, self._table, _MARKER_KEY)
        if item is None:
            return Marker(0, 0)
        return Marker(int(item["generation"]["N"]), int(item["until_ms"]["N"]))

    def change(self, until_ms: int) -> None:
        """See `DiscoveryShelf.change`."""
        values: Item = {":one": number(1), ":until": number(until_ms)}
        try:
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=_MARKER_KEY,
                    UpdateExpression="ADD generation :one SET until_ms = :until",
                    ConditionExpression="attribute_not_exists(until_ms) OR until_ms < :until",
                    ExpressionAttributeValues=values,
                )
            except ClientError as error:
                if not is_condition_failure(error):
                    raise
                # Somebody else's change takes longer; ours is one more all the same.
                self._client.update_item(
                    TableName=self._table,
                    Key=_MARKER_KEY,
                    UpdateExpression="ADD generation :one",
                    ExpressionAttributeValues={":one": number(1)},
                )
        except (ClientError, BotoCoreError) as error:
            raise unavailable(error) from error

    def take(self, key: DiscoveryKey, generation: int) -> Shelved | None:
        """See `DiscoveryShelf.take`."""
        item = read_item(self._client, self._table, _item_key(key))
        if item is None or int(item["generation"]["N"]) != generation:
            return None
        fetched_ms = int(item["fetched_ms"]["N"])
        try:
            packed = self._keys.open(bytes(item["reply"]["B"]), _bound_to(key, generation, fetched_ms))
        except SealedDataError:
            # Of another parking key, or altered: as good as none.
            return None
        return Shelved(_unpacked(packed), fetched_ms)

    def put(self, key: DiscoveryKey, generation: int, shelved: Shelved) -> None:
        """See `DiscoveryShelf.put`."""
        sealed = self._keys.seal(_packed(shelved.reply), _bound_to(key, generation, shelved.fetched_ms))
        if len(sealed) > MOST_BYTES:
            return
        item = {
            **_item_key(key),
            "generation": number(generation),
            "fetched_ms": number(shelved.fetched_ms),
            "reply": {"B": sealed},
            "expires_at": number((shelved.fetched_ms + KEEP_MS) // 1000),
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=(
                    "attribute_not_exists(id) OR generation < :generation"
                    " OR (generation = :generation AND fetched_ms < :fetched)"
                ),
                ExpressionAttributeValues={
                    ":generation": number(generation),
                    ":fetched": number(shelved.fetched_ms),
                },
            )
        except ClientError as error:
            if not is_condition_failure(error):
                raise unavailable(error) from error
        except BotoCoreError as error:
            raise unavailable(error) from error


def _item_key(key: DiscoveryKey) -> Item:
    name = sha256(json.dumps(key).encode()).digest()
    return {"bucket": {"S": f"discovery/{name.hex()}"}, "id": {"B": name}}


def _bound_to(key: DiscoveryKey, generation: int, fetched_ms: int) -> bytes:
    return json.dumps([*key, generation, fetched_ms]).encode()


def _packed(reply: GatewayReply) -> bytes:
    head = json.dumps([reply.status, reply.headers]).encode()
    return zlib.compress(len(head).to_bytes(4, "big") + head + reply.body, level=1)


def _unpacked(packed: bytes) -> GatewayReply:
    text = zlib.decompress(packed)
    end = 4 + int.from_bytes(text[:4], "big")
    status, headers = json.loads(text[4:end])
    return GatewayReply(status, tuple((name, value) for name, value in headers), text[end:])
