"""What `/api/v1` may be asked, as marshmallow schemas: 400 for anything else."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

import marshmallow as ma
from flask import abort
from marshmallow.validate import Length, OneOf, Range

from cloudping.changes import FIGURES as CHANGED
from cloudping.summaries import TIMEFRAMES
from cloudping.times import to_iso, utc_now
from frontend.api.formats import FORMATS
from frontend.api.schemas import text, time
from frontend.data.store import MAX_PAGE, NEAR_YEARS
from frontend.views.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAMES, METRICS
from frontend.views.order import GROUPS, ORDERS
from frontend.views.plan import ask

EXPORTS: Final = ("netem", "json", "csv", "rows", "shadow", "chaos-mesh", "triples")


def _near(value: date) -> None:
    """Times that can be reckoned with: `datetime` ends at the years 1 and 9999."""
    if not NEAR_YEARS[0] <= value.year <= NEAR_YEARS[1]:
        raise ma.ValidationError(f"Must be in the years {NEAR_YEARS[0]} to {NEAR_YEARS[1]}.")


_format = ma.fields.String(
    load_default="json",
    validate=OneOf(FORMATS),
    metadata={"description": "JSON with metadata, or rows as CSV or NDJSON"},
)
_filter: Final = (
    "codes, names, places, geographies or partitions, separated by commas; empty: all of them"
)


class RowsQuery(ma.Schema):
    format = _format


class MatrixQuery(RowsQuery):
    metric = text("the figure in `value`", load_default=DEFAULT_METRIC, validate=OneOf(METRICS))
    timeframe = text("window", load_default=DEFAULT_FRAME, validate=OneOf(FRAMES))
    from_ = text(f"sources: {_filter}", data_key="from", load_default="", validate=Length(max=200))
    to = text(f"targets: {_filter}", load_default="", validate=Length(max=200))
    order = text("of the regions", load_default="name", validate=OneOf(ORDERS))
    group = text("groups that stay together", load_default="geography",
                  validate=OneOf(GROUPS))  # fmt: skip
    within = ma.fields.Float(
        load_default=None,
        validate=Range(0, 1e6),
        metadata={"description": "threshold of `meets`, in the figure's unit"},
    )
    only_ = text(
        "`meeting`: just pairs that have the figure and meet `within`, no region to itself",
        data_key="only",
        load_default="",
        validate=OneOf(("", "meeting")),
    )


class ChangesQuery(RowsQuery):
    region = text("at either end of a pair; empty: any", load_default="", validate=Length(max=40))
    figure = text("what changed; empty: any", load_default="", validate=OneOf(("", *CHANGED)))
    least = ma.fields.Float(
        load_default=0.0,
        validate=Range(0, 1e6),
        metadata={"description": "least change of one pair, ms or, for loss, percentage points"},
    )


class HistoryQuery(RowsQuery):
    resolution = text(
        "day: up to 366 days; hour: up to 31 days",
        load_default="day",
        validate=OneOf(("day", "hour")),
    )
    start = time(
        "default: a year (day) or two weeks (hour) before end", load_default=None, validate=_near
    )
    end = time("default: now", load_default=None, validate=_near)


class SamplesQuery(RowsQuery):
    start = time("default: 24 hours before end", load_default=None, validate=_near)
    end = time("default: now; at most 31 days after start", load_default=None, validate=_near)
    limit = ma.fields.Integer(
        load_default=MAX_PAGE,
        validate=Range(1, MAX_PAGE),
        metadata={"description": "runs (of several samples each) a page"},
    )
    cursor = time("from the page before", load_default=None, validate=_near)


class DistributionQuery(RowsQuery):
    timeframe = text("window", load_default="1D", validate=OneOf(TIMEFRAMES))


class DailyQuery(ma.Schema):
    start = ma.fields.Date(
        load_default=None,
        validate=_near,
        metadata={"description": "first day; default: 30 days before end"},
    )
    end = ma.fields.Date(
        load_default=None, validate=_near, metadata={"description": "last day; default: today"}
    )


def _of_plan(text: str, default: str = "", **more: Any) -> ma.fields.String:
    return ma.fields.String(load_default=default, metadata={"description": text}, **more)


def _number_of_plan(text: str, default: float | None, low: float, high: float) -> ma.fields.Float:
    return ma.fields.Float(
        load_default=default, validate=Range(low, high), metadata={"description": text}
    )


def _count_of_plan(text: str, default: int | None, low: int, high: int) -> ma.fields.Integer:
    return ma.fields.Integer(
        load_default=default, validate=Range(low, high), metadata={"description": text}
    )


class PlanQuery(RowsQuery):
    clients = ma.fields.String(
        required=True,
        validate=Length(1, 1000),
        metadata={
            "description": "where the operations come from: codes, names, geographies or "
            "partitions, separated by commas, each with a weight if wanted",
            "example": "us-east-1:3,eu-west-1",
        },
    )
    replicas = _count_of_plan("how many; ignored where the protocol says", 3, 1, ask.MAX_REPLICAS)
    protocol = _of_plan("what an operation does", "leader", validate=OneOf(ask.KINDS))
    figure = _of_plan("the figure to make small", "p_99", validate=OneOf(ask.FIGURES))
    timeframe = _of_plan(
        "window, of whole UTC days (1Y: months)", ask.DEFAULT_TIMEFRAME, validate=OneOf(TIMEFRAMES)
    )
    objective = _of_plan("of the worst client, or the weighted mean of all", "worst",
                         validate=OneOf(("worst", "mean")))  # fmt: skip
    round_trips = _count_of_plan("operations in a row", 1, 1, ask.MAX_ROUND_TRIPS)
    quorum = _count_of_plan("q2, R or W; default: a majority", None, 1, ask.MAX_REPLICAS)
    conflicts = _number_of_plan("of leaderless operations, in percent", 0, 0, 100)
    survive = _count_of_plan(
        "losses after which operations must still complete", 0, 0, ask.MAX_REPLICAS - 1
    )
    must = _of_plan("what must be a replica; of a group, one of it", validate=Length(max=400))
    never = _of_plan("what must not be", validate=Length(max=400))
    may = _of_plan("what may be; default: the clients' partitions", validate=Length(max=400))
    apart_km = _number_of_plan("least distance of two replicas", 0, 0, 20_000)
    apart_ms = _number_of_plan("least median round trip of two replicas", 0, 0, 1000)
    apart = _of_plan("geographies of the replicas: any, or all different", "any",
                     validate=OneOf(("any", "geography")))  # fmt: skip
    mine = _of_plan("a set of codes to compare with", validate=Length(max=200))


class RelaysQuery(RowsQuery):
    timeframe = text(
        "window, of whole UTC days (1Y: months)",
        load_default=ask.DEFAULT_TIMEFRAME,
        validate=OneOf(TIMEFRAMES),
    )


class ExportQuery(ma.Schema):
    format = text("which file", load_default="json", validate=OneOf(EXPORTS))
    regions = text(f"between these: {_filter}", load_default="", validate=Length(max=1000))
    timeframe = text(
        "window, of whole UTC days (1Y: months)",
        load_default=ask.DEFAULT_TIMEFRAME,
        validate=OneOf(TIMEFRAMES),
    )


def span(args: Mapping[str, Any], default: timedelta, most: timedelta) -> tuple[datetime, datetime]:
    """Start and end of a query; 400 when they are the wrong way round or too far apart."""
    end: datetime = args["end"] or utc_now().replace(second=0, microsecond=0)
    start: datetime = args["start"] or end - default
    if not timedelta(0) <= end - start <= most:
        abort(
            400,
            f"start={to_iso(start)}, end={to_iso(end)} is not usable: "
            f"up to {most.days} days, start before end.",
        )
    return start, end
