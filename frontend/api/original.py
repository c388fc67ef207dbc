"""The original's API (`/api/latencies`, `/averages`, …) in its shapes: its programs go on.

What of the original works here and what does not is in docs/frontend.md.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flask import Blueprint, Response, abort, jsonify, request

from cloudping import __version__
from cloudping.errors import UnknownRegionError
from cloudping.regions import suggest
from cloudping.runs import combined_origin
from cloudping.times import to_iso, utc_now
from frontend.api.formats import LICENCE
from frontend.api.rows import written
from frontend.data.site import site, snapshot
from frontend.data.store import MAX_DAYS, MAX_HOURS, NEAR_YEARS
from frontend.serving.cache import keep
from frontend.views import status
from frontend.views.figures import FRAMES, METRICS, Metric, is_mixed

blueprint = Blueprint("original", __name__)

# What the original calls the mean of all attempts.
LATENCY: Final = "latency"
# Opt-in statuses of regions that were not opted in to; of others the account says otherwise.
BY_DEFAULT: Final = ("ENABLED_BY_DEFAULT", "unknown", "simulated")
DAYS: Final = {"day": 1, "week": 7, "month": 28}
LONGEST_DAYS: Final = {"1D": 1, "1W": 7, "1M": 31, "1Y": 366}


@blueprint.after_request
def readable_everywhere(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@blueprint.get("/api/latencies")
def latencies() -> Response:
    """{"metadata": …, "data": {from: {to: value}}}; a pair without the figure is left out."""
    asked = _choice("percentile", "p_50", [*METRICS, LATENCY])
    metric = METRICS["mean" if asked == LATENCY else asked]
    frame = _choice("timeframe", "1D", FRAMES)
    current = snapshot()
    wanted_from, wanted_to = _region("from"), _region("to")
    keep()
    data: dict[str, dict[str, float]] = {}
    mixed: dict[str, list[str]] = {}
    for (source, target), summary in sorted(current.cells.get(frame, {}).items()):
        value = metric.value(summary.figures)
        if value is not None and wanted_from in (None, source) and wanted_to in (None, target):
            data.setdefault(source, {})[target] = written(metric, value)
            if is_mixed(summary.figures):
                mixed.setdefault(source, []).append(target)
    return jsonify({"metadata": {**metadata(asked, metric, frame), "mixed": mixed}, "data": data})


def metadata(asked: str, metric: Metric, frame: str) -> dict[str, Any]:
    """What stands beside the figures of a matrix; `asked` is the name the figure was asked by."""
    current = snapshot()
    cells = current.cells.get(frame, {}).values()
    return {
        "percentile": asked,
        "timeframe": frame,
        "unit": "percent" if metric.unit == "%" else "milliseconds",
        "network": current.origin,
        "window_start": to_iso(min(c.window_start for c in cells)) if cells else None,
        "window_end": to_iso(max(c.window_end for c in cells)) if cells else None,
        "snapshot": to_iso(current.taken_at) if current.taken_at else None,
        "stale_since": to_iso(current.failure.since) if current.failure else None,
        "licence": LICENCE,
        "methods": sorted({method for c in cells for method in c.figures.methods}),
    }


def _choice(name: str, default: str, allowed: Any) -> str:
    """The parameter as it is written here: the original's pages write timeframes in either case."""
    value = request.args.get(name) or default
    found = next((one for one in allowed if one.lower() == value.lower()), None)
    if found is None:
        abort(400, f"{name}={value!r} is not usable: choose one of {', '.join(allowed)}.")
    return str(found)


def _region(name: str) -> str | None:
    code = request.args.get(name)
    if code and code not in snapshot().regions:
        raise UnknownRegionError(code, suggest(code))
    return code or None


@blueprint.get("/api/history")
def history() -> Response:
    """{"metadata": {from, to, start, end, points, …}, "data": [{timestamp, value}]}.

    The original gives the mean of each run, every 6 hours; here it is the mean of each hour, and
    of each day beyond 31 days.
    """
    source, target = _region("from"), _region("to")
    if source is None or target is None:
        abort(400, "Both from and to are needed: e.g. ?from=us-east-1&to=eu-west-1.")
    end = _time("end", utc_now())
    start = _time("start", end - timedelta(days=7))
    if not timedelta(0) <= end - start <= timedelta(days=MAX_DAYS):
        abort(400, f"start={to_iso(start)}, end={to_iso(end)}: up to {MAX_DAYS} days, start first.")
    store = site().store
    if end - start <= MAX_HOURS:
        hours = store.hours(source, target, start, end)
        points = [(to_iso(at), figures, origin) for at, figures, origin in hours]
    else:
        days = store.days(source, target, start.date(), end.date())
        points = [(f"{day.day.isoformat()}T00:00:00.000Z", day.figures, day.origin) for day in days]
    known = [(at, f, origin) for at, f, origin in points if f.mean is not None]
    response = jsonify(
        metadata={
            "from": source,
            "to": target,
            "start": to_iso(start),
            "end": to_iso(end),
            "points": len(known),
            "network": combined_origin(origin for _, _, origin in known),
            "methods": sorted({method for _, f, _ in known for method in f.methods}),
            "mixed": [at for at, f, _ in known if is_mixed(f)],
        },
        data=[{"timestamp": at, "value": round(f.mean or 0.0, 3)} for at, f, _ in known],
    )
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


@blueprint.get("/api/status")
def state() -> Response:
    """{"status", "latest_update", "version"}: healthy only when every source runs on schedule."""
    keep()
    current = snapshot()
    sources = status.sources(current, utc_now())
    newest = max((s.last_run for s in sources if s.last_run), default=None)
    healthy = sources and not current.failure and all(s.state == "ok" for s in sources)
    return jsonify(
        status="healthy" if healthy else "degraded",
        latest_update=to_iso(newest) if newest else None,
        version=__version__,
        silent=[s.code for s in status.silent(sources)],
        network=current.origin,
    )


@blueprint.get("/api/regions")
def regions() -> Response:
    """A list of regions with the original's attributes."""
    current = snapshot()
    keep()
    return jsonify(
        [
            {
                "region_name": state.region.code,
                "name": state.region.name,
                "partition": state.region.partition,
                "status": state.opt_in_status.upper().replace("-", "_"),
                "is_opt_in": state.opt_in_status not in BY_DEFAULT,
                "ping_function_exists": state.is_source,
                "earliest_data_timestamp": _stamp(state.earliest_data),
                "most_recent_data_timestamp": _stamp(
                    current.runs[state.region.code].timestamp
                    if state.region.code in current.runs
                    else state.latest_data
                ),
            }
            for state in current.states
        ]
    )


@blueprint.get("/averages")
@blueprint.get("/averages/<unit>")
@blueprint.get("/averages/<unit>/<int:number>")
def averages(unit: str = "day", number: int = 1) -> Response:
    """[{"region", "averages": [{"regionTo", "average"}]}], as the first of the original's APIs.

    The means of the shortest stored window that holds so many days, between sources, in one order
    for rows and columns; a pair without a figure is left out.
    """
    if unit not in DAYS:
        abort(404, f"There is nothing at {request.path}; /averages/day/7 is one of what there is.")
    days = number * DAYS[unit]
    frame = next((frame for frame, longest in LONGEST_DAYS.items() if 0 < days <= longest), None)
    if frame is None:
        abort(400, f"{days} days are not usable: 1 to {LONGEST_DAYS['1Y']}.")
    keep()
    current = snapshot()
    cells = current.cells.get(frame, {})
    codes = [state.region.code for state in current.sources]
    return jsonify(
        [
            {
                "region": source,
                "averages": [
                    {"regionTo": target, "average": round(cell.figures.mean, 2)}
                    for target in codes
                    if (cell := cells.get((source, target))) and cell.figures.mean is not None
                ],
            }
            for source in codes
        ]
    )


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else to_iso(moment)


def _time(name: str, default: datetime) -> datetime:
    """A time of the query; the original takes times without an offset as UTC."""
    text = request.args.get(name)
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
        if not NEAR_YEARS[0] <= moment.year <= NEAR_YEARS[1]:
            raise ValueError
    except ValueError:
        abort(400, f"{name}={text!r} is not usable: an ISO 8601 time, e.g. 2026-11-20T06:00:00Z.")
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
