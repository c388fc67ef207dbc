"""`/plan`: where to put replicas, for the clients, protocol and rules that the address gives."""

from typing import Final

from flask import Blueprint, abort, render_template, request

from cloudping.summaries import TIMEFRAMES
from frontend.data.site import site, snapshot
from frontend.pages.links import Links
from frontend.views.figures import FRAME_LABELS, METRICS
from frontend.views.order import ordered
from frontend.views.plan import ask, plan
from frontend.views.plan.sketch import sketch

blueprint = Blueprint("plan", __name__)

EXAMPLES: Final = (
    (
        "Raft over three continents",
        {"clients": "us-east-1,eu-central-1,ap-northeast-1", "apart": "geography"},
    ),
    (
        "Five replicas in Europe that survive two losses",
        {"clients": "Europe", "replicas": "5", "survive": "2", "may": "Europe"},
    ),
    (
        "A DynamoDB table with strong consistency, clients in the US",
        {"clients": "us-east-1:3,us-west-2", "protocol": "dynamodb"},
    ),
    (
        "A primary and read replicas for the world, by the mean",
        {"clients": "North America,Europe,Asia Pacific", "protocol": "primary", "replicas": "4",
         "objective": "mean"},
    ),
)  # fmt: skip


@blueprint.get("/plan")
def page() -> str:
    current = snapshot()
    given = {name: request.args.get(name, "").strip()[:400] for name in ask.PARAMETERS}
    given["clients"] = ",".join(v for v in request.args.getlist("clients") if v.strip())[:1000]
    found = None
    sources = {state.region.code for state in current.sources}
    if given["clients"] and sources:
        try:
            question = ask.question(given, current.regions, sources)
            window = site().all_pairs.window(question.timeframe)
            key = ("plan", question, window.begin, window.end)
            found = site().costly.get(key, lambda: plan.make(question, window, current.regions))
        except ValueError as error:
            abort(400, str(error))
    regions = [state.region for state in current.sources]
    by_geography: dict[str, list[str]] = {}
    for region in ordered(regions, "name", "geography", {}):
        by_geography.setdefault(region.geography, []).append(region.code)
    chosen = dict(found.question.clients) if found else {}
    best = found.sets[0] if found and found.sets else None
    shown = [one for one in (best, found.mine if found else None) if one]
    query = ask.address(given, found.question) if found else {}
    return render_template(
        "plan.html",
        plan=found,
        best=best,
        map=sketch(found, best, current.regions) if found and best else None,
        longest=max((c.p99 for one in shown for c in one.clients), default=1),
        compare=lambda codes: Links().plan(**{**query, "mine": ",".join(codes)}),
        data=lambda form: Links().plan_data(**query, format=form),
        formulas=[(kind, kind.make(ask.EXAMPLE)) for kind in ask.KINDS.values()],
        given=given,
        chosen=chosen,
        weights=", ".join(f"{code}:{w:g}" for code, w in chosen.items() if w != 1),
        by_geography=by_geography,
        kinds=ask.KINDS,
        kind=ask.KINDS[found.question.kind] if found else None,
        figures={name: METRICS[name].label for name in ask.FIGURES},
        frames={name: FRAME_LABELS[name] for name in TIMEFRAMES},
        most=ask.MAX_REPLICAS,
        examples=[(label, Links().plan(**query)) for label, query in EXAMPLES],
        links=Links(),
    )
