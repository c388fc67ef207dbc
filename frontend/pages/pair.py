"""`/pair/<from>/<to>`: everything about one pair; the graphs' data come from the API."""

from flask import Blueprint, render_template, request

from cloudping.regions import fibre_rtt_ms, rtt_floor_ms
from frontend.data.site import snapshot
from frontend.pages.links import Links
from frontend.pages.shared import one_of
from frontend.serving.cache import keep
from frontend.views import changes
from frontend.views.figures import (
    DEFAULT_FRAME,
    DEFAULT_METRIC,
    FRAME_LABELS,
    FRAMES,
    METRICS,
    light_ratio,
)
from frontend.views.lookup import known, pair_cells
from frontend.views.relays import way_round

blueprint = Blueprint("pair", __name__)

TILES = ("p_50", "p_99", "loss")


@blueprint.get("/pair/<source>/<target>")
def page(source: str, target: str) -> str:
    current = snapshot()
    a, b = known(current, source), known(current, target)
    there, back = pair_cells(current, source, target), pair_cells(current, target, source)
    name = one_of(request.args.get("metric") or DEFAULT_METRIC, METRICS, "figure")
    frame = one_of(request.args.get("timeframe") or DEFAULT_FRAME, FRAMES, "timeframe")
    day = next((cell.figures for cell in there if cell.timeframe == "1D"), None)
    p50 = day.percentiles.get(50) if day else None
    back_day = next((cell.figures for cell in back if cell.timeframe == "1D"), None)
    back_p50 = back_day.percentiles.get(50) if back_day else None
    difference = None
    if p50 is not None and back_p50 is not None and source != target:
        difference = p50 - back_p50
    has_back = bool(back) and source != target
    light_ms = fibre_rtt_ms(a, b)
    changed = changes.chosen(current.changes, changes.Choice(pair=(source, target)))
    medians = {
        pair: cell.figures.percentiles[50]
        for pair, cell in current.cells.get("1M", {}).items()
        if 50 in cell.figures.percentiles
    }
    keep()
    return render_template(
        "pair.html",
        way_round=way_round(medians, source, target),
        direct=medians.get((source, target)),
        a=a,
        b=b,
        ways=[(a, b, there), *([(b, a, back)] if source != target else [])],
        day=day,
        chosen=next((cell.figures for cell in there if cell.timeframe == frame), None),
        links=Links(name, frame),
        difference=difference,
        light_ms=light_ms,
        floor_ms=rtt_floor_ms(source, target),
        ratio=light_ratio(p50, light_ms),
        frames=FRAME_LABELS,
        has_back=has_back,
        tiles=[METRICS[tile] for tile in dict.fromkeys((name, *TILES))],
        columns=[metric for metric in METRICS.values() if metric.unit == "ms"],
        changed=[changes.told(change, current.regions) for change in changed],
        marks=[(day.isoformat(), what) for day, what in changes.marks(changed, source, target)],
        is_source=any(state.region.code == source for state in current.sources),
    )
