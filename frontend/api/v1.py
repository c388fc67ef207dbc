"""The addresses of `/api/v1`; parameters are in `queries.py`, answers in `schemas.py`."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import marshmallow as ma
from flask import Response, abort, jsonify, request

from cloudping.distribution import UNITS_PER_MS
from cloudping.intervals import intervals
from cloudping.regions import fibre_rtt_ms
from cloudping.summaries import PERCENTILES
from cloudping.times import to_iso, utc_now
from frontend.api import plan, relays, rows
from frontend.api.download import zipped
from frontend.api.export import address
from frontend.api.formats import SHORT_CACHE, answer, metadata
from frontend.api.openapi import ROWS, Checked, api
from frontend.api.queries import (
    ChangesQuery,
    DailyQuery,
    DistributionQuery,
    HistoryQuery,
    MatrixQuery,
    RowsQuery,
    SamplesQuery,
    span,
)
from frontend.api.rows import (
    cell_row,
    change_row,
    figures_row,
    iso,
    region_row,
    rounded,
    share,
    written,
)
from frontend.api.schemas import (
    ChangesSchema,
    DistributionSchema,
    ErrorSchema,
    HistorySchema,
    MatrixSchema,
    PairSchema,
    RegionsSchema,
    SamplesSchema,
    StatusSchema,
)
from frontend.data.site import site, snapshot
from frontend.data.store import MAX_DAYS, MAX_HOURS, MAX_SAMPLES_RANGE, NO_HISTOGRAM
from frontend.serving.cache import keep
from frontend.serving.limits import CLIENT
from frontend.views import changes as view
from frontend.views import matrix, status
from frontend.views.figures import METRICS, light_ratio
from frontend.views.lookup import known, pair_cells

blueprint = Checked("v1", __name__, url_prefix="/api/v1", description="Version 1")


@blueprint.after_request
def _readable_everywhere(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "ETag, Link, Retry-After"
    return response


@blueprint.get("/regions")
@blueprint.doc(**ROWS)
@blueprint.arguments(RowsQuery, location="query")
@blueprint.response(200, RegionsSchema)
def regions(args: dict[str, Any]) -> Response:
    """Regions

    Every region that is measured from or to, with its place.
    """
    keep()
    return answer([region_row(state) for state in snapshot().states], args["format"], rows.REGION)


@blueprint.get("/matrix")
@blueprint.doc(**ROWS)
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
    sources, targets = matrix.axes(current, choice)
    found = current.cells.get(choice.frame, {})
    data = []
    for source in sources:
        for target in targets:
            cell = found.get((source.code, target.code))
            if cell is not None:
                value = metric.value(cell.figures)
                shown = None if value is None else written(metric, value)
                meets = None if within is None or value is None else value <= within
                if args["only_"] and (value is None or meets is False or source == target):
                    continue
                data.append({**cell_row(cell), "value": shown, "meets": meets})
    return answer(
        data,
        args["format"],
        (*rows.CELL, "value", "meets"),
        metric=metric.name,
        timeframe=choice.frame,
    )


@blueprint.get("/changes")
@blueprint.doc(**ROWS)
@blueprint.arguments(ChangesQuery, location="query")
@blueprint.response(200, ChangesSchema)
@blueprint.alt_response(400, schema=ErrorSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def changes(args: dict[str, Any]) -> Response:
    """Changes

    Level shifts and outages found in the daily figures, the newest first, each with its pairs
    (in JSON and NDJSON). Ids stay; a change is revised as days come.
    """
    if args["region"]:
        known(snapshot(), args["region"])
    choice = view.Choice(args["region"], None, args["figure"], args["least"])
    keep()
    current = snapshot()
    found = view.chosen(current.changes, choice)
    data = [change_row(view.told(change, current.regions)) for change in found]
    until = None if current.changes_until is None else current.changes_until.isoformat()
    return answer(data, args["format"], rows.CHANGE, more={"until": until})


@blueprint.get("/pairs/<source>/<target>")
@blueprint.arguments(ma.Schema.from_dict({}, name="NoQuery"), location="query")
@blueprint.response(200, PairSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def pair(args: dict[str, Any], source: str, target: str) -> Response:
    """Pair

    The figures of one pair over every timeframe, there and back, beside the speed of light.
    """
    a, b = known(snapshot(), source), known(snapshot(), target)
    light_ms = fibre_rtt_ms(a, b)
    there, back = pair_cells(snapshot(), source, target), pair_cells(snapshot(), target, source)
    day = next((cell for cell in there if cell.timeframe == "1D"), None)
    p50 = day.figures.percentiles.get(50) if day else None
    keep()
    return jsonify(
        metadata=metadata(),
        region_from=source,
        region_to=target,
        light_ms=rounded(light_ms),
        ratio=rounded(light_ratio(p50, light_ms)),
        out=[cell_row(cell) for cell in there],
        back=[cell_row(cell) for cell in back],
    )


@blueprint.get("/pairs/<source>/<target>/history")
@blueprint.doc(**ROWS)
@blueprint.arguments(HistoryQuery, location="query")
@blueprint.response(200, HistorySchema)
@blueprint.alt_response(400, schema=ErrorSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def history(args: dict[str, Any], source: str, target: str) -> Response:
    """History

    Daily figures of a pair over up to a year, or hourly ones over up to 31 days.
    """
    known(snapshot(), source), known(snapshot(), target)
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
            {"at": day.day.isoformat(), **figures_row(day.figures), "network": day.origin}
            for day in days
        ]
    return answer(
        data, args["format"], rows.POINT, SHORT_CACHE, origins={row["network"] for row in data}
    )


@blueprint.get("/pairs/<source>/<target>/samples")
@blueprint.doc(**ROWS)
@blueprint.arguments(SamplesQuery, location="query")
@blueprint.response(200, SamplesSchema)
@blueprint.alt_response(400, schema=ErrorSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def samples(args: dict[str, Any], source: str, target: str) -> Response:
    """Samples

    Single attempts of a pair, oldest first, page by page: `cursor`, and the header `Link` with
    `rel="next"`, ask for the next one.
    """
    known(snapshot(), source), known(snapshot(), target)
    start, end = span(args, timedelta(days=1), MAX_SAMPLES_RANGE)
    if args["cursor"] is not None and not start <= args["cursor"] <= end:
        abort(400, f"cursor={to_iso(args['cursor'])} is not usable: it is of the same range.")
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
            "network": sample.origin,
        }
        for sample in page.samples
    ]
    response = answer(
        data,
        args["format"],
        rows.SAMPLE,
        SHORT_CACHE,
        origins={sample.origin for sample in page.samples},
        more={"cursor": page.cursor},
    )
    if page.cursor is not None:
        query = {**request.args, "start": to_iso(start), "end": to_iso(end), "cursor": page.cursor}
        response.headers["Link"] = f'<{request.path}?{urlencode(query)}>; rel="next"'
    return response


@blueprint.get("/pairs/<source>/<target>/distribution")
@blueprint.doc(**ROWS)
@blueprint.arguments(DistributionQuery, location="query")
@blueprint.response(200, DistributionSchema)
@blueprint.alt_response(404, schema=ErrorSchema)
def distribution(args: dict[str, Any], source: str, target: str) -> Response:
    """Distribution

    How often each latency was seen, at 0.01 ms, in the window of the matrix: its percentiles can be
    computed from it.
    """
    known(snapshot(), source), known(snapshot(), target)
    cell = snapshot().cells.get(args["timeframe"], {}).get((source, target))
    found = site().store.histogram(cell) if cell else NO_HISTOGRAM
    data = [
        {"latency_ms": unit / UNITS_PER_MS, "count": count}
        for unit, count in zip(found.units, found.counts, strict=True)
    ]
    return answer(
        data,
        args["format"],
        rows.BIN,
        SHORT_CACHE,
        origins={found.origin},
        more={
            "samples": sum(found.counts),
            "percentiles": [
                {
                    "p": one.p,
                    "value_ms": rounded(one.value_ms),
                    "low_ms": one.low_ms,
                    "high_ms": one.high_ms,
                }
                for one in intervals(found.units, found.counts, PERCENTILES)
            ],
            "failures": found.failures,
            "methods": list(found.methods),
        },
        timeframe=args["timeframe"],
    )


@blueprint.get("/status")
@blueprint.doc(**ROWS)
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
            "loss_pct": share(source.loss_pct),
            "lateness_ms": source.lateness_ms,
            "wall_ms": source.wall_ms,
        }
        for source in status.sources(snapshot(), utc_now())
    ]
    return answer(data, args["format"], rows.SOURCE)


plan.init(blueprint)
address.init(blueprint)
relays.init(blueprint)


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
    place = site().store.download(request.environ.get(CLIENT, ""))
    history_of = place.__enter__()  # given back when the stream is closed, however it ends
    stream = zipped(snapshot().pairs, first, last, history_of)
    response = Response(stream, mimetype="application/zip")
    response.call_on_close(lambda: place.__exit__(None, None, None))
    name = f"cloudping-daily-{first}-{last}.zip"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


@blueprint.get("/openapi.json")
@blueprint.doc(summary="This document", description="The OpenAPI description of this API.")
@blueprint.response(200, {"type": "object"})
def openapi() -> Response:
    keep()
    return jsonify(api.spec.to_dict())
