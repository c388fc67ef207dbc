"""A year of simulated history for the local stack, as probes and aggregator would have left it.

At an hourly cadence. First the last day of every source, for the page that opens first; then the
buckets and rows of all timeframes, then the daily figures. Distributions are computed from arrays
and not from runs, which would be some 300,000 large items; what rests on them is written by the
aggregator's own code.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from cloudping import dynamo, planet, runs, windows
from cloudping.buckets import Bucket, Checkpoint, DistributionTable
from cloudping.codec import digest
from cloudping.distribution import Distribution, from_attempts, merge
from cloudping.figures import figures
from cloudping.items import Batch
from cloudping.periods import DAY, HOUR, MONTH, floor, following
from cloudping.regions import CATALOGUE, Region, RegionState
from cloudping.runs import METHOD_KERNEL, ORIGIN_SIMULATED, Run, RunTable, TargetResult
from cloudping.summaries import TIMEFRAMES, Day, HistoryTable
from cloudping.times import utc_now
from infra.local.server import LocalError

sys.path.append(str(Path(__file__).resolve().parents[2] / "aggregator"))  # as Lambda has it
from chalicelib.reader import RunReader
from chalicelib.rows import renew
from chalicelib.tables import Counts, Pass, tables

ATTEMPTS = 5
RAW_INTERVAL = timedelta(minutes=60)  # the cadence of the past: 120 samples a day allow a P99
RAW_FOR = timedelta(hours=1)  # the graphs are made from buckets; of raw runs, `now` needs the last
DAYS = 366  # 1Y begins at the UTC day 365 days ago
HOURLY_DAYS = 7  # hour buckets that the graphs of the last days show
DAILY_DAYS = 35  # day buckets: what the windows of a month and a week can touch


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The hours of one source, whole or in part: latencies [target, hour, attempt] in ms."""

    targets: tuple[str, ...]
    hours: Any  # epoch hours
    latency_ms: Any

    def distribution(self, first: int, last: int) -> Distribution:
        """Of the hours from index `first` to before `last`."""
        part = self.latency_ms[:, first:last]
        target, hour, _ = np.indices(part.shape).reshape(3, -1)
        return from_attempts(
            self.targets,
            target,
            part.ravel(),
            self.hours[first:last][hour] * 3600,
            runs=part.shape[1],
        )


def write_day(
    client: Any, sources: Sequence[Region], targets: Sequence[Region]
) -> Iterator[tuple[int, int]]:
    """The last day of the sources that have nothing yet: what the page that opens first shows.

    Yields (done, all) of the sources that were missing.
    """
    table = DistributionTable(client)
    missing = [place.code for place in sources if table.checkpoint(place.code) is None]
    return _each(_write_day, missing, targets)


def write_year(
    client: Any, sources: Sequence[Region], targets: Sequence[Region]
) -> Iterator[tuple[int, int]]:
    """The rest of the buckets, and all timeframes of the matrix; yields as above."""
    table = DistributionTable(client)
    states = {place.code: table.checkpoint(place.code) for place in sources}
    missing = [
        code
        for code, state in states.items()
        if state and not set(TIMEFRAMES) <= set(state.written)
    ]
    return _each(_write_year, missing, targets)


def write_days(
    client: Any, sources: Sequence[Region], targets: Sequence[Region]
) -> Iterator[tuple[int, int]]:
    """The daily figures, for the graphs of a year; yields as above."""
    table = HistoryTable(client)
    last = max(place.code for place in targets)  # the pair that is written last
    long_ago = utc_now().date().replace(day=1) - timedelta(days=1)
    missing = [
        place.code for place in sources if not table.between(place.code, last, long_ago, long_ago)
    ]
    return _each(_write_days, missing, targets)


def _each(
    write: Callable[[str, tuple[str, ...]], None],
    sources: Sequence[str],
    targets: Sequence[Region],
) -> Iterator[tuple[int, int]]:
    """Runs `write` for every source, two at a time."""
    if not sources:
        return
    codes = tuple(sorted(place.code for place in targets))
    # A fresh interpreter each: a fork would inherit the sockets and threads of the parent.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            futures = [pool.submit(write, code, codes) for code in sources]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                yield done, len(sources)
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ends this worker when the process that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise LocalError("history is written by a worker of a pool")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class _OwnTable(DistributionTable):
    """The table for its only writer: what it has written need not be read back."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._written: list[Bucket] = []

    def write(self, buckets: Iterable[Bucket], updated_at: datetime) -> None:
        self._written = list(buckets)
        super().write(self._written, updated_at)

    def between(
        self, region: str, level: str, first: datetime, last: datetime, *, consistent: bool = False
    ) -> Batch[Bucket]:
        return Batch(b for b in self._written if b.level == level and first <= b.start <= last)


def _write_day(source: str, targets: tuple[str, ...]) -> None:
    day_of(_client(), source, targets, utc_now())


def _write_year(source: str, targets: tuple[str, ...]) -> None:
    year_of(_client(), source, targets, utc_now())


def _write_days(source: str, targets: tuple[str, ...]) -> None:
    days_of(_client(), source, targets, utc_now())


def _client() -> Any:
    return dynamo.client("us-east-2")  # the endpoint is in the environment


def day_of(client: Any, source: str, targets: tuple[str, ...], now: datetime) -> None:
    """The source's last 24 hours and its row of 1D; the run of the full hour is left to roll up."""
    hour, begin = floor(HOUR, now), windows.start("1D", now)
    latest = raw_runs(source, targets, hour - RAW_FOR, now)
    dynamo.write_batches(client, RunTable.NAME, map(runs.to_item, latest))
    made = _hours(source, _stretch(source, targets, begin, hour))
    _finish(client, source, made, ["1D"], None, begin, now)


def year_of(client: Any, source: str, targets: tuple[str, ...], now: datetime) -> None:
    """The source's months, days and hours of a year until now, and its rows of all timeframes."""
    stretch = _year(source, targets, now)
    days = list(_days(source, stretch))
    made = [
        *_hours(source, stretch, since=floor(DAY, now) - timedelta(days=HOURLY_DAYS)),
        *_kept(days, now),
        *_months(source, days, now),
    ]
    state = DistributionTable(client).checkpoint(source)
    _finish(client, source, made, TIMEFRAMES, state, days[0].start, now)


def days_of(client: Any, source: str, targets: tuple[str, ...], now: datetime) -> None:
    """The source's figures of each day of the year that is over."""
    HistoryTable(client).replace(
        Day(source, code, day.start.date(), found, ORIGIN_SIMULATED)
        for day in _days(source, _year(source, targets, now))
        for code, found in figures([day]).items()
    )


def _year(source: str, targets: tuple[str, ...], now: datetime) -> _Stretch:
    begin = floor(DAY, now) - timedelta(days=DAYS)
    return _stretch(source, targets, begin, floor(HOUR, now))


def _finish(
    client: Any,
    source: str,
    made: Iterable[Bucket],
    timeframes: Sequence[str],
    state: Checkpoint | None,
    begin: datetime,
    now: datetime,
) -> None:
    """Writes the buckets and, by the aggregator's own code, what it makes of them."""
    table = _OwnTable(client)
    table.write(made, now)
    installed = replace(tables(client, ""), distributions=table)
    before = {} if state is None else state.written
    of = Pass(installed, RegionState(CATALOGUE[source], is_source=True, is_target=True), now)
    written = renew(of, RunReader(installed.runs), timeframes, before, Counts())
    hour = floor(HOUR, now)
    installed.regions.note_data(source, begin, hour)
    after = Checkpoint(source, hour, hour, begin, written)
    if table.move(after, state, now) is None:
        raise LocalError(f"{source}: an aggregator wrote its figures meanwhile; start again")


def _stretch(source: str, targets: tuple[str, ...], start: datetime, end: datetime) -> _Stretch:
    hours = np.arange(int(start.timestamp()) // 3600, int(end.timestamp()) // 3600)
    minutes = hours * 60
    latency_ms = np.stack(
        [planet.latencies_ms(source, target, minutes, ATTEMPTS) for target in targets]
    )
    return _Stretch(targets, hours, latency_ms)


def _hours(source: str, stretch: _Stretch, since: datetime | None = None) -> Iterator[Bucket]:
    """The hours of a stretch, or of its end."""
    for index, start in enumerate(map(_moment, stretch.hours)):
        if since is None or start >= since:
            yield _bucket(source, HOUR, start, stretch.distribution(index, index + 1))


def _days(source: str, stretch: _Stretch) -> Iterator[Bucket]:
    """The days of a stretch that are over; it begins with one."""
    for first in range(0, len(stretch.hours) - 23, 24):
        start = _moment(stretch.hours[first])
        yield _bucket(source, DAY, start, stretch.distribution(first, first + 24))


def _kept(days: Sequence[Bucket], now: datetime) -> Iterator[Bucket]:
    """The days that windows and graphs can ask for: the last ones, and where a year begins."""
    recent = now - timedelta(days=DAILY_DAYS)
    first_month = floor(MONTH, days[0].start)
    yield from (d for d in days if d.start >= recent or floor(MONTH, d.start) == first_month)


def _months(source: str, days: Sequence[Bucket], now: datetime) -> Iterator[Bucket]:
    """The months that are over."""
    for month, group in groupby(days, key=lambda day: floor(MONTH, day.start)):
        if following(MONTH, month) <= now:
            yield _bucket(source, MONTH, month, merge(day.distribution for day in group))


def _moment(epoch_hour: Any) -> datetime:
    return datetime.fromtimestamp(int(epoch_hour) * 3600, UTC)


def _bucket(source: str, level: str, start: datetime, found: Distribution) -> Bucket:
    # As the table would give it back: with the digest that the aggregator goes by.
    return Bucket(source, level, start, METHOD_KERNEL, ORIGIN_SIMULATED, found, digest(found))


def raw_runs(
    source: str, targets: tuple[str, ...], start: datetime, end: datetime
) -> Iterator[Run]:
    """The runs of a source from `start` to before `end`, as its probe would have written them."""
    moment = start
    while moment < end:
        yield Run(
            region=source,
            timestamp=moment,
            partition="aws",
            interval_s=int(RAW_INTERVAL.total_seconds()),
            attempts_per_target=ATTEMPTS,
            method=METHOD_KERNEL,
            origin=ORIGIN_SIMULATED,
            results={
                target: TargetResult(
                    host=CATALOGUE[target].endpoint,
                    addresses=(planet.address(target),),
                    dns_ms=None,
                    attempts=planet.connects(source, target, moment, ATTEMPTS),
                )
                for target in targets
            },
            written_at=moment + timedelta(seconds=3),
        )
        moment += RAW_INTERVAL
