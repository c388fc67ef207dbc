"""`/api/v1`: the data for programs, with an OpenAPI document that is generated from this module."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import marshmallow as ma
from flask import Response, abort, jsonify, make_response, render_template, request, url_for
from flask_smorest import Api, Blueprint
from marshmallow.validate import Length, OneOf, Range
from webargs.flaskparser import FlaskParser

from cloudping import __version__
from cloudping.distribution import UNITS_PER_MS
from cloudping.regions import RegionState, fibre_rtt_ms
from cloudping.summaries import PERCENTILES, TIMEFRAMES, Figures, Summary
from cloudping.times import to_iso, utc_now
from frontend import matrix, status
from frontend.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAMES, METRICS
from frontend.region_page import known
from frontend.serving.cache import keep
from frontend.site import site, snapshot
from frontend.store import (
    MAX_DAYS,
    MAX_HOURS,
    MAX_PAGE,
    MAX_SAMPLES_RANGE,
    NEAR_YEARS,
    NO_HISTOGRAM,
)

LICENCE: Final = "CC BY 4.0"
LICENCE_TEXT: Final = (
    "CloudPing's figures are licensed under Creative Commons Attribution 4.0 International\n"
    "(CC BY 4.0): https://creativecommons.org/licenses/by/4.0/\n"
    "Attribution: CloudPing, with the address of the site that you have them from.\n"
)
FORMATS: Final = ("json", "csv", "ndjson")
SHORT_CACHE: Final = "public, max-age=60"

DESCRIPTION: Final = f"""Round-trip times between the AWS regions. All latencies are milliseconds,
all times UTC in ISO 8601. Where there is no figure there is `null` (an empty cell in CSV): never 0.
`network` is `simulated` when figures come from the simulated network of a local installation.
Everything here may be read from any site (CORS) and without a key. The data are {LICENCE}.

Limits: by default 600 requests a minute of a client (of IPv6, its /64) to each process of the site,
also all at once; beyond that the answer is 429, and when the site is busy 503, both with
`Retry-After`. Daily figures span up to {MAX_DAYS} days, hourly ones and samples up to
{MAX_HOURS.days} days, in the years {NEAR_YEARS[0]} to {NEAR_YEARS[1]}; a page of samples has up to
{MAX_PAGE} runs. Address and headers together have up to 16 KiB. Any other method than GET, HEAD and
OPTIONS is 405."""


class _Parser(FlaskParser):
    """A parameter that is wrong is the caller's fault: 400; one that is unknown is named."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"query": ma.RAISE}  # noqa: RUF012 - webargs' own


class _Blueprint(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    ARGUMENTS_PARSER = _Parser()


class ErrorSchema(ma.Schema):
    """The one shape of every error."""

    code = ma.fields.Integer(required=True, metadata={"description": "HTTP status code"})
    status = ma.fields.String(required=True, metadata={"description": "its name"})
    message = ma.fields.String(required=True, metadata={"description": "what was wrong"})
    id = ma.fields.String(
        required=True, metadata={"description": "of this error: the log has it as well"}
    )
    errors = ma.fields.Dict(metadata={"description": "by parameter, what is wrong with it"})
    suggestions = ma.fields.List(
        ma.fields.String(), metadata={"description": "regions that may have been meant"}
    )


class _Api(Api):  # type: ignore[misc]
    ERROR_SCHEMA = ErrorSchema

    def _register_error_handlers(self) -> None:
        """None: frontend.errors answers, for pages as well."""


api = _Api(
    spec_kwargs={
        "title": "CloudPing",
        "version": "v1",
        "openapi_version": "3.1.0",
        "info": {
            "description": DESCRIPTION,
            "license": {"name": LICENCE, "url": "https://creativecommons.org/licenses/by/4.0/"},
            "x-software-version": __version__,
        },
    }
)
blueprint = _Blueprint("v1", __name__, url_prefix="/api/v1", description="Version 1")
# The page to read the document on; no part of the document itself.
reading = Blueprint("reading", __name__)


def _text(description: str, **more: Any) -> ma.fields.String:
    return ma.fields.String(metadata={"description": description}, **more)


def _number(description: str) -> ma.fields.Float:
    return ma.fields.Float(allow_none=True, metadata={"description": description})


def _time(description: str, **more: Any) -> ma.fields.AwareDateTime:
    return ma.fields.AwareDateTime(
        "iso", default_timezone=UTC, metadata={"description": description}, **more
    )


def _near(value: date) -> None:
    """Times that can be reckoned with: `datetime` ends at the years 1 and 9999."""
    if not NEAR_YEARS[0] <= value.year <= NEAR_YEARS[1]:
        raise ma.ValidationError(f"Must be in the years {NEAR_YEARS[0]} to {NEAR_YEARS[1]}.")


class FiguresSchema(ma.Schema):
    """What is known of a pair over one stretch of time."""

    samples = ma.fields.Integer(metadata={"description": "n: exact latencies behind the figures"})
    mean = _number("ms")
    stddev = _number("ms")
    min = _number("ms")
    max = _number("ms")
    loss_pct = _number("share of attempts that the network lost, in percent")
    coverage_pct = _number("attempts made against attempts scheduled, in percent")
    failures = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.Integer(),
        metadata={"description": "attempts without a latency, by reason"},
    )
    first_sample = _time("oldest sample", allow_none=True)
    last_sample = _time("newest sample", allow_none=True)
    methods = ma.fields.List(
        ma.fields.String(), metadata={"description": "how the samples were measured"}
    )
    network = _text("aws, or simulated")


FiguresSchema = FiguresSchema.from_dict(  # type: ignore[misc,assignment]  # percentiles join the declared fields
    {f"p_{p}": _number(f"percentile {p}, ms; null with too few samples") for p in PERCENTILES},
    name="Figures",
)


class CellSchema(FiguresSchema):
    region_from = _text("source: where the probe runs")
    region_to = _text("target: what it measures")
    timeframe = _text("now, 1D, 1W, 1M or 1Y")
    window_start = _time("start of the window")
    window_end = _time("end of the window")
    updated_at = _time("when it was computed")
    value = _number("the chosen figure")
    meets = ma.fields.Boolean(
        allow_none=True, metadata={"description": "whether value is at most `within`"}
    )


class PointSchema(FiguresSchema):
    at = _text("the day (YYYY-MM-DD) or the start of the hour")


class RegionSchema(ma.Schema):
    region = _text("code")
    name = _text("AWS' name")
    partition = _text("aws, aws-cn, aws-us-gov or aws-eusc")
    geography = _text("part of the world")
    place = _text("city or area that AWS names")
    latitude = ma.fields.Float(metadata={"description": "degrees north"})
    longitude = ma.fields.Float(metadata={"description": "degrees east"})
    endpoint = _text("host that is measured")
    is_source = ma.fields.Boolean(metadata={"description": "a probe runs there"})
    is_target = ma.fields.Boolean(metadata={"description": "probes measure it"})
    interval_s = ma.fields.Integer(metadata={"description": "how often it measures; 0: no source"})
    opt_in_status = _text("of the account")
    earliest_data = _time("first data", allow_none=True)
    latest_data = _time("last data", allow_none=True)


class SampleSchema(ma.Schema):
    at = _time("scheduled time of the run")
    attempt = ma.fields.Integer(metadata={"description": "number within the run, from 0"})
    latency_ms = _number("the latency; null where there is none")
    connect_ms = _number("user-space time of connect(), beside it")
    retransmits = ma.fields.Integer(metadata={"description": "SYNs that were sent again"})
    reason = _text("why there is no latency", allow_none=True)
    address = _text("address that was connected to", allow_none=True)
    method = _text("how it was measured")
    network = _text("aws, or simulated")


class SourceSchema(ma.Schema):
    region = _text("code")
    state = _text("ok, late, silent or waiting")
    last_run = _time("newest run", allow_none=True)
    interval_s = ma.fields.Integer(metadata={"description": "its schedule"})
    runs_expected = ma.fields.Integer(metadata={"description": "in the last 24 hours"})
    runs_seen = ma.fields.Integer(metadata={"description": "in the last 24 hours"})
    loss_pct = _number("mean over its targets, 1 day")
    lateness_ms = _number("how late its last run began")
    wall_ms = _number("how long its last run took")


class MetadataSchema(ma.Schema):
    network = _text("simulated as soon as anything in the answer is", allow_none=True)
    snapshot = _time("when the tables were read", allow_none=True)
    stale_since = _time("set while the tables cannot be read", allow_none=True)
    licence = _text("of the data")
    metric = _text("the figure that was chosen, where one is")
    timeframe = _text("the window that was chosen, where one is")


class _Rows(ma.Schema):
    metadata = ma.fields.Nested(MetadataSchema)


class RegionsSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(RegionSchema))


class MatrixSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(CellSchema))


class PairSchema(_Rows):
    region_from = _text("source")
    region_to = _text("target")
    light_ms = _number("round trip of light in fibre along the great circle")
    ratio = _number("p50 of one day against light_ms; null where that is below 1 ms")
    out = ma.fields.List(ma.fields.Nested(CellSchema))
    back = ma.fields.List(ma.fields.Nested(CellSchema))


class HistorySchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(PointSchema))


class SamplesSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(SampleSchema))
    cursor = _text("ask for the next page with this; null on the last one", allow_none=True)


class BinSchema(ma.Schema):
    latency_ms = ma.fields.Float(metadata={"description": "at 0.01 ms"})
    count = ma.fields.Integer()


class DistributionSchema(_Rows):
    samples = ma.fields.Integer()
    failures = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Integer())
    data = ma.fields.List(ma.fields.Nested(BinSchema))


class StatusSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(SourceSchema))


# What flask-smorest does not know of: rows come in three formats.
_rows: Final = {
    "responses": {
        200: {
            "content": {
                kind: {"schema": {"type": "string"}}
                for kind in ("text/csv", "application/x-ndjson")
            }
        }
    }
}
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
    metric = _text("the figure in `value`", load_default=DEFAULT_METRIC, validate=OneOf(METRICS))
    timeframe = _text("window", load_default=DEFAULT_FRAME, validate=OneOf(FRAMES))
    from_ = _text(f"sources: {_filter}", data_key="from", load_default="", validate=Length(max=200))
    to = _text(f"targets: {_filter}", load_default="", validate=Length(max=200))
    order = _text("of the regions", load_default="name", validate=OneOf(matrix.ORDERS))
    group = _text("groups that stay together", load_default="geography",
                  validate=OneOf(matrix.GROUPS))  # fmt: skip
    within = ma.fields.Float(
        load_default=None,
        validate=Range(0, 1e6),
        metadata={"description": "threshold of `meets`, in the figure's unit"},
    )


class HistoryQuery(RowsQuery):
    resolution = _text(
        "day: up to 366 days; hour: up to 31 days",
        load_default="day",
        validate=OneOf(("day", "hour")),
    )
    start = _time(
        "default: a year (day) or two weeks (hour) before end", load_default=None, validate=_near
    )
    end = _time("default: now", load_default=None, validate=_near)


class SamplesQuery(RowsQuery):
    start = _time("default: 24 hours before end", load_default=None, validate=_near)
    end = _time("default: now; at most 31 days after start", load_default=None, validate=_near)
    limit = ma.fields.Integer(
        load_default=MAX_PAGE,
        validate=Range(1, MAX_PAGE),
        metadata={"description": "runs (of several samples each) a page"},
    )
    cursor = _time("from the page before", load_default=None, validate=_near)


class DistributionQuery(RowsQuery):
    timeframe = _text("window", load_default="1D", validate=OneOf(TIMEFRAMES))


class DailyQuery(ma.Schema):
    start = ma.fields.Date(
        load_default=None,
        validate=_near,
        metadata={"description": "first day; default: 30 days before end"},
    )
    end = ma.fields.Date(
        load_default=None, validate=_near, metadata={"description": "last day; default: today"}
    )


@blueprint.after_request
def _readable_everywhere(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "ETag, Link, Retry-After"
    return response


@blueprint.get("/regions")
@blueprint.doc(**_rows)
@blueprint.arguments(RowsQuery, location="query")
@blueprint.response(200, RegionsSchema)
def regions(args: dict[str, Any]) -> Response:
    """Regions

    Every region that is measured from or to, with its place.
    """
    keep()
    return answer([region_row(state) for state in snapshot().states], args["format"])


@blueprint.get("/matrix")
@blueprint.doc(**_rows)
@blueprint.arguments(MatrixQuery, location="query")
@blueprint.response(200, MatrixSchema)
@blueprint.alt_response(400, schema=ErrorSchema)
def cells(args: dict[str, Any]) -> Response:
    """Matrix

    The figures of all pairs in one timeframe: exactly the rows and columns that the matrix page
    shows for the same parameters, in its order.
    """
    metric, within = METRICS[args["metric"]], args["within"]
    choice = matrix.Choice(metric, args["timeframe"], args["order"], args["group"],
                           args["from_"], args["to"], within)  # fmt: skip
    keep()
    current = snapshot()
    rows, columns = matrix.axes(current, choice)
    found = current.cells.get(choice.frame, {})
    data = []
    for source in rows:
        for target in columns:
            cell = found.get((source.code, target.code))
            if cell is not None:
                value = metric.value(cell.figures)
                meets = None if within is None or value is None else value <= within
                data.append({**cell_row(cell), "value": _rounded(value), "meets": meets})
    return answer(data, args["format"], metric=metric.name, timeframe=choice.frame)


@blueprint.get("/pairs/<source>/<target>")
@blueprint.arguments(ma.Schema.from_dict({}, name="NoQuery"), location="query")
@blueprint.response(200, PairSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def pair(args: dict[str, Any], source: str, target: str) -> Response:
    """Pair

    The figures of one pair over every timeframe, there and back, beside the speed of light.
    """
    a, b = known(source), known(target)
    light_ms = fibre_rtt_ms(a, b)
    there, back = pair_cells(source, target), pair_cells(target, source)
    day = next((cell for cell in there if cell.timeframe == "1D"), None)
    p50 = day.figures.percentiles.get(50) if day else None
    keep()
    return jsonify(
        metadata=metadata(),
        region_from=source,
        region_to=target,
        light_ms=_rounded(light_ms),
        ratio=_rounded(p50 / light_ms) if p50 is not None and light_ms >= 1 else None,
        out=[cell_row(cell) for cell in there],
        back=[cell_row(cell) for cell in back],
    )


@blueprint.get("/pairs/<source>/<target>/history")
@blueprint.doc(**_rows)
@blueprint.arguments(HistoryQuery, location="query")
@blueprint.response(200, HistorySchema)
@blueprint.alt_response(400, schema=ErrorSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def history(args: dict[str, Any], source: str, target: str) -> Response:
    """History

    Daily figures of a pair over up to a year, or hourly ones over up to 31 days.
    """
    known(source), known(target)
    hourly = args["resolution"] == "hour"
    default, most = (
        (timedelta(days=14), MAX_HOURS) if hourly else (timedelta(days=365), timedelta(MAX_DAYS))
    )
    start, end = span(args, default, most)
    store = site().store
    if hourly:
        hours = store.hours(source, target, start, end)
        data = [{"at": to_iso(at), **figures_row(f), "network": net} for at, f, net in hours]
    else:
        days = store.days(source, target, start.date(), end.date())
        data = [
            {"at": day.day.isoformat(), **figures_row(day.figures), "network": day.network}
            for day in days
        ]
    return answer(data, args["format"], SHORT_CACHE, networks={row["network"] for row in data})


@blueprint.get("/pairs/<source>/<target>/samples")
@blueprint.doc(**_rows)
@blueprint.arguments(SamplesQuery, location="query")
@blueprint.response(200, SamplesSchema)
@blueprint.alt_response(400, schema=ErrorSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def samples(args: dict[str, Any], source: str, target: str) -> Response:
    """Samples

    Single attempts of a pair, oldest first, page by page: `cursor`, and the header `Link` with
    `rel="next"`, ask for the next one.
    """
    known(source), known(target)
    start, end = span(args, timedelta(days=1), MAX_SAMPLES_RANGE)
    cursor = iso(args["cursor"])
    page = site().store.samples(source, target, start, end, args["limit"], cursor)
    data = [
        {
            "at": to_iso(sample.timestamp),
            "attempt": sample.attempt,
            "latency_ms": sample.latency_ms,
            "connect_ms": sample.connect_ms,
            "retransmits": sample.retransmits,
            "reason": sample.reason,
            "address": sample.address,
            "method": sample.method,
            "network": sample.network,
        }
        for sample in page.samples
    ]
    response = answer(
        data,
        args["format"],
        SHORT_CACHE,
        networks={sample.network for sample in page.samples},
        more={"cursor": page.cursor},
    )
    if page.cursor is not None:
        query = {**request.args, "start": to_iso(start), "end": to_iso(end), "cursor": page.cursor}
        response.headers["Link"] = f'<{request.path}?{urlencode(query)}>; rel="next"'
    return response


@blueprint.get("/pairs/<source>/<target>/distribution")
@blueprint.doc(**_rows)
@blueprint.arguments(DistributionQuery, location="query")
@blueprint.response(200, DistributionSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def distribution(args: dict[str, Any], source: str, target: str) -> Response:
    """Distribution

    How often each latency was seen, at 0.01 ms, in the window of the matrix: its percentiles can be
    computed from it.
    """
    known(source), known(target)
    cell = snapshot().cells.get(args["timeframe"], {}).get((source, target))
    found = site().store.histogram(cell) if cell else NO_HISTOGRAM
    data = [
        {"latency_ms": unit / UNITS_PER_MS, "count": count}
        for unit, count in zip(found.units, found.counts, strict=True)
    ]
    return answer(
        data,
        args["format"],
        SHORT_CACHE,
        networks={found.network},
        more={"samples": sum(found.counts), "failures": found.failures},
        timeframe=args["timeframe"],
    )


@blueprint.get("/status")
@blueprint.doc(**_rows)
@blueprint.arguments(RowsQuery, location="query")
@blueprint.response(200, StatusSchema)
def sources(args: dict[str, Any]) -> Response:
    """Status

    Whether each source runs on its schedule.
    """
    keep()
    data = [
        {
            "region": source.code,
            "state": source.state,
            "last_run": iso(source.last_run),
            "interval_s": source.interval_s,
            "runs_expected": source.expected,
            "runs_seen": source.seen,
            "loss_pct": _rounded(source.loss_pct),
            "lateness_ms": source.lateness_ms,
            "wall_ms": source.wall_ms,
        }
        for source in status.sources(snapshot(), utc_now())
    ]
    return answer(data, args["format"])


DAILY_COLUMNS: Final = ("date", "region_from", "region_to", "samples", "mean", "stddev", "min",
                        "max", *(f"p_{p}" for p in PERCENTILES), "loss_pct", "coverage_pct",
                        "network")  # fmt: skip


@blueprint.get("/daily.zip")
@blueprint.arguments(DailyQuery, location="query")
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="application/zip")
@blueprint.alt_response(400, schema=ErrorSchema)
def daily(args: dict[str, Any]) -> Response:
    """Bulk download

    Daily figures of all pairs as one CSV, zipped, with the data's licence. Up to 366 days.
    """
    last = args["end"] or utc_now().date()
    first = args["start"] or last - timedelta(days=30)
    if not 0 <= (last - first).days <= MAX_DAYS:
        abort(400, f"{first} to {last} is not usable: up to {MAX_DAYS} days, start before end.")
    pairs = sorted({pair for frame in snapshot().cells.values() for pair in frame})
    place = site().store.download()
    place.__enter__()  # given back when the stream is closed, however it ends
    response = Response(_zipped(pairs, first, last, site().store), mimetype="application/zip")
    response.call_on_close(lambda: place.__exit__(None, None, None))
    name = f"cloudping-daily-{first}-{last}.zip"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


def _zipped(pairs: list[tuple[str, str]], first: date, last: date, store: Any) -> Iterator[bytes]:
    """A ZIP as it is made: never more than a pair's year in memory."""
    buffer = _Drain()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("LICENCE.txt", LICENCE_TEXT)
        table = zipfile.ZipInfo("daily.csv", utc_now().timetuple()[:6])  # else it is of 1980
        table.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(table, "w") as binary:
            out = io.TextIOWrapper(binary, "utf-8", newline="")
            writer = csv.DictWriter(out, DAILY_COLUMNS, extrasaction="ignore", restval="")
            writer.writeheader()
            for source, target in pairs:
                for day in store.history_of(source, target, first, last):
                    writer.writerow(
                        {
                            "date": day.day.isoformat(),
                            "region_from": source,
                            "region_to": target,
                            **figures_row(day.figures),
                            "network": day.network,
                        }
                    )
                out.flush()
                yield buffer.drain()
            out.detach()
    yield buffer.drain()


class _Drain(io.RawIOBase):
    """A file that is only written to, and emptied in between."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def drain(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


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


def answer(
    data: list[dict[str, Any]],
    form: str,
    cache: str = "",
    networks: Iterable[str | None] | None = None,
    more: Mapping[str, Any] | None = None,
    **about: Any,
) -> Response:
    """Rows as JSON with metadata, or bare as CSV or NDJSON."""
    if form == "json":
        response = jsonify(metadata={**metadata(networks), **about}, **(more or {}), data=data)
    elif form == "csv":
        response = make_response(_csv(data))
        response.headers["Content-Type"] = "text/csv; charset=utf-8"
    else:
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in data)
        response = make_response(lines)
        response.headers["Content-Type"] = "application/x-ndjson"
    if cache:
        response.headers["Cache-Control"] = cache
    return response


def _csv(data: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    columns = list(dict.fromkeys(name for row in data for name in row))
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for row in data:
        writer.writerow({name: _flat(value) for name, value in row.items()})
    return out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, Mapping):
        return " ".join(f"{name}:{count}" for name, count in sorted(value.items()))
    return " ".join(value) if isinstance(value, list | tuple) else value


def metadata(networks: Iterable[str | None] | None = None) -> dict[str, Any]:
    """What stands beside every answer; `networks` of its rows, else the snapshot's."""
    current = snapshot()
    found = sorted({n for n in networks if n}, reverse=True) if networks is not None else None
    return {
        "network": current.network if found is None else next(iter(found), None),
        "snapshot": iso(current.taken_at),
        "stale_since": iso(current.failure.since if current.failure else None),
        "licence": LICENCE,
    }


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else to_iso(moment)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def figures_row(figures: Figures) -> dict[str, Any]:
    """Figures as `FiguresSchema` describes them, but for the network."""
    return {
        "samples": figures.samples,
        "mean": _rounded(figures.mean),
        "stddev": _rounded(figures.stddev),
        "min": _rounded(figures.min),
        **{f"p_{p}": _rounded(figures.percentiles.get(p)) for p in PERCENTILES},
        "max": _rounded(figures.max),
        "loss_pct": _rounded(figures.loss_pct),
        "coverage_pct": _rounded(figures.coverage_pct),
        "failures": dict(figures.failures),
        "first_sample": iso(figures.first_sample),
        "last_sample": iso(figures.last_sample),
        "methods": list(figures.methods),
    }


def cell_row(cell: Summary) -> dict[str, Any]:
    return {
        "region_from": cell.region_from,
        "region_to": cell.region_to,
        "timeframe": cell.timeframe,
        **figures_row(cell.figures),
        "window_start": to_iso(cell.window_start),
        "window_end": to_iso(cell.window_end),
        "updated_at": to_iso(cell.updated_at),
        "network": cell.network,
    }


def region_row(state: RegionState) -> dict[str, Any]:
    region = state.region
    return {
        "region": region.code,
        "name": region.name,
        "partition": region.partition,
        "geography": region.geography,
        "place": region.place,
        "latitude": region.latitude,
        "longitude": region.longitude,
        "endpoint": region.endpoint,
        "is_source": state.is_source,
        "is_target": state.is_target,
        "interval_s": state.interval_s,
        "opt_in_status": state.opt_in_status,
        "earliest_data": iso(state.earliest_data),
        "latest_data": iso(state.latest_data),
    }


def pair_cells(source: str, target: str) -> list[Summary]:
    """The pair's summaries, from now to 1Y, as far as there are."""
    frames = snapshot().cells
    found = (frames.get(frame, {}).get((source, target)) for frame in FRAMES)
    return [cell for cell in found if cell is not None]


@blueprint.get("/openapi.json")
@blueprint.doc(summary="This document", description="The OpenAPI description of this API.")
@blueprint.response(200, {"type": "object"})
def openapi() -> Response:
    keep()
    return jsonify(api.spec.to_dict())


@reading.get("/api")
def read() -> str:
    """The OpenAPI document as a page: no script, nothing from elsewhere."""
    spec = api.spec.to_dict()
    keep()
    return render_template(
        "api.html",
        spec=spec,
        operations=[
            (path, operation)
            for path, item in spec["paths"].items()
            for verb, operation in item.items()
            if verb == "get"
        ],
        document=url_for("v1.openapi"),
        frames=TIMEFRAMES,
    )
