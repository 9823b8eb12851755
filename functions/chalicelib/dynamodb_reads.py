"""Reading the gateway's table: by key, always strongly consistent. docs/dynamodb.md describes it.

Everything here raises RequestStoreUnavailableError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.dynamodb_items import SHARDS, Item, record_bucket, unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def read_item(client: DynamoDBClient, table: str, key: Item) -> Item | None:
    """The item of this key, or None."""
    try:
        answer = client.get_item(TableName=table, Key=key, ConsistentRead=True)
    except (ClientError, BotoCoreError) as error:
        raise unavailable(error) from error
    return answer.get("Item")


def records_of(
    client: DynamoDBClient,
    table: str,
    minute: int,
    *,
    condition: str,
    values: Mapping[str, Item],
    names: Mapping[str, str] | None = None,
    only: str = "",
) -> Iterator[Item]:
    """The items of one minute's records for which `condition` holds, whole or `only` these attributes.

    `values` and `names` are what the condition's placeholders stand for.
    """
    projection: dict[str, Any] = {"ProjectionExpression": only} if only else {}
    pages = client.get_paginator("query")
    try:
        for shard in range(SHARDS):
            for page in pages.paginate(
                TableName=table,
                KeyConditionExpression="#bucket = :bucket",
                FilterExpression=condition,
                ExpressionAttributeNames={"#bucket": "bucket", **(names or {})},
                ExpressionAttributeValues={":bucket": {"S": record_bucket(minute, shard)}, **values},
                ConsistentRead=True,
                **projection,
            ):
                yield from page["Items"]
    except (ClientError, BotoCoreError) as error:
        raise unavailable(error) from error
