"""`/changes`: what changed between the regions, as a list, one by one, and as Atom feeds."""

from datetime import date, datetime

from flask import Blueprint, Response, abort, render_template, request

from cloudping.changes import FIGURES, Change
from cloudping.times import to_iso, utc_now
from frontend.data.site import snapshot
from frontend.pages.shared import one_of
from frontend.serving.cache import keep
from frontend.views import changes as view
from frontend.views.lookup import known

blueprint = Blueprint("changes", __name__)

FEED_ENTRIES = 100
ATOM = "application/atom+xml; charset=utf-8"


@blueprint.get("/changes")
def page() -> str:
    choice = _choice()
    found = view.chosen(snapshot().changes, choice)
    keep()
    return render_template(
        "changes.html",
        choice=choice,
        told=[view.told(change, snapshot().regions) for change in found],
        strip=view.strip(found, utc_now().date()),
        figures=view.FIGURE_LABELS,
        regions=sorted(snapshot().states, key=lambda state: state.region.code),
        until=snapshot().changes_until,
    )


@blueprint.get("/changes/<id>")
def one(id: str) -> str:
    change = next((change for change in snapshot().changes if change.id == id), None)
    if change is None:
        abort(404, f"There is no change {id!r}; /changes lists them.")
    keep()
    return render_template(
        "change.html",
        told=view.told(change, snapshot().regions),
        pairs=sorted(change.pairs, key=lambda pair: -abs(pair.after - pair.before)),
        unit="%" if change.figure == "loss" else "ms",
        figure=view.FIGURE_LABELS[change.figure],
    )


@blueprint.get("/changes.atom")
def feed() -> Response:
    return _feed("/changes", "Changes between AWS regions", view.Choice())


@blueprint.get("/region/<code>/changes.atom")
def feed_of_region(code: str) -> Response:
    region = known(snapshot(), code)
    return _feed(f"/region/{code}", f"Changes from and to {region.name}", view.Choice(region=code))


@blueprint.get("/pair/<source>/<target>/changes.atom")
def feed_of_pair(source: str, target: str) -> Response:
    known(snapshot(), source), known(snapshot(), target)
    title = f"Changes between {source} and {target}"
    return _feed(f"/pair/{source}/{target}", title, view.Choice(pair=(source, target)))


def _choice() -> view.Choice:
    region, figure = request.args.get("region", ""), request.args.get("figure", "")
    if region:
        known(snapshot(), region)
    if figure:
        one_of(figure, FIGURES, "figure")
    text = request.args.get("least", "").strip().replace(",", ".") or "0"
    try:
        least = float(text)
    except ValueError:
        least = -1.0
    if not 0 <= least <= 1e6:
        abort(400, f"least={text!r}: expected a number of at least 0, in ms or, for loss, in %.")
    return view.Choice(region, None, figure, least)


def _feed(page: str, title: str, choice: view.Choice) -> Response:
    """Atom (RFC 4287). Ids are tag URIs (RFC 4151), which stay whatever host serves the feed."""
    found = view.chosen(snapshot().changes, choice)[:FEED_ENTRIES]
    keep()
    body = render_template(
        "changes.xml",
        title=title,
        page=page,
        address=request.path,
        updated=max((change.updated_at for change in found), default=_epoch()),
        told=[view.told(change, snapshot().regions) for change in found],
        iso=to_iso,
        tag=_tag,
    )
    return Response(body, content_type=ATOM)


def _tag(change: Change) -> str:
    return f"tag:cloudping.invalid,{change.id[:4]}:change/{change.id}"


def _epoch() -> datetime:
    """When a feed without an entry was last changed: when it could first have had one."""
    until = snapshot().changes_until or date(2026, 1, 1)
    return datetime.fromisoformat(f"{until}T00:00:00+00:00")
