"""`/` and `/grid/<percentile>/timeframe/<timeframe>`: the addresses of the matrix."""

import re

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug import Response

from cloudping.times import utc_now
from frontend.data.site import site, snapshot
from frontend.pages.links import Links
from frontend.pages.shared import one_of
from frontend.serving.cache import keep
from frontend.views import matrix
from frontend.views.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAME_LABELS, FRAMES, METRICS
from frontend.views.lookup import PARTITION_NAMES, offered
from frontend.views.order import GROUPS, ORDERS

blueprint = Blueprint("matrix", __name__)

ORIGINAL_FIGURES = {"latency": "mean"}
ORIGINAL_FRAMES = {frame.lower(): frame for frame in FRAMES}

NUMBER = re.compile(r"\s*[0-9]+(?:[.,][0-9]*)?\s*")
MAX_LIMIT = 1e6

FILTERS = ("from", "to", "order", "group", "within")


def choice(metric: str, frame: str) -> matrix.Choice:
    """The choice that the address makes; 400 or 404 with what is possible."""
    args = request.args
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
        within=_limit(METRICS[metric].unit),
        **picked,
    )


def _limit(unit: str) -> float | None:
    """The threshold, as people write one: with a comma or a point, with or without the unit."""
    within = request.args.get("within", "").strip()
    if not within:
        return None
    found = NUMBER.fullmatch(within.removesuffix(unit))
    limit = float(found[0].replace(",", ".")) if found else MAX_LIMIT + 1
    if limit > MAX_LIMIT:
        abort(400, f"within={within!r} is not usable: a number of {unit}, e.g. 80.")
    return limit


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
    if chosen.within is not None:
        given["within"] = f"{chosen.within:.6f}".rstrip("0").rstrip(".")

    regions = [state.region for state in current.states]
    return render_template(
        "matrix.html",
        view=view,
        frames=FRAME_LABELS,
        offered=offered(current),
        orders=ORDERS,
        groups=GROUPS,
        links=Links(metric, frame, given),
        address=Links.matrix,
        words=[
            *sorted({region.geography for region in regions}),
            *(PARTITION_NAMES.get(p, p) for p in sorted({r.partition for r in regions})),
        ],
    )
