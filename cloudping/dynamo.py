"""The one place that talks to DynamoDB: client, wire format, paging, errors.

Table modules hand in and get back plain dictionaries (numbers as Decimal, binary as bytes).
boto3 is imported when a client is made, so that pure code and `chalice package` never need it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from cloudping.errors import StoreError

Item = dict[str, Any]

CONDITION_FAILED = "ConditionalCheckFailedException"


def client(region: str, endpoint_url: str | None = None, **credentials: str) -> Any:
    """A DynamoDB client for the home region, with bounded waits and adaptive retries."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "dynamodb",
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=3,
            read_timeout=10,
            retries={"mode": "standard", "max_attempts": 5},
            tcp_keepalive=True,
        ),
        **credentials,
    )


def decimal(value: float, places: int = 3) -> Decimal:
    """A number as DynamoDB stores it, without the binary tail of a float."""
    return Decimal(f"{value:.{places}f}").normalize() + 0


def to_wire(item: Mapping[str, Any]) -> dict[str, Any]:
    from boto3.dynamodb.types import TypeSerializer

    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item.items()}


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
    """Turns botocore's errors into StoreError, chained."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        fault = error.response.get("Error", {})
        raise StoreError(
            table, operation, f"{fault.get('Code', '?')}: {fault.get('Message', '')}"
        ) from error
    except BotoCoreError as error:
        raise StoreError(table, operation, str(error)) from error


def is_condition_failure(error: StoreError) -> bool:
    """True when a conditional write found that its condition does not hold."""
    response = getattr(error.__cause__, "response", {})
    return bool(response.get("Error", {}).get("Code") == CONDITION_FAILED)


def pages(call: Callable[..., Any], table: str, **request: Any) -> Iterator[Item]:
    """Every item of a Query or Scan, page by page, as plain dictionaries."""
    operation = call.__name__
    while True:
        with translated(table, operation):
            answer = call(TableName=table, **request)
        yield from map(from_wire, answer.get("Items", ()))
        last = answer.get("LastEvaluatedKey")
        if last is None:
            return
        request["ExclusiveStartKey"] = last
