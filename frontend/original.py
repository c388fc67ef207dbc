"""The original's API (`/api/latencies`, …) in its shapes, so that programs written for it go on."""

from typing import Any

from flask import Blueprint, Response, abort, jsonify, request

from cloudping.errors import UnknownRegionError
from cloudping.regions import suggest
from cloudping.times import to_iso
from frontend.cache import keep
from frontend.figures import FRAMES, METRICS, Metric
from frontend.site import snapshot

blueprint = Blueprint("original", __name__, url_prefix="/api")


@blueprint.after_request
def readable_everywhere(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@blueprint.get("/latencies")
def latencies() -> Response:
    """{"metadata": …, "data": {from: {to: value}}}; a pair without the figure is left out."""
    metric = METRICS[_choice("percentile", "p_50", METRICS)]
    frame = _choice("timeframe", "1D", FRAMES)
    current = snapshot()
    wanted_from, wanted_to = _region("from"), _region("to")
    data: dict[str, dict[str, float]] = {}
    for (source, target), summary in sorted(current.cells.get(frame, {}).items()):
        value = metric.value(summary.figures)
        if value is not None and wanted_from in (None, source) and wanted_to in (None, target):
            data.setdefault(source, {})[target] = round(value, 3)
    keep()
    return jsonify({"metadata": metadata(metric, frame), "data": data})


def metadata(metric: Metric, frame: str) -> dict[str, Any]:
    """What stands beside the figures of a matrix."""
    current = snapshot()
    cells = current.cells.get(frame, {}).values()
    return {
        "percentile": metric.name,
        "timeframe": frame,
        "unit": "percent" if metric.unit == "%" else "milliseconds",
        "network": current.network,
        "window_start": to_iso(min(c.window_start for c in cells)) if cells else None,
        "window_end": to_iso(max(c.window_end for c in cells)) if cells else None,
        "snapshot": to_iso(current.taken_at) if current.taken_at else None,
        "stale_since": to_iso(current.failure.since) if current.failure else None,
        "licence": "CC BY 4.0",
    }


def _choice(name: str, default: str, allowed: Any) -> str:
    value = request.args.get(name) or default
    if value not in allowed:
        abort(400, f"{name}={value!r} is not usable: choose one of {', '.join(allowed)}.")
    return value


def _region(name: str) -> str | None:
    code = request.args.get(name)
    if code and code not in snapshot().regions:
        raise UnknownRegionError(code, suggest(code))
    return code or None
