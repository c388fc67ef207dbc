"""`/region/<region>` and `/map`: one region against all others."""

from flask import Blueprint, render_template, request

from cloudping.regions import Region
from cloudping.times import utc_now
from frontend.data.site import snapshot
from frontend.pages.shared import one_of
from frontend.serving.cache import keep
from frontend.views import region as view
from frontend.views import status, worldmap
from frontend.views.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAME_LABELS, FRAMES, METRICS
from frontend.views.lookup import known

blueprint = Blueprint("region", __name__)


@blueprint.get("/region/<code>")
def page(code: str) -> str:
    current = snapshot()
    state = next((s for s in current.states if s.region.code == code), None)
    source = next((s for s in status.sources(current, utc_now()) if s.code == code), None)
    return _render("region.html", known(current, code), state=state, source=source)


@blueprint.get("/map")
def world() -> str:
    current = snapshot()
    first = current.sources[0].region.code if current.sources else "us-east-1"
    sources = {s.region.code for s in current.sources}
    default = "us-east-1" if "us-east-1" in sources else first
    return _render("map.html", known(current, request.args.get("from") or default))


def _render(template: str, home: Region, **more: object) -> str:
    metric = METRICS[one_of(request.args.get("metric") or DEFAULT_METRIC, METRICS, "figure")]
    frame = one_of(request.args.get("timeframe") or DEFAULT_FRAME, FRAMES, "timeframe")
    keep()
    around = view.peers(snapshot(), home, frame, metric)
    return render_template(
        template,
        home=home,
        peers=around,
        dots=view.dots(home, around, metric),
        land=worldmap.land(),
        outline=worldmap.outline(),
        width=worldmap.WIDTH,
        height=worldmap.HEIGHT,
        metric=metric,
        frame=frame,
        metrics=METRICS.values(),
        frames=FRAME_LABELS,
        **more,
    )
