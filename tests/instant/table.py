"""The gateway's table in memory, in the place of boto3's DynamoDB client.

The gateway's own stores run on it, with the expressions that they write; each call is atomic, as at AWS. Not
here: limits of sizes and rates, the network and its errors, paging, and everything that the gateway does not
call. `tests/unit/test_gateway_store.py` holds it against moto, for which one write costs 5 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

from botocore.exceptions import ClientError

from tests.instant.expressions import Item, Scope, condition, update

Key = tuple[str, bytes]


class MemoryTable:
    """Partition key `bucket`, sort key `id`; the name of the table is not looked at."""

    def __init__(self) -> None:
        self._items: dict[Key, Item] = {}
        self._lock = threading.Lock()

    def put_item(self, *, Item: Item, **arguments: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """As boto3's. Raises ClientError if the condition does not hold."""
        with self._lock:
            self._check(self._items.get(_key(Item), {}), arguments, arguments.get("ConditionExpression"))
            self._items[_key(Item)] = copy(Item)
        return {}

    def update_item(self, *, Key: Item, **arguments: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """As boto3's; ALL_NEW and UPDATED_NEW both return the whole item. Raises as `put_item`."""
        with self._lock:
            before = self._items.get(_key(Key), {})
            self._check(before, arguments, arguments.get("ConditionExpression"))
            changed = {**before, **Key}
            update(arguments["UpdateExpression"])(_scope(before, arguments), changed)
            self._items[_key(Key)] = changed
            return {"Attributes": copy(changed)}

    def get_item(self, *, Key: Item, **_arguments: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """As boto3's."""
        with self._lock:
            found = self._items.get(_key(Key))
        return {} if found is None else {"Item": copy(found)}

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """As boto3's: all keys at one moment, which is more than AWS promises."""
        with self._lock:
            found = {
                table: [copy(self._items[_key(key)]) for key in wanted["Keys"] if _key(key) in self._items]
                for table, wanted in RequestItems.items()
            }
        return {"Responses": found}

    def get_paginator(self, operation: str) -> _Pages:
        """As boto3's, for `query` of one partition."""
        assert operation == "query", operation
        return _Pages(self)

    def partition(self, arguments: Mapping[str, Any]) -> list[Item]:
        """The items that a query finds, whole."""
        with self._lock:
            return [
                copy(item)
                for item in self._items.values()
                if all(
                    condition(arguments[name])(_scope(item, arguments))
                    for name in ("KeyConditionExpression", "FilterExpression")
                )
            ]

    def _check(self, item: Item, arguments: Mapping[str, Any], wanted: str | None) -> None:
        if wanted is None or condition(wanted)(_scope(item, arguments)):
            return
        response: dict[str, Any] = {"Error": {"Code": "ConditionalCheckFailedException"}}
        if item and arguments.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            response["Item"] = copy(item)
        raise ClientError(response, "write")  # type: ignore[arg-type] # as little as the gateway reads


class _Pages:
    def __init__(self, table: MemoryTable) -> None:
        self._table = table

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        yield {"Items": self._table.partition(arguments)}


def _key(item: Item) -> Key:
    return item["bucket"]["S"], bytes(item["id"]["B"])


def _scope(item: Item, arguments: Mapping[str, Any]) -> Scope:
    return Scope(
        item,
        arguments.get("ExpressionAttributeNames", {}),
        arguments.get("ExpressionAttributeValues", {}),
    )
