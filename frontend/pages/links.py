"""The addresses of the site's pages and data: the one place that knows how they are written."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

from frontend.views.figures import DEFAULT_FRAME, DEFAULT_METRIC, FRAME_LABELS, METRICS

# By timeframe, the names of the figures that there are; see views/lookup.py.
Offered = Mapping[str, Collection[str]]
ALL: Final[Offered] = {}
NO_FILTERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Option:
    """One link of a picker."""

    label: str
    href: str
    is_chosen: bool
    is_offered: bool = True


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses that keep the figure, the timeframe and, of the matrix, the filters of a page.

    What is the default is left out, so that each view has one address. All are relative to this
    host: what one visitor is shown is kept for the next.
    """

    metric: str = DEFAULT_METRIC
    frame: str = DEFAULT_FRAME
    filters: Mapping[str, str] = field(default_factory=dict)

    def to(self, metric: str = "", frame: str = "") -> "Links":
        """The same with another figure or timeframe."""
        return replace(self, metric=metric or self.metric, frame=frame or self.frame)

    def matrix(self) -> str:
        return _address(f"/grid/{self.metric}/timeframe/{self.frame}", self.filters)

    def all_pairs(self) -> str:
        """The matrix without its filters."""
        return replace(self, filters=NO_FILTERS).matrix()

    def map(self, code: str) -> str:
        return _address("/map", {"from": code, **self._chosen()})

    def region(self, code: str) -> str:
        return _address(f"/region/{code}", self._chosen())

    def pair(self, source: str, target: str) -> str:
        return f"/pair/{source}/{target}{self.query()}"

    def query(self) -> str:
        """The figure and timeframe at the end of an address; empty for what is the default."""
        return _address("", self._chosen())

    def cells(self, format: str = "", **more: str) -> str:
        """The matrix' figures as the API gives them, with the same filters."""
        chosen = {"metric": self.metric, "timeframe": self.frame, **self.filters}
        return _address("/api/v1/matrix", {**chosen, "format": format, **more})

    def file(self, *words: str) -> str:
        """The name of a file, without its ending, that holds what these addresses show."""
        filters = (w for name, value in self.filters.items() for w in (name, value))
        text = " ".join(("cloudping", *words, self.metric, self.frame, *filters))
        return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")

    def pair_data(self, source: str, target: str, part: str = "", **query: str) -> str:
        """A pair's `history`, `samples` or `distribution` from the API."""
        base = f"/api/v1/pairs/{source}/{target}"
        return _address(f"{base}/{part}" if part else base, query)

    def plan(self, **query: str) -> str:
        return _address("/plan", query)

    def plan_data(self, **query: str) -> str:
        """A plan from the API."""
        return _address("/api/v1/plan", query)

    def _chosen(self) -> dict[str, str]:
        return {
            "metric": "" if self.metric == DEFAULT_METRIC else self.metric,
            "timeframe": "" if self.frame == DEFAULT_FRAME else self.frame,
        }

    def figures(self, address: Callable[["Links"], str], offered: Offered = ALL) -> list[Option]:
        """The picker of figures for a page whose address is `address`."""
        there = offered.get(self.frame, METRICS)
        return [
            Option(metric.label, address(self.to(metric=name)), name == self.metric, name in there)
            for name, metric in METRICS.items()
        ]

    def timeframes(self, address: Callable[["Links"], str], offered: Offered = ALL) -> list[Option]:
        """The picker of timeframes; one that has no such figure leads to its median."""
        return [
            Option(
                label,
                address(
                    self.to(frame=name)
                    if self.metric in offered.get(name, METRICS)
                    else self.to(DEFAULT_METRIC, name)
                ),
                name == self.frame,
            )
            for name, label in FRAME_LABELS.items()
        ]


def _address(path: str, query: Mapping[str, str]) -> str:
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
