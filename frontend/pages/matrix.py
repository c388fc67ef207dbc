"""`/` and `/grid/<percentile>/timeframe/<timeframe>`: the addresses of the matrix."""

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug import Response

from cloudping.times import utc_now
from frontend.data.site import site, snapshot
from frontend.pages.links import Links
from frontend.pages.shared import one_of
from frontend.serving.cache import keep
from frontend.views import matrix
from frontend.views.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAME_LABELS, FRAMES, METRICS
from frontend.views.lookup import PARTITION_NAMES
from frontend.views.order import GROUPS, ORDERS

blueprint = Blueprint("matrix", __name__)

ORIGINAL_FIGURES = {"latency": "mean"}
ORIGINAL_FRAMES = {frame.lower(): frame for frame in FRAMES}

FILTERS = ("from", "to", "order", "group", "within")


def choice(metric: str, frame: str) -> matrix.Choice:
    """The choice that the address makes; 400 or 404 with what is possible."""
    args = request.args
    within = args.get("within", "").strip()
    try:
        limit = float(within) if within else None
    except ValueError:
        limit = -1.0
    if limit is not None and not 0 <= limit <= 1e6:
        abort(400, f"within={within!r} is not usable: a number of {METRICS[metric].unit}, e.g. 80.")
    picked = {}
    for name, allowed in (("order", ORDERS), ("group", GROUPS)):
        value = args.get(name) or allowed[0]
        if value not in allowed:
            abort(400, f"{name}={value!r} is not usable: choose one of {', '.join(allowed)}.")
        picked[name] = value
    return matrix.Choice(
        metric=METRICS[metric],
        frame=frame,
        rows=args.get("from", "")[:200],
        columns=args.get("to", "")[:200],
        within=limit,
        **picked,
    )


@blueprint.get("/")
def home() -> str:
    return _page(
        one_of(request.args.get("metric") or DEFAULT_METRIC, METRICS, "figure"),
        one_of(request.args.get("timeframe") or DEFAULT_FRAME, FRAMES, "timeframe"),
    )


@blueprint.get("/grid/<metric>/timeframe/<frame>")
def grid(metric: str, frame: str) -> str | Response:
    """The original's addresses as well: its name of the mean, and timeframes in lower case."""
    chosen = (
        one_of(ORIGINAL_FIGURES.get(metric, metric), METRICS, "figure"),
        one_of(ORIGINAL_FRAMES.get(frame, frame), FRAMES, "timeframe"),
    )
    if chosen != (metric, frame):
        return redirect(Links(*chosen, request.args).matrix(), 301)
    return _page(*chosen)


def _page(metric: str, frame: str) -> str:
    current, chosen = snapshot(), choice(metric, frame)
    keep()
    view = matrix.build(
        current, chosen, utc_now(), 60 * site().settings.aggregator_interval_minutes
    )
    given = {name: value for name in FILTERS if (value := request.args.get(name))}

    regions = [state.region for state in current.states]
    return render_template(
        "matrix.html",
        view=view,
        frames=FRAME_LABELS,
        orders=ORDERS,
        groups=GROUPS,
        links=Links(metric, frame, given),
        address=Links.matrix,
        words=[
            *sorted({region.geography for region in regions}),
            *(PARTITION_NAMES.get(p, p) for p in sorted({r.partition for r in regions})),
        ],
    )
