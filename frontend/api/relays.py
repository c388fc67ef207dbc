"""`/api/v1/pairs/<from>/<to>/relays`: the ways round over third regions."""

from datetime import timedelta
from typing import Any

from flask import Response

from cloudping.times import to_iso, utc_now
from frontend.api.formats import SHORT_CACHE, answer
from frontend.api.openapi import ROWS, Checked
from frontend.api.queries import RelaysQuery
from frontend.api.schemas import ErrorSchema, RelaysSchema
from frontend.data.site import site, snapshot
from frontend.views.lookup import known
from frontend.views.relays import daily_medians, days_held, relays

COLUMNS = ("via", "p_50", "p_99", "gain_p_50", "gain_p_99", "days_held", "days")


def init(blueprint: Checked) -> None:
    """Adds the address to the API's blueprint."""

    @blueprint.get("/pairs/<source>/<target>/relays")
    @blueprint.doc(**ROWS)
    @blueprint.arguments(RelaysQuery, location="query")
    @blueprint.response(200, RelaysSchema)
    @blueprint.alt_response(404, schema=ErrorSchema)
    def ways(args: dict[str, Any], source: str, target: str) -> Response:
        """Relays

        Third regions over which two legs take less than the direct way, by the median or the P99
        of their sum, and on how many days of the last year the sum of the daily medians was lower
        beyond noise. What forwarding takes there is not included.
        """
        known(snapshot(), source), known(snapshot(), target)
        window = site().all_pairs.window(args["timeframe"])
        return answer(
            rows(source, target, args["timeframe"]),
            args["format"],
            COLUMNS,
            SHORT_CACHE,
            origins={window.origin},
            timeframe=args["timeframe"],
            more={"window_start": to_iso(window.begin), "window_end": to_iso(window.end)},
        )


def rows(source: str, target: str, timeframe: str) -> list[dict[str, Any]]:
    """As the page shows them."""
    window = site().all_pairs.window(timeframe)
    found = relays(window, source, target)
    last = utc_now().date()
    first = last - timedelta(days=365)

    def days(a: str, b: str) -> list[Any]:
        return daily_medians(site().store.days(a, b, first, last))

    direct = days(source, target) if found else []
    made = []
    for relay in found:
        held, of = days_held(direct, days(source, relay.code), days(relay.code, target))
        made.append(
            {
                "via": relay.code,
                "p_50": relay.p50,
                "p_99": relay.p99,
                "gain_p_50": relay.gain_p50,
                "gain_p_99": relay.gain_p99,
                "days_held": held,
                "days": of,
            }
        )
    return made
