"""Brings a source's buckets up to date: hours from runs, days from hours, months from days."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cloudping.buckets import Bucket, DistributionTable
from cloudping.codec import digest
from cloudping.distribution import Distribution, merge
from cloudping.errors import CloudPingError, ItemError
from cloudping.periods import DAY, HOUR, MONTH, floor, following
from cloudping.regions import RegionTable
from cloudping.runs import Run, RunTable
from cloudping.summaries import HistoryTable, SummaryTable
from cloudping.times import to_iso

from . import hours
from .hours import Kind, Measured

TICK: Final = timedelta(milliseconds=1)  # the resolution of stored timestamps
AHEAD: Final = timedelta(minutes=1)  # a run later than this is in the future: clocks differ a bit


class ConflictError(CloudPingError):
    """Another aggregator changed a bucket or the state meanwhile; the next run makes it right."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The five tables of an installation."""

    runs: RunTable
    distributions: DistributionTable
    summaries: SummaryTable
    history: HistoryTable
    regions: RegionTable


@dataclass(slots=True)
class Counts:
    """What a run did; `bad` are raw items that could not be used and were left where they are."""

    runs_read: int = 0
    buckets_written: int = 0
    buckets_unchanged: int = 0
    buckets_kept: int = 0
    summaries_written: int = 0
    summaries_deleted: int = 0
    days_written: int = 0
    bad: dict[str, ItemError] = field(default_factory=dict)

    def report(self, errors: Iterable[ItemError]) -> None:
        """Counts each bad item once, however often it is met."""
        self.bad |= {f"{error.table}/{error.key}": error for error in errors}

    def add(self, part: "Counts") -> None:
        for name in self.__slots__:
            value, more = getattr(self, name), getattr(part, name)
            setattr(self, name, value | more if name == "bad" else value + more)


class RunReader:
    """The runs of an hour; those of the last hours of each source are not read twice.

    A run is never changed once it is written, so what was parsed stays true; whether it is all
    there is says the state's revision: only the process that moved the state last, and so knows
    of every run until then, may use what it remembers.
    """

    HOURS: Final = 2

    def __init__(self, table: RunTable) -> None:
        self._table = table
        self._known: dict[str, dict[datetime, dict[datetime, Measured]]] = {}
        self._revision: dict[str, int] = {}

    def begin(self, region: str, revision: int | None) -> None:
        if revision is None or self._revision.get(region) != revision:
            self._known[region] = {}

    def end(self, region: str, revision: int) -> None:
        """The state was moved with all that was read."""
        self._revision[region] = revision

    def read(
        self,
        region: str,
        hour: datetime,
        changed: Collection[datetime] | None,
        now: datetime,
        counts: Counts,
    ) -> list[Measured]:
        """The usable runs of an hour; `changed` are those that may be new, None: any of them."""
        of_region = self._known.setdefault(region, {})
        known = of_region.get(hour)
        first = hour
        if known is not None and changed is not None:
            new = [moment for moment in changed if moment not in known]
            if not new:
                return list(known.values())
            first = min(new)
        batch = self._table.between(region, first, following(HOUR, hour) - TICK)
        counts.runs_read += len(batch.runs) + len(batch.bad)
        counts.report(batch.bad)
        counts.report(
            in_future(self._table.name, region, run.timestamp)
            for run in batch.runs
            if _is_ahead(run, now)
        )
        usable = {
            run.timestamp: hours.measured(run) for run in batch.runs if not _is_ahead(run, now)
        }
        of_region[hour] = {**(known or {}), **usable}
        for old in sorted(of_region)[: -self.HOURS]:
            if old != hour:
                del of_region[old]
        return list(of_region[hour].values())


def _is_ahead(run: Run, now: datetime) -> bool:
    written = now if run.written_at is None else min(now, run.written_at)
    return run.timestamp > written + AHEAD


def in_future(table: str, region: str, timestamp: datetime) -> ItemError:
    """The error of a run whose time had not come when it was written."""
    key = f"{region}/{to_iso(timestamp)}"
    return ItemError(table, key, "timestamp", to_iso(timestamp), "a time that has come")


class Source:
    """The roll-up of one source at one moment (by the clock).

    `is_active`: its probe should be running, so that an hour without a run is one that is missing.
    `open_from` is where the next roll-up has to begin: the first hour in which runs may yet come,
    or turn out to be missing. `first_run` and `last_run` are the oldest and newest run seen.
    """

    def __init__(
        self, tables: Tables, reader: RunReader, region: str, now: datetime, is_active: bool
    ) -> None:
        self._tables, self._reader, self._region = tables, reader, region
        self._now, self._is_active = now, is_active
        self._last: tuple[datetime, Measured | None] | None = None
        self.counts = Counts()
        self.open_from = now
        self.first_run: datetime | None = None
        self.last_run: datetime | None = None

    def roll_up(self, changed: Mapping[datetime, Collection[datetime] | None]) -> list[datetime]:
        """Recomputes hours, and the days and months above them that are over.

        `changed` maps an hour to its runs that may be new, or to None for any. Returns the days
        that were recomputed.
        """
        done = set()
        for first, moments in sorted(changed.items()):
            self._hour(first, moments)
            done.add(first)
            # What silent hours after it lacked was reckoned from the run before them.
            hour = following(HOUR, first)
            while hour not in changed and hour not in done and self._is_silent(hour):
                self._hour(hour, None)
                done.add(hour)
                hour = following(HOUR, hour)
        over = []
        for level, below in ((DAY, HOUR), (MONTH, DAY)):
            starts = sorted({floor(level, hour) for hour in done})
            for start in starts:
                if following(level, start) <= self._now:
                    self._merge(level, start, below)
                    over.append((level, start))
        return [start for level, start in over if level == DAY]

    def _hour(self, hour: datetime, changed: Collection[datetime] | None) -> None:
        runs = self._reader.read(self._region, hour, changed, self._now, self.counts)
        for moment in (datetime.fromtimestamp(run.time_s, UTC) for run in runs):
            self.first_run = min(self.first_run or moment, moment)
            self.last_run = max(self.last_run or moment, moment)
        own = sorted((run for run in runs if not run.is_imported), key=lambda run: run.time_s)
        last, began_before = own[-1] if own else None, False
        if own and own[0].time_s - hour.timestamp() >= own[0].interval_s:
            began_before = self._before(hour) is not None
        found = hours.distributions(runs, hour, self._now, began_before)
        if not own and self._is_active and (last := self._before(hour)) is not None:
            gap = hours.silent(last, hour, self._now)
            if gap is not None:
                found[last.kind] = gap
        if last is not None:
            self._last = (hour, last)
            if hours.is_open(last, hour, self._now):
                self.open_from = min(self.open_from, hour)
        self._write(HOUR, hour, found)

    def _is_silent(self, hour: datetime) -> bool:
        table = self._tables.distributions
        stored = table.between(self._region, HOUR, hour, hour, consistent=True)
        return bool(stored) and not any(bucket.distribution.runs for bucket in stored)

    def _before(self, hour: datetime) -> Measured | None:
        """The source's last run before the hour."""
        if self._last is None or self._last[0] != hour - timedelta(hours=1):
            run = self._tables.runs.latest(self._region, hour - TICK)
            self._last = (hour - timedelta(hours=1), None if run is None else hours.measured(run))
        return self._last[1]

    def _merge(self, level: str, start: datetime, below: str) -> None:
        parts: dict[Kind, list[Distribution]] = {}
        table = self._tables.distributions
        last = following(level, start) - TICK
        for bucket in table.between(self._region, below, start, last, consistent=True):
            parts.setdefault((bucket.method, bucket.origin), []).append(bucket.distribution)
        self._write(level, start, {kind: merge(found) for kind, found in parts.items()})

    def _write(self, level: str, start: datetime, found: dict[Kind, Distribution]) -> None:
        """Writes what differs; never fewer runs over more, for the raw runs may have expired."""
        table = self._tables.distributions
        stored = {
            (bucket.method, bucket.origin): bucket
            for bucket in table.between(self._region, level, start, start, consistent=True)
        }
        for kind, bucket in stored.items():
            if kind not in found and not bucket.distribution.runs:
                found[kind] = merge([])  # it was silent, as we thought, but another kind came
        for kind, distribution in found.items():
            old = stored.get(kind)
            if old is not None and old.distribution.runs > distribution.runs:
                self.counts.buckets_kept += 1
            elif old is not None and old.stored_digest == digest(distribution):
                self.counts.buckets_unchanged += 1
            else:
                bucket = Bucket(self._region, level, start, *kind, distribution)
                if not table.replace(bucket, old, self._now):
                    raise ConflictError(
                        f"{self._region}: another aggregator changed {level} of {start} meanwhile"
                    )
                self.counts.buckets_written += 1
