"""What the pages show: regions, newest runs and the figures of all pairs, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Final

from cloudping.changes import Change
from cloudping.regions import CATALOGUE, Region, RegionState
from cloudping.runs import ORIGIN_SIMULATED, Run, combined_origin
from cloudping.summaries import TIMEFRAMES, Summary

Pair = tuple[str, str]

DAY: Final = timedelta(days=1)
CHANGES_YEARS: Final = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the tables could not be read, and since when."""

    since: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the matrix, region and status pages need; no view of them reads a table.

    `cells` maps a timeframe (`now` and those of `TIMEFRAMES`) to the pairs that have an item.
    `runs` holds the newest run of each source, `seen` when each source ran within the last day.
    `changes` are those of the last `CHANGES_YEARS` years, looked for until `changes_until`.
    `taken_at` is None before the first complete read; `failure` is set while reading fails.
    """

    number: int = 0
    taken_at: datetime | None = None
    states: tuple[RegionState, ...] = ()
    cells: Mapping[str, Mapping[Pair, Summary]] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    seen: Mapping[str, tuple[datetime, ...]] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    changes_until: date | None = None
    failure: Failure | None = None

    @property
    def sources(self) -> list[RegionState]:
        return [state for state in self.states if state.is_source]

    @property
    def targets(self) -> list[RegionState]:
        return [state for state in self.states if state.is_target]

    @property
    def pairs(self) -> list[Pair]:
        """All that may have a history: those with a figure, and from each region that has or had a
        probe to every other."""
        have = {pair for frame in self.cells.values() for pair in frame}
        codes = [state.region.code for state in self.states]
        measured_from = [s.region.code for s in self.states if s.is_source or s.latest_data]
        return sorted(have | {(source, target) for source in measured_from for target in codes})

    @property
    def regions(self) -> Mapping[str, Region]:
        """Every region known: the catalogue's, and what the table says of them."""
        return {**CATALOGUE, **{state.region.code: state.region for state in self.states}}

    @property
    def is_simulated(self) -> bool:
        """True when any figure or run here comes from the simulated network."""
        return self.origin == ORIGIN_SIMULATED

    @property
    def origin(self) -> str | None:
        """`simulated` as soon as anything shown is; None while there is nothing to show."""
        cells = (cell.origin for frame in self.cells.values() for cell in frame.values())
        return combined_origin(chain((run.origin for run in self.runs.values()), cells))

    @property
    def is_starting(self) -> bool:
        """True until there is a figure to show; pages renew themselves meanwhile."""
        return not any(self.cells.values())

    @property
    def missing(self) -> list[str]:
        """What is not there yet, in the order in which it comes to be; empty when all is."""
        if self.taken_at is None:
            return [self.failure.message if self.failure else "The tables are being read."]
        if not self.states:
            return ["cloudping_regions is empty: no region has been put into the catalogue yet."]
        found = []
        if not self.sources:
            found.append("No probe has been deployed yet: no region is marked as a source.")
        if waiting := [s.region.code for s in self.sources if s.region.code not in self.runs]:
            shown = ", ".join(waiting[:3]) + (", …" if len(waiting) > 3 else "")
            found.append(
                f"{len(self.sources) - len(waiting)} of {len(self.sources)} sources have run; "
                f"waiting for {shown}"
            )
        if empty := [name for name in TIMEFRAMES if not self.cells.get(name)]:
            found.append(
                f"The aggregator has written no figures for {', '.join(empty)} yet; "
                "“now” shows each source's last run."
            )
        rows = {name: {source for source, _ in self.cells.get(name, {})} for name in TIMEFRAMES}
        counts = {name: len(sources) for name, sources in rows.items()}
        if partly := [f"{n} for {name}" for name, n in counts.items() if 0 < n < len(self.runs)]:
            found.append(f"Of {len(self.runs)} sources, figures are there of {', '.join(partly)}.")
        return found
