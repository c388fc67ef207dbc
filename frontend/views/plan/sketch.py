"""A plan on the map, as bars, and in a sentence; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from cloudping.regions import Region
from frontend.views import worldmap
from frontend.views.lookup import short_name
from frontend.views.plan.plan import Plan, Ranked


@dataclass(frozen=True, slots=True)
class Spot:
    """A region on the map: `role` is client, replica, asked (a leader, or a chain's head)."""

    code: str
    name: str
    role: str
    said: str
    x: float
    y: float
    label: worldmap.Label | None


@dataclass(frozen=True, slots=True)
class Sketch:
    """The map of one set: `ways` of clients to whom they ask, `copies` between replicas."""

    spots: list[Spot]
    ways: list[str]
    copies: list[str]
    land: str
    outline: str
    width: float = worldmap.WIDTH
    height: float = worldmap.HEIGHT


def sketch(plan: Plan, best: Ranked, regions: Mapping[str, Region]) -> Sketch:
    """The map of a set; a region that is several things is shown as the last of them."""
    leaders = set(best.asked[:1]) if plan.protocol.asked != "nearest" else set()
    figures = {client.code: f"{client.figure:.0f} ms" for client in best.clients}
    roles = dict.fromkeys(figures, "client")
    roles |= dict.fromkeys(best.replicas, "replica")
    roles |= dict.fromkeys(leaders, "asked")
    at = {code: worldmap.project(regions[code].latitude, regions[code].longitude) for code in roles}
    texts = {
        code: short_name(regions[code]) + (f" {figures[code]}" if code in figures else "")
        for code in roles
    }
    labels = worldmap.labels({code: (*at[code], texts[code]) for code in roles})
    spots = [
        Spot(code, texts[code], role, role, round(at[code][0], 1), round(at[code][1], 1),
             labels.get(code))
        for code, role in roles.items()
    ]  # fmt: skip
    ways = [
        worldmap.great_circle(regions[client.code], regions[client.asked])
        for client in best.clients
        if client.code != client.asked
    ]
    if plan.protocol.asked == "chain":
        pairs = list(zip(best.asked, best.asked[1:], strict=False))
    elif leaders:
        pairs = [(best.asked[0], code) for code in best.replicas if code != best.asked[0]]
    else:
        pairs = [(a, b) for a in best.replicas for b in best.replicas if a < b]
    copies = [worldmap.great_circle(regions[a], regions[b]) for a, b in pairs]
    order = {"client": 0, "replica": 1, "asked": 2}
    spots.sort(key=lambda spot: order[spot.role])
    return Sketch(spots, ways, copies, worldmap.land(), worldmap.outline())
