"""The last hour of a target as an SVG drawing's numbers: line, band, failures, axes; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from statistics import median
from typing import Final, NamedTuple

from monitor.observations import KEEP_S, Observation

WIDTH, HEIGHT = 960, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 20, 40  # of the plot, inside the drawing
COLUMNS: Final = 120  # each half a minute wide
_COLUMN_S: Final = KEEP_S / COLUMNS


class Tick(NamedTuple):
    """A line of an axis: where it is in the drawing, and its label."""

    at: float
    label: str


class Mark(NamedTuple):
    """Failures within a column: its left edge, and what they were."""

    x: float
    title: str


@dataclass(frozen=True, slots=True)
class Graph:
    """What the template draws; paths are SVG path data, empty where there is nothing."""

    line: str
    band: str
    failures: list[Mark]
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    column_width: float = (WIDTH - LEFT - RIGHT) / COLUMNS
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


class _Column(NamedTuple):
    number: int
    low: float
    middle: float
    high: float


def draw(observations: Sequence[Observation], now: float) -> Graph:
    """The hour up to `now`: the median of each half minute as a line, its extremes as a band.

    A half minute without a figure interrupts the line; one with a failure has a mark.
    """
    start = now - KEEP_S
    latencies: dict[int, list[float]] = {}
    reasons: dict[int, list[str]] = {}
    for observation in observations:
        number = min(COLUMNS - 1, int((observation.at - start) / _COLUMN_S))
        if number < 0:
            continue
        attempt = observation.attempt
        if attempt.latency_ms is not None:
            latencies.setdefault(number, []).append(attempt.latency_ms)
        else:
            reasons.setdefault(number, []).append(str(attempt.reason))
    columns = [
        _Column(number, min(values), median(values), max(values))
        for number, values in sorted(latencies.items())
    ]
    scale = _Scale(columns)
    return Graph(
        line="".join(_line(part, scale) for part in _unbroken(columns)),
        band="".join(_band(part, scale) for part in _unbroken(columns)),
        failures=[
            Mark(_x(number), f"{_clock(start + number * _COLUMN_S)}: {_counted(found)}")
            for number, found in sorted(reasons.items())
        ],
        y_ticks=scale.ticks() if columns else [],
        x_ticks=_times(start, now),
    )


class _Scale:
    """Latency to height; the axis spans what was seen in steps of 1, 2 or 5 by powers of ten."""

    def __init__(self, columns: Sequence[_Column]) -> None:
        low = min((column.low for column in columns), default=0.0)
        high = max((column.high for column in columns), default=1.0)
        # At least a fifth of the figure, so that noise does not look like a mountain range.
        room = max(high - low, 0.2 * high, 0.01)
        rough = room / 4
        unit = 10.0 ** floor(log10(rough))
        self._step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        middle = (low + high) / 2
        self._first = max(0, floor((middle - room / 2) / self._step))
        self._last = max(self._first + 1, ceil((middle + room / 2) / self._step))

    def y(self, latency_ms: float) -> float:
        share = (latency_ms / self._step - self._first) / (self._last - self._first)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def ticks(self) -> list[Tick]:
        places = max(0, -floor(log10(self._step)))
        return [
            Tick(round(self.y(k * self._step), 1), f"{k * self._step:.{places}f}")
            for k in range(self._first, self._last + 1)
        ]


def _unbroken(columns: Sequence[_Column]) -> list[list[_Column]]:
    parts: list[list[_Column]] = []
    for column in columns:
        if not parts or column.number != parts[-1][-1].number + 1:
            parts.append([])
        parts[-1].append(column)
    return parts


def _x(number: float) -> float:
    return round(LEFT + number * (WIDTH - LEFT - RIGHT) / COLUMNS, 1)


def _line(part: Sequence[_Column], scale: _Scale) -> str:
    # From edge to edge, so that a single column is seen as well.
    points = [(_x(part[0].number), part[0].middle)]
    points += [(_x(column.number + 0.5), column.middle) for column in part]
    points.append((_x(part[-1].number + 1), part[-1].middle))
    return "M" + "L".join(f"{x:g} {scale.y(value):.1f}" for x, value in points)


def _band(part: Sequence[_Column], scale: _Scale) -> str:
    edges = [(_x(c.number + side), c) for c in part for side in (0, 1)]
    above = [f"{x:g} {scale.y(c.high):.1f}" for x, c in edges]
    below = [f"{x:g} {scale.y(c.low):.1f}" for x, c in reversed(edges)]
    return "M" + "L".join(above + below) + "Z"


def _times(start: float, now: float) -> list[Tick]:
    first = ceil(start / 600) * 600
    return [
        Tick(_x((at - start) / _COLUMN_S), _clock(at)) for at in range(first, int(now) + 1, 600)
    ]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


def _counted(reasons: Sequence[str]) -> str:
    return ", ".join(f"{reasons.count(reason)} x {reason}" for reason in dict.fromkeys(reasons))
