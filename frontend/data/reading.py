"""What is read of the tables for a visitor, in read units as DynamoDB itself counts them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, cast

from flask import has_request_context, request

READS: Final = "cloudping.reads"  # in the environ, if the server limits it
QUERIES: Final = ("Query", "GetItem", "BatchGetItem")


class Reads(Protocol):
    """What may be read for a request."""

    def wait_s(self) -> float:
        """Seconds until something may be read; 0: now."""

    def charge(self, units: float) -> None:
        """Counts what was read."""


_charged: ContextVar[Reads | None] = ContextVar("charged", default=None)


@contextmanager
def charged_to(limit: Reads | None) -> Iterator[None]:
    """What is read in this context is charged to the limit of a request that may be over."""
    token = _charged.set(limit)
    try:
        yield
    finally:
        _charged.reset(token)


def reads() -> Reads | None:
    """The limit of this request; None where there is none, and for what the site reads itself."""
    found = request.environ.get(READS) if has_request_context() else None
    return cast(Reads | None, found) or _charged.get()


def counted(client: Any) -> Any:
    """The DynamoDB client; from now on what it reads for a visitor is charged."""
    for name in QUERIES:
        client.meta.events.register(
            f"before-parameter-build.dynamodb.{name}", _ask, unique_id=f"cloudping-ask-{name}"
        )
        client.meta.events.register(
            f"after-call.dynamodb.{name}", _charge, unique_id=f"cloudping-charge-{name}"
        )
    return client


def _ask(params: dict[str, Any], **_: Any) -> None:
    params["ReturnConsumedCapacity"] = "TOTAL"


def _charge(parsed: dict[str, Any], **_: Any) -> None:
    limit = reads()
    if limit is None:
        return
    found = parsed.get("ConsumedCapacity", [])
    for capacity in [found] if isinstance(found, dict) else found:
        limit.charge(float(capacity.get("CapacityUnits", 0)))
