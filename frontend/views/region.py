"""One region against all others, in and out, on a map; the views of region and map pages, pure."""

from dataclasses import dataclass

from cloudping.regions import Region, fibre_rtt_ms
from cloudping.summaries import Figures
from frontend.data.snapshot import Snapshot
from frontend.views import worldmap
from frontend.views.figures import Metric, light_ratio
from frontend.views.lookup import short_name


@dataclass(frozen=True, slots=True)
class Peer:
    """Another region as seen from this one; a direction without an item is None.

    `value` is the chosen figure, out where there is one, else in. `ratio` is p50 out (else in)
    against light in fibre along the great circle, None where that is below 1 ms. `methods` are
    several where the value is mixed.
    """

    region: Region
    short: str
    out: Figures | None
    back: Figures | None
    value: float | None
    css: str
    light_ms: float
    ratio: float | None
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dot:
    """A region on the map; `text` is its name and figure, beside the point where there is room."""

    code: str
    name: str
    text: str
    x: float
    y: float
    css: str
    said: str
    label: worldmap.Label | None
    line: str


@dataclass(frozen=True, slots=True)
class WorldMap:
    """The map from one region: what the template draws."""

    home: Region
    metric: Metric
    dots: list[Dot]
    land: str
    outline: str
    width: float = worldmap.WIDTH
    height: float = worldmap.HEIGHT


def peers(snapshot: Snapshot, home: Region, frame: str, metric: Metric) -> list[Peer]:
    """Every other region there are figures for, nearest first."""
    cells = snapshot.cells.get(frame, {})
    found = []
    for code, region in snapshot.regions.items():
        out, back = cells.get((home.code, code)), cells.get((code, home.code))
        if out is None and back is None:
            continue
        shown = next(
            (c.figures for c in (out, back) if c and metric.value(c.figures) is not None), None
        )
        value = metric.value(shown) if shown else None
        p50 = next(
            (v for c in (out, back) if c and (v := c.figures.percentiles.get(50)) is not None), None
        )
        light_ms = fibre_rtt_ms(home, region)
        found.append(
            Peer(
                region=region,
                short=short_name(region),
                out=out.figures if out else None,
                back=back.figures if back else None,
                value=value,
                css=metric.css(shown) if shown else "none",
                light_ms=light_ms,
                ratio=light_ratio(p50, light_ms),
                methods=shown.methods if shown else (),
            )
        )
    return sorted(found, key=lambda p: (p.value is None, p.value or 0.0, p.light_ms, p.region.code))


def world(home: Region, around: list[Peer], metric: Metric) -> WorldMap:
    """The map from `home` to its peers."""
    dots = _dots(home, around, metric)
    return WorldMap(home, metric, dots, worldmap.land(), worldmap.outline())


def _dots(home: Region, around: list[Peer], metric: Metric) -> list[Dot]:
    """The home region and its peers as points, with lines from home, home last (on top)."""
    by_code = {peer.region.code: peer for peer in around if peer.region.code != home.code}
    regions = {**{code: peer.region for code, peer in by_code.items()}, home.code: home}
    at = _apart({code: worldmap.project(r.latitude, r.longitude) for code, r in regions.items()})
    texts = {code: short_name(region) for code, region in regions.items()}
    for code, shown in by_code.items():
        if shown.value is not None:
            texts[code] += f" {metric.text(shown.value)}"
    placed = worldmap.labels({code: (x, y, texts[code]) for code, (x, y) in at.items()}, home.code)
    made = []
    for code, region in regions.items():
        peer = by_code.get(code)
        said = "here"
        if peer:
            said = "no data" if peer.value is None else f"{metric.text(peer.value)} {metric.unit}"
            if len(peer.methods) > 1:
                said += f", mixed: {', '.join(peer.methods)}"
        made.append(
            Dot(
                code=code,
                name=short_name(region),
                text=texts[code],
                x=round(at[code][0], 1),
                y=round(at[code][1], 1),
                css=peer.css if peer else "home",
                said=said,
                label=placed.get(code),
                line=worldmap.great_circle(home, region) if peer and peer.value is not None else "",
            )
        )
    return made


def _apart(places: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Regions in the same town side by side instead of on top of each other."""
    taken: list[tuple[float, float]] = []
    moved = {}
    for code, place in places.items():
        at = place
        while any(abs(at[0] - u) < 7 and abs(at[1] - v) < 7 for u, v in taken):
            at = (at[0] + 8, at[1])
        taken.append(at)
        moved[code] = at
    return moved
