"""`/region/<region>` and `/map`: one region against all others."""

from collections.abc import Callable

from flask import Blueprint, render_template, request

from cloudping.regions import Region
from cloudping.times import utc_now
from frontend.data.site import snapshot
from frontend.pages.links import Links
from frontend.pages.shared import one_of
from frontend.serving.cache import keep
from frontend.views import region as view
from frontend.views import status
from frontend.views.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAME_LABELS, FRAMES, METRICS
from frontend.views.lookup import known, offered

blueprint = Blueprint("region", __name__)

NEAREST = 6
COLUMNS = ("p_50", "p_90", "p_99", "loss")


@blueprint.get("/region/<code>")
def page(code: str) -> str:
    current = snapshot()
    state = next((s for s in current.states if s.region.code == code), None)
    source = next((s for s in status.sources(current, utc_now()) if s.code == code), None)
    home = known(current, code)
    return _render("region.html", home, Links.region, state=state, source=source)


@blueprint.get("/map")
def world() -> str:
    current = snapshot()
    first = current.sources[0].region.code if current.sources else "us-east-1"
    sources = {s.region.code for s in current.sources}
    default = "us-east-1" if "us-east-1" in sources else first
    return _render("map.html", known(current, request.args.get("from") or default), Links.map)


def _render(
    template: str, home: Region, address: Callable[[Links, str], str], **more: object
) -> str:
    name = one_of(request.args.get("metric") or DEFAULT_METRIC, METRICS, "figure")
    frame = one_of(request.args.get("timeframe") or DEFAULT_FRAME, FRAMES, "timeframe")
    metric = METRICS[name]
    keep()
    peers = view.peers(snapshot(), home, frame, metric)
    others = [p for p in peers if p.region.code != home.code and p.value is not None]
    return render_template(
        template,
        home=home,
        peers=peers,
        nearest=others[:NEAREST],
        others=others,
        columns=[METRICS[column] for column in dict.fromkeys((name, *COLUMNS))],
        map=view.world(home, peers, metric),
        metric=metric,
        frames=FRAME_LABELS,
        offered=offered(snapshot()),
        links=Links(name, frame),
        address=lambda links: address(links, home.code),
        **more,
    )
