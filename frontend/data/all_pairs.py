"""Reads the distributions of all pairs: in whole days and months, once a day and process.

A window here is made of whole UTC days or months, so that one read serves everybody for a day:
1D, 1W and 1M are the last 1, 7 and 30 days, 1Y the last 12 months. With 34 sources that run every
5 minutes the days take some 1,600 read units a day, the months 2,300 once a month. Until the first
day (month) is over, the hours (days) so far take their place.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from cloudping.buckets import Bucket, DistributionTable
from cloudping.periods import DAY, HOUR, MONTH, floor
from cloudping.runs import LOSS_REASONS, REASONS, combined_origin
from cloudping.times import utc_now
from frontend.data.samples import PairSamples, WindowSamples
from frontend.data.store import BusyError

DAYS: Final = {"1D": 1, "1W": 7, "1M": 30}
YEAR: Final = "1Y"
MONTHS: Final = 12
# By then the aggregator, hourly, has summed the day or the month that is over.
SUMMED_AFTER: Final = timedelta(hours=2)
HOURS_ARE_KEPT: Final = timedelta(hours=2)
AT_ONCE: Final = 4  # queries
WAIT_S: Final = 5.0  # of others, while the first request reads
_LOST: Final = [REASONS.index(reason) for reason in LOSS_REASONS]


@dataclass(frozen=True, slots=True)
class _Held:
    """Windows by their timeframe, until something newer is due."""

    due_at: datetime
    windows: dict[str, WindowSamples]


class AllPairs:
    """Holds the windows that were asked for; `sources` gives the regions that have probes."""

    def __init__(
        self,
        client: Callable[[], Any],
        prefix: str,
        sources: Callable[[], Sequence[str]],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client, self._prefix, self._sources, self._clock = client, prefix, sources, clock
        self._held: dict[str, _Held] = {}
        self._reading = threading.Lock()

    def window(self, timeframe: str) -> WindowSamples:
        """All pairs over 1D, 1W, 1M or 1Y.

        While it is read anew, others get what there was; the first time they wait, and after
        WAIT_S it is BusyError.
        """
        level = MONTH if timeframe == YEAR else DAY
        held = self._held.get(level)
        if held is None or self._clock() >= held.due_at:
            held = self._renewed(level, held)
        return held.windows[timeframe]

    def _renewed(self, level: str, held: _Held | None) -> _Held:
        if not self._reading.acquire(timeout=WAIT_S if held is None else 0):
            if held is None:
                raise BusyError
            return held
        try:
            now = self._clock()
            found = self._held.get(level)
            if found is None or now >= found.due_at:
                found = self._months(now) if level == MONTH else self._days(now)
                self._held[level] = found
        finally:
            self._reading.release()
        return found

    def _days(self, now: datetime) -> _Held:
        end = floor(DAY, now - SUMMED_AFTER)
        due_at = end + timedelta(days=1) + SUMMED_AFTER
        begins = {name: end - timedelta(days=days) for name, days in DAYS.items()}
        windows = self._read(DAY, begins, end)
        if not windows["1M"].pairs:
            hour, due_at = floor(HOUR, now), now + HOURS_ARE_KEPT
            begin = hour - timedelta(hours=24)
            windows = self._read(HOUR, dict.fromkeys(DAYS, begin), hour + timedelta(hours=1))
        return _Held(due_at, windows)

    def _months(self, now: datetime) -> _Held:
        end = floor(MONTH, now - SUMMED_AFTER)
        begin = end.replace(year=end.year - 1)
        year = self._read(MONTH, {YEAR: begin}, end)[YEAR]
        if year.pairs:
            due_at = floor(MONTH, end + timedelta(days=31)) + SUMMED_AFTER
            return _Held(due_at, {YEAR: year})
        days = self._held.get(DAY)
        if days is None or now >= days.due_at:
            days = self._held[DAY] = self._days(now)
        return _Held(days.due_at, {YEAR: replace(days.windows["1M"], timeframe=YEAR)})

    def _read(
        self, level: str, begins: Mapping[str, datetime], end: datetime
    ) -> dict[str, WindowSamples]:
        """The windows that begin there and end together, on threads of its own.

        What is read once for everybody is charged to nobody.
        """
        table = DistributionTable(self._client(), self._prefix)
        last = end - timedelta(microseconds=1)

        def of_source(code: str) -> dict[str, _Part]:
            buckets = table.between(code, level, min(begins.values()), last)
            return {
                name: _part([bucket for bucket in buckets if begin <= bucket.start])
                for name, begin in begins.items()
            }

        sources = self._sources()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(of_source, sources))
        windows = {}
        for name, begin in begins.items():
            parts = [of_one[name] for of_one in found]
            windows[name] = WindowSamples(
                timeframe=name,
                begin=min((part.first for part in parts if part.first), default=begin),
                end=end,
                origin=combined_origin({origin for part in parts for origin in part.origins}),
                methods=tuple(sorted({method for part in parts for method in part.methods})),
                pairs={
                    (source, target): samples
                    for source, part in zip(sources, parts, strict=True)
                    for target, samples in part.samples.items()
                },
            )
        return windows


@dataclass(frozen=True, slots=True)
class _Part:
    """A source's part of a window, by target; `first` is where its oldest bucket begins."""

    first: datetime | None
    origins: frozenset[str]
    methods: frozenset[str]
    samples: dict[str, PairSamples]


def _part(buckets: Sequence[Bucket]) -> _Part:
    return _Part(
        min((bucket.start for bucket in buckets), default=None),
        frozenset(bucket.origin for bucket in buckets),
        frozenset(bucket.method for bucket in buckets),
        _sums(buckets),
    )


def _sums(buckets: Iterable[Bucket]) -> dict[str, PairSamples]:
    """As `distribution.merge`, by target, and without sorting: a year's months in a tenth."""
    units, counts = defaultdict(list), defaultdict(list)
    lost: dict[str, int] = defaultdict(int)
    runs = 0
    for bucket in buckets:
        d = bucket.distribution
        runs += d.runs
        ends = np.searchsorted(d.target, np.arange(1, len(d.targets)))
        parts = zip(d.targets, np.split(d.units, ends), np.split(d.counts, ends), strict=True)
        for k, (target, of_units, of_counts) in enumerate(parts):
            lost[target] += int(d.failures[k, _LOST].sum())
            units[target].append(of_units)
            counts[target].append(of_counts)
    found = {}
    for target, parts_of in units.items():
        all_units = np.concatenate(parts_of)
        if len(all_units):
            first = int(all_units.min())
            dense = np.bincount(all_units - first, np.concatenate(counts[target]))
            seen = np.flatnonzero(dense)
            found[target] = PairSamples(
                (seen + first).astype(np.int32), dense[seen].astype(np.int32), lost[target], runs
            )
    return found
