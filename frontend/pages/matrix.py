"""`/` and `/grid/<percentile>/timeframe/<timeframe>`: the addresses of the matrix."""

from urllib.parse import urlencode

from flask import Blueprint, abort, render_template, request

from cloudping.times import utc_now
from frontend.data.site import site, snapshot
from frontend.pages.shared import one_of
from frontend.serving.cache import keep
from frontend.views import matrix
from frontend.views.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAME_LABELS, FRAMES, METRICS
from frontend.views.lookup import PARTITION_NAMES
from frontend.views.order import GROUPS, ORDERS

blueprint = Blueprint("matrix", __name__)

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
def grid(metric: str, frame: str) -> str:
    return _page(one_of(metric, METRICS, "figure"), one_of(frame, FRAMES, "timeframe"))


def _page(metric: str, frame: str) -> str:
    current, chosen = snapshot(), choice(metric, frame)
    keep()
    view = matrix.build(
        current, chosen, utc_now(), 60 * site().settings.aggregator_interval_minutes
    )
    given = {name: value for name, value in request.args.items() if value and name in FILTERS}

    def address(**changed: str) -> str:
        """The same view with another figure or timeframe."""
        query = f"?{urlencode(given)}" if given else ""
        return (
            f"/grid/{changed.get('metric', metric)}/timeframe/{changed.get('frame', frame)}{query}"
        )

    regions = [state.region for state in current.states]
    return render_template(
        "matrix.html",
        view=view,
        metrics=METRICS.values(),
        frames=FRAME_LABELS,
        orders=ORDERS,
        groups=GROUPS,
        address=address,
        download="/api/v1/matrix?" + urlencode({"metric": metric, "timeframe": frame, **given}),
        words=[
            *sorted({region.geography for region in regions}),
            *(PARTITION_NAMES.get(p, p) for p in sorted({r.partition for r in regions})),
        ],
    )
