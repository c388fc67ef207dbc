"""The one place that talks to DynamoDB: client, wire format, paging, errors.

Table modules hand in and get back plain dictionaries (numbers as Decimal, binary as bytes).
boto3 is imported when a client is made, so that pure code and `chalice package` never need it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain, islice
from math import isfinite
from typing import Any

from cloudping.errors import ConditionError, StoreError

Item = dict[str, Any]

CONDITION_FAILED = "ConditionalCheckFailedException"


def client(
    region: str,
    endpoint_url: str | None = None,
    timeout_s: float = 10,
    attempts: int = 5,
    **credentials: str,
) -> Any:
    """A DynamoDB client for the home region, with bounded waits and retries.

    `timeout_s` is how long an attempt waits for an answer, at most 3 s of it for a connection.
    """
    import boto3
    from botocore.config import Config

    return boto3.client(
        "dynamodb",
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=min(3, timeout_s),
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
        ),
        **credentials,
    )


def decimal(value: float, places: int = 3) -> Decimal:
    """A number as DynamoDB stores it, without the binary tail of a float."""
    return Decimal(f"{value:.{places}f}").normalize() + 0


def to_wire(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item in DynamoDB's wire format; raises TypeError for what it does not take (a float)."""
    return {name: _wired(value) for name, value in item.items()}


def _wired(value: Any) -> dict[str, Any]:
    # As boto3's TypeSerializer, less its cost; see _plain.
    content = value
    match value:
        case str():
            kind = "S"
        case None:
            kind, content = "NULL", True
        case bool():
            kind = "BOOL"
        case int() | Decimal() if isfinite(value):
            kind, content = "N", str(value)
        case bytes():
            kind = "B"
        case Mapping():
            kind, content = "M", {name: _wired(inner) for name, inner in value.items()}
        case list() | tuple():
            kind, content = "L", [_wired(inner) for inner in value]
        case _:
            raise TypeError(f"{value!r} of {type(value).__name__} cannot be stored; use Decimal")
    return {kind: content}


def from_wire(item: Mapping[str, Mapping[str, Any]]) -> Item:
    """The inverse of `to_wire`; numbers come back as Decimal, binary as bytes."""
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Mapping[str, Any]) -> Any:
    # boto3's TypeDeserializer does the same at some five times the cost (it enters a Decimal
    # context for each number), and reading runs is where the aggregator spends its time.
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return Decimal(content)
        case "M":
            return {name: _plain(inner) for name, inner in content.items()}
        case "L":
            return [_plain(inner) for inner in content]
        case "NULL":
            return None
        case _:  # S, BOOL, B; this project writes no sets
            return content


@contextmanager
def translated(table: str, operation: str) -> Iterator[None]:
    """Turns botocore's errors into StoreError or, of a condition, ConditionError; chained."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        fault = error.response.get("Error", {})
        kind = ConditionError if fault.get("Code") == CONDITION_FAILED else StoreError
        raise kind(
            table, operation, f"{fault.get('Code', '?')}: {fault.get('Message', '')}"
        ) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise StoreError(table, operation, str(error)) from error


def put(client: Any, table: str, item: Item) -> None:
    """Puts an item, whatever is stored under its key."""
    with translated(table, "put_item"):
        client.put_item(TableName=table, Item=to_wire(item))


def put_if(client: Any, table: str, item: Item, expected: Item | None) -> bool:
    """Puts an item if what is stored still has these attributes; False where it has not.

    `expected` is None where nothing may be stored under the key; an attribute that is None in it
    must not be stored.
    """
    if expected is None:
        expected = {next(iter(item)): None}  # any part of the key: no item is without
    conditions, values = [], {}
    for name, value in expected.items():
        if value is None:
            conditions.append(f"attribute_not_exists(#{name})")
        else:
            conditions.append(f"#{name} = :{name}")
            values[f":{name}"] = _wired(value)
    request: dict[str, Any] = {
        "TableName": table,
        "Item": to_wire(item),
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": {f"#{name}": name for name in expected},
    }
    if values:
        request["ExpressionAttributeValues"] = values
    try:
        with translated(table, "put_item"):
            client.put_item(**request)
    except ConditionError:
        return False
    return True


def pages(call: Callable[..., Any], table: str, **request: Any) -> Iterator[Item]:
    """Every item of a Query or Scan, page by page, as plain dictionaries."""
    operation = call.__name__
    while True:
        with translated(table, operation):
            answer = call(TableName=table, **request)
        if "Items" not in answer:  # botocore makes an empty answer of a body that is no JSON
            raise StoreError(table, operation, "the answer is none of DynamoDB's")
        yield from map(from_wire, answer["Items"])
        last = answer.get("LastEvaluatedKey")
        if last is None:
            return
        request["ExclusiveStartKey"] = last


BATCH_ITEMS = 25  # DynamoDB's limit for BatchWriteItem
_BATCH_TRIES = 8


def write_batches(
    client: Any, table: str, items: Iterable[Item] = (), deleted: Iterable[Item] = ()
) -> None:
    """Puts items and deletes keys, 25 in a request, and again what DynamoDB left unprocessed.

    Not atomic; an item put twice is the same item, so the whole can be repeated. Raises StoreError
    when DynamoDB still leaves some after eight tries (6 s).
    """
    requests = chain(
        ({"PutRequest": {"Item": to_wire(item)}} for item in items),
        ({"DeleteRequest": {"Key": to_wire(key)}} for key in deleted),
    )
    while left := list(islice(requests, BATCH_ITEMS)):
        for attempt in range(_BATCH_TRIES):
            with translated(table, "batch_write_item"):
                answer = client.batch_write_item(RequestItems={table: left})
            left = answer.get("UnprocessedItems", {}).get(table, [])
            if not left:
                break
            time.sleep(0.05 * 2**attempt)
        else:
            raise StoreError(table, "batch_write_item", f"{len(left)} items still unprocessed")
