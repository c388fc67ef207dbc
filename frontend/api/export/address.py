"""The address of the exports."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flask import Response, abort

from frontend.api.export import chaos_mesh, netem, shadow, tables
from frontend.api.export.selection import Selection
from frontend.api.formats import SHORT_CACHE
from frontend.api.openapi import Checked
from frontend.api.queries import ExportQuery
from frontend.api.schemas import ErrorSchema
from frontend.data.site import site, snapshot
from frontend.views.lookup import matches


@dataclass(frozen=True, slots=True)
class Format:
    """A file: its name, type, who writes it, and how many regions it takes."""

    name: str
    kind: str
    write: Callable[[Selection], str]
    most: int = 64


FORMATS: Final = {
    "netem": Format("netem.sh", "text/x-shellscript", netem.script, netem.MOST_REGIONS),
    "json": Format("latencies.json", "application/json", tables.all_percentiles),
    "csv": Format("matrix.csv", "text/csv", tables.matrix),
    "rows": Format("pairs.csv", "text/csv", tables.rows),
    "shadow": Format("shadow.gml", "text/plain", shadow.gml),
    "chaos-mesh": Format("networkchaos.yaml", "text/plain", chaos_mesh.network_chaos),
    "triples": Format("latencies.txt", "text/plain", tables.triples),
}


def init(blueprint: Checked) -> None:
    """Adds the address to the API's blueprint."""

    texts = sorted({form.kind for form in FORMATS.values() if form.kind != "text/plain"})
    content = {kind: {"schema": {} if "json" in kind else {"type": "string"}} for kind in texts}

    @blueprint.get("/export")
    @blueprint.doc(responses={200: {"content": content}})
    @blueprint.arguments(ExportQuery, location="query")
    @blueprint.response(200, {"type": "string"}, content_type="text/plain")
    @blueprint.alt_response(400, schema=ErrorSchema)
    def export(args: dict[str, Any]) -> Response:
        """Files for simulators

        Round trips between some regions as a file: a script for tc netem, JSON with all
        percentiles (round trip and one way), CSV as a matrix or as rows, a graph for Shadow,
        NetworkChaos objects for Chaos Mesh, or lines like `us-east-1 eu-west-1 68.2ms`. Each says
        in itself whether it has round trips or one way, of which window and how many samples.
        """
        places = [state.region for state in snapshot().sources]
        found = [r.code for r in places if matches(r, args["regions"])]
        form = FORMATS[args["format"]]
        if not found:
            abort(400, f"regions={args['regions']!r}: no region with a probe has that.")
        if len(found) > form.most:
            abort(400, f"regions: {len(found)}, expected {form.most} at most for {form.name}.")
        window = site().all_pairs.window(args["timeframe"])
        text = form.write(Selection(tuple(found), window, site().settings.frontend_url))
        answer = Response(text, content_type=f"{form.kind}; charset=utf-8")
        answer.headers["Content-Disposition"] = f'attachment; filename="cloudping-{form.name}"'
        answer.headers["Cache-Control"] = SHORT_CACHE
        return answer
