"""The usable runs of some hours; those of the last hours of each source are not read twice."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cloudping.errors import ItemError
from cloudping.periods import HOUR, floor, following
from cloudping.runs import Run, RunTable
from cloudping.times import to_iso

from .schedule import RunSamples, run_samples
from .tables import Counts

TICK: Final = timedelta(milliseconds=1)  # the resolution of stored timestamps
AHEAD: Final = timedelta(minutes=1)  # a run later than this is in the future: clocks differ a bit
_AT_ONCE: Final = 24  # hours in one query: at a run a minute, some 13 MB

ByTime = dict[datetime, RunSamples]


class RunReader:
    """Reads runs, and remembers those of each source's last hours while the Lambda is warm.

    A run is never changed once it is written, so what was parsed stays true; whether it is all
    there is says the checkpoint's revision: only the process that moved the checkpoint last, and so
    knows of every run until then, may use what it remembers.
    """

    HOURS: Final = 2

    def __init__(self, table: RunTable) -> None:
        self._table = table
        self._known: dict[str, dict[datetime, ByTime]] = {}
        self._revision: dict[str, int] = {}

    def begin(self, region: str, revision: int | None) -> None:
        if revision is None or self._revision.get(region) != revision:
            self._known[region] = {}

    def end(self, region: str, revision: int) -> None:
        """The checkpoint was moved with all that was read."""
        self._revision[region] = revision

    def read(
        self,
        region: str,
        new: Mapping[datetime, Collection[datetime]],
        now: datetime,
        counts: Counts,
    ) -> Iterator[tuple[datetime, list[RunSamples]]]:
        """Each hour with its usable runs; `new` maps the hours to those runs that may be new."""
        known = self._known.setdefault(region, {})
        hours = sorted(new)
        for first in range(0, len(hours), _AT_ONCE):
            together = hours[first : first + _AT_ONCE]
            self._load(region, together, new, now, counts)
            for hour in together:
                yield hour, list(known.get(hour, {}).values())
            for old in sorted(known)[: -self.HOURS]:
                del known[old]

    def _load(
        self,
        region: str,
        hours: Sequence[datetime],
        new: Mapping[datetime, Collection[datetime]],
        now: datetime,
        counts: Counts,
    ) -> None:
        known = self._known[region]
        begins = {}
        for hour in hours:
            if hour not in known:
                begins[hour] = hour
            elif unknown := [moment for moment in new[hour] if moment not in known[hour]]:
                begins[hour] = min(unknown)
        for start, end in _stretches(begins):
            found: dict[datetime, ByTime] = defaultdict(dict)
            batch = self._table.between(region, start, end)
            counts.runs_read += len(batch) + len(batch.bad)
            counts.report(batch.bad)
            for run in batch:
                if is_ahead(run, now):
                    counts.report([in_future(self._table.name, region, run.timestamp)])
                else:
                    found[floor(HOUR, run.timestamp)][run.timestamp] = run_samples(run)
            for hour in begins:
                if start <= following(HOUR, hour) - TICK <= end:
                    known[hour] = known.get(hour, {}) | found.get(hour, {})


def _stretches(begins: Mapping[datetime, datetime]) -> Iterator[tuple[datetime, datetime]]:
    """What one query each can read: from the first new run on, as long as hour follows hour."""
    start = end = None
    for hour in sorted(begins):
        if start is None or end is None or hour != end:
            if start is not None and end is not None:
                yield start, end - TICK
            start = begins[hour]
        end = following(HOUR, hour)
    if start is not None and end is not None:
        yield start, end - TICK


def is_ahead(run: Run, now: datetime) -> bool:
    """Whether the run's time had not come when it was written, or has not come yet."""
    written = now if run.written_at is None else min(now, run.written_at)
    return run.timestamp > written + AHEAD


def in_future(table: str, region: str, timestamp: datetime) -> ItemError:
    """The error of a run whose time had not come when it was written."""
    key = f"{region}/{to_iso(timestamp)}"
    return ItemError(table, key, "timestamp", to_iso(timestamp), "a time that has come")
