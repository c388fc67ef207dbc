"""`/api/v1/plan`: what the page of that name shows, for programs."""

from typing import Any

from flask import Response, abort

from cloudping.times import to_iso
from frontend.api.formats import answer
from frontend.api.openapi import ROWS, Checked
from frontend.api.queries import PlanQuery
from frontend.api.rows import rounded
from frontend.api.schemas import ErrorSchema, PlanSchema
from frontend.data.site import site, snapshot
from frontend.views.plan import ask
from frontend.views.plan.plan import ClientFigures, Loss, Ranked, make

COLUMNS = ("place", "replicas", "asked", "value", "low", "high", "worst", "mean", "is_alike",
           "deciding", "more_ms")  # fmt: skip


def init(blueprint: Checked) -> None:
    """Adds the address to the API's blueprint."""

    @blueprint.get("/plan")
    @blueprint.doc(**ROWS)
    @blueprint.arguments(PlanQuery, location="query")
    @blueprint.response(200, PlanSchema)
    @blueprint.alt_response(400, schema=ErrorSchema)
    @blueprint.alt_response(503, schema=ErrorSchema)
    def plan(args: dict[str, Any]) -> Response:
        """Plan

        The best sets of regions for replicas: every set that the rules allow is considered. Plans
        are computed one at a time; 503 with `Retry-After` where others wait already.
        """
        current = snapshot()
        given = {n: "" if args[n] is None else f"{args[n]}" for n in ask.PARAMETERS}
        try:
            question = ask.question(
                given, current.regions, {s.region.code for s in current.sources}
            )
            window = site().all_pairs.window(question.timeframe)
            key = ("plan", question, window.begin, window.end)
            found = site().costly.get(key, lambda: make(question, window, current.regions))
        except ValueError as error:
            abort(400, str(error))
        return answer(
            [_set(one) for one in found.sets],
            args["format"],
            COLUMNS,
            origins={window.origin},
            timeframe=question.timeframe,
            metric=question.figure,
            more={
                "protocol": found.protocol.name,
                "formula": found.protocol.formula,
                "source": found.protocol.source,
                "candidates": len(question.candidates),
                "primary": found.primary or None,
                "bound_ms": rounded(found.bound_ms),
                "survives": found.protocol.survives,
                "samples": found.samples,
                "window_start": to_iso(window.begin),
                "window_end": to_iso(window.end),
                "left_out": dict(found.left_out),
                "mine": _set(found.mine) if found.mine else None,
            },
        )


def _set(one: Ranked) -> dict[str, Any]:
    return {
        "place": one.place,
        "replicas": list(one.replicas),
        "asked": list(one.asked),
        "value": rounded(one.figure),
        "low": rounded(one.low),
        "high": rounded(one.high),
        "worst": rounded(one.worst),
        "mean": rounded(one.mean),
        "is_alike": one.is_alike,
        "deciding": one.deciding,
        "more_ms": rounded(one.more),
        "clients": [_client(client) for client in one.clients],
        "losses": [_loss(loss) for loss in one.losses],
    }


def _client(client: ClientFigures) -> dict[str, Any]:
    return {
        "region": client.code,
        "weight": client.weight,
        "asked": client.asked,
        "p_50": rounded(client.p50),
        "p_99": rounded(client.p99),
        "value": rounded(client.figure),
        "write_ms": rounded(client.write_ms),
    }


def _loss(loss: Loss) -> dict[str, Any]:
    return {"lost": loss.lost, "asked": list(loss.asked), "value": rounded(loss.figure)}
