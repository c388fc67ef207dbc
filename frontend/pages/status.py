"""`/status`: each source's runs, and where trouble lies."""

from flask import Blueprint, render_template

from cloudping.times import utc_now
from frontend.data.site import snapshot
from frontend.serving.cache import keep
from frontend.views import status

blueprint = Blueprint("status", __name__)


@blueprint.get("/status")
def page() -> str:
    current = snapshot()
    keep()
    return render_template(
        "status.html",
        sources=status.sources(current, utc_now()),
        troubles=[
            (frame, limit, status.locate(current.cells.get(frame, {}), limit))
            for frame, limit in status.TROUBLE_PCT.items()
        ],
    )
