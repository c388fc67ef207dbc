"""The world as an SVG: Equal Earth projection, coastlines, great circles, labels that do not meet.

`python -m frontend.views.worldmap land-110m.json` writes `land.txt`, the coastlines as one
SVG path, from the npm package world-atlas (see pages/static/vendor/README.md).
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import asin, atan2, cos, degrees, hypot, radians, sin, sqrt
from pathlib import Path
from typing import Any, Final

from cloudping.regions import Region

LAND: Final = Path(__file__).parent / "land.txt"
WIDTH: Final = 1000.0
# Greenwich off the middle, so that the cut through the Pacific meets no land.
CENTRE_DEGREES: Final = 11.0
# A great circle is drawn to half a unit; at the edge it breaks within 1/2048 of its length.
MAX_OFF: Final = 0.5
MIN_STEP: Final = 1 / 2048
NORTH, SOUTH = 84.0, -57.0  # no region lies beyond

# Equal Earth: B. Savric, T. Patterson, B. Jenny, "The Equal Earth map projection", International
# Journal of Geographical Information Science 33 (2019).
_A: Final = (1.340264, -0.081106, 0.000893, 0.003796)
_M: Final = sqrt(3) / 2
_SCALE: Final = WIDTH / (2 * 2.7066297)  # half the width of the unit sphere's map

Point = tuple[float, float]


def _unit(latitude: float, longitude: float) -> Point:
    theta = asin(_M * sin(radians(latitude)))
    t2 = theta * theta
    t6 = t2**3
    x = (
        radians(longitude)
        * cos(theta)
        / (_M * (_A[0] + 3 * _A[1] * t2 + t6 * (7 * _A[2] + 9 * _A[3] * t2)))
    )
    return x, theta * (_A[0] + _A[1] * t2 + t6 * (_A[2] + _A[3] * t2))


_TOP: Final = _unit(NORTH, 0)[1]
HEIGHT: Final = round((_TOP - _unit(SOUTH, 0)[1]) * _SCALE)


def project(latitude: float, longitude: float) -> Point:
    """Where a place in degrees lies on the map, in its units of 1/1000 of the width."""
    x, y = _unit(latitude, (longitude - CENTRE_DEGREES + 180) % 360 - 180)
    return WIDTH / 2 + x * _SCALE, (_TOP - y) * _SCALE


@cache
def outline() -> str:
    """The edge of the world as an SVG path; a way that leaves it comes back on the other side."""
    latitudes = [SOUTH + k * (NORTH - SOUTH) / 40 for k in range(41)]
    west = [project(latitude, CENTRE_DEGREES - 180) for latitude in latitudes]
    east = [(WIDTH - x, y) for x, y in reversed(west)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (*west, *east)) + "z"


@cache
def land() -> str:
    """The coastlines as an SVG path."""
    return LAND.read_text().strip()


def great_circle(a: Region, b: Region) -> str:
    """The shortest way on the sphere as an SVG path; broken where it crosses the map's edge."""
    ends = [
        (cos(p) * cos(q), cos(p) * sin(q), sin(p))
        for p, q in ((radians(r.latitude), radians(r.longitude)) for r in (a, b))
    ]
    angle = 2 * asin(min(1.0, sqrt(sum((u - v) ** 2 for u, v in zip(*ends, strict=True))) / 2))
    if angle == 0:
        return ""

    def at(t: float) -> Point:
        one, two = sin((1 - t) * angle) / sin(angle), sin(t * angle) / sin(angle)
        x, y, z = (one * u + two * v for u, v in zip(*ends, strict=True))
        return project(degrees(asin(max(-1.0, min(1.0, z)))), degrees(atan2(y, x)))

    last = at(0)
    path = f"M{last[0]:.1f} {last[1]:.1f}"
    for k in range(8):
        for x, y in _line(at, k / 8, last, (k + 1) / 8, at((k + 1) / 8)):
            path += f"{'M' if abs(x - last[0]) > WIDTH / 4 else 'L'}{x:.1f} {y:.1f}"
            last = (x, y)
    return path


def _line(
    at: Callable[[float], Point], t0: float, p0: Point, t1: float, p1: Point
) -> Iterator[Point]:
    """Points from the first (excluded) to the second, as many as the curve between them needs."""
    middle = (t0 + t1) / 2
    p = at(middle)
    off = hypot(p[0] - (p0[0] + p1[0]) / 2, p[1] - (p0[1] + p1[1]) / 2)
    if off > MAX_OFF and t1 - t0 > MIN_STEP:
        yield from _line(at, t0, p0, middle, p)
        yield from _line(at, middle, p, t1, p1)
    else:
        yield p1


@dataclass(frozen=True, slots=True)
class Label:
    """A name beside its point: where, and to which side it extends."""

    x: float
    y: float
    anchor: str


def labels(
    places: Mapping[str, tuple[float, float, str]], first: str | None = None
) -> dict[str, Label]:
    """Room for as many names as fit without meeting; `places`: code to x, y and text.

    Each name is tried right, left, above and below its point; what finds no room has none (its
    title and the table below still name it). `first` is placed before all others, in any case.
    """
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in places.values()]
    placed: dict[str, Label] = {}
    for code in sorted(places, key=lambda code: (code != first, code)):
        x, y, text = places[code]
        width, height = 6.2 * len(text), 12.0
        for left, top, anchor in (
            (x + 8, y - height / 2, "start"),
            (x - 8 - width, y - height / 2, "end"),
            (x - width / 2, y - 9 - height, "middle"),
            (x - width / 2, y + 9, "middle"),
        ):
            box = (left, top, left + width, top + height)
            inside = box[0] >= 0 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT
            if inside and (code == first or not any(_meet(box, other) for other in taken)):
                at = {"start": left, "end": left + width, "middle": left + width / 2}[anchor]
                placed[code] = Label(round(at, 1), round(top + height - 2.5, 1), anchor)
                taken.append(box)
                break
    return placed


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def coastlines(topology: Mapping[str, Any]) -> str:
    """The land of a TopoJSON topology as one SVG path, Antarctica left out."""
    scale, shift = (topology["transform"][name] for name in ("scale", "translate"))
    arcs: list[list[Point]] = []
    for arc in topology["arcs"]:
        x = y = 0
        line = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            line.append((x * scale[0] + shift[0], y * scale[1] + shift[1]))
        arcs.append(line)
    return "".join(_ring(ring, arcs) for ring in _rings(topology["objects"]["land"]))


def _rings(geometry: Mapping[str, Any]) -> Iterator[list[int]]:
    match geometry["type"]:
        case "GeometryCollection":
            for part in geometry["geometries"]:
                yield from _rings(part)
        case "MultiPolygon":
            for polygon in geometry["arcs"]:
                yield from polygon
        case "Polygon":
            yield from geometry["arcs"]


def _ring(ring: list[int], arcs: list[list[Point]]) -> str:
    places: list[Point] = []
    for number in ring:
        line = arcs[number] if number >= 0 else arcs[~number][::-1]
        places += line[1:] if places else line
    if max(latitude for _, latitude in places) < -60:
        return ""
    path, last = "", None
    for longitude, latitude in places:
        x, y = (round(v) for v in project(latitude, longitude))
        if last is None or abs(x - last[0]) > WIDTH / 2:
            path += f"M{x} {y}"  # the ring crosses the cut: begin anew on the other side
        elif (x, y) != last:
            dx, dy = x - last[0], y - last[1]
            path += f"l{dx}{'' if dy < 0 else ' '}{dy}"
        last = (x, y)
    return path + "z"


if __name__ == "__main__":
    LAND.write_text(coastlines(json.loads(Path(sys.argv[1]).read_text())) + "\n")
