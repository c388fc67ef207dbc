"""A year of simulated history for the local stack: buckets, daily figures, raw runs of a day.

Written as the probes and the aggregator would have, at an hourly cadence.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from cloudping import dynamo, planet, runs
from cloudping.buckets import Bucket, DistributionTable, State
from cloudping.distribution import Distribution, from_attempts, merge
from cloudping.figures import figures
from cloudping.periods import DAY, HOUR, MONTH, floor
from cloudping.regions import CATALOGUE, Region
from cloudping.runs import METHOD_KERNEL, NETWORK_SIMULATED, Run, RunTable, TargetResult
from cloudping.summaries import Day, HistoryTable
from cloudping.times import utc_now
from infra.local.server import LocalError

sys.path.append(str(Path(__file__).resolve().parents[2] / "aggregator"))  # as Lambda has it
from chalicelib import aggregate
from chalicelib.rollup import RunReader
from chalicelib.trigger import tables

ATTEMPTS = 5
PAST_INTERVAL = timedelta(hours=1)  # the cadence of the year: 120 samples a day allow a P99
RAW_INTERVAL = timedelta(minutes=60)
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


def write_recent(
    client: Any, sources: Sequence[Region], targets: Sequence[Region]
) -> Iterator[tuple[int, int]]:
    """What the matrix and the graphs of the last weeks need, for sources that have nothing yet.

    Yields (done, all) of the sources that were missing.
    """
    table = DistributionTable(client)
    missing = [place.code for place in sources if table.state(place.code) is None]
    return _each(_write_recent, missing, targets)


def write_older(
    client: Any, sources: Sequence[Region], targets: Sequence[Region]
) -> Iterator[tuple[int, int]]:
    """The daily figures before the current month, for graphs of a year; yields as above."""
    table = HistoryTable(client)
    last = max(place.code for place in targets)  # the pair that is written last
    month_ago = utc_now().date().replace(day=1) - timedelta(days=1)
    missing = [
        place.code for place in sources if not table.between(place.code, last, month_ago, month_ago)
    ]
    return _each(_write_older, missing, targets)


def _each(
    write: Callable[[str, tuple[str, ...]], None],
    sources: Sequence[str],
    targets: Sequence[Region],
) -> Iterator[tuple[int, int]]:
    """Runs `write` for every source, two at a time."""
    codes = tuple(sorted(place.code for place in targets))
    # A fresh interpreter each: a fork would inherit the sockets and threads of the parent.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            futures = [pool.submit(write, code, codes) for code in sources]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                yield done, len(sources)
        finally:
            pool.shutdown(cancel_futures=True)


def _write_recent(source: str, targets: tuple[str, ...]) -> None:
    client = _client()
    now = utc_now()
    raw_start = floor(HOUR, now) - timedelta(days=1)
    days = list(past_days(source, targets, raw_start))
    table = DistributionTable(client)
    table.write(_buckets(source, targets, days, raw_start), now)
    this_month = [day for day in days if day[0] >= floor(MONTH, now)]
    HistoryTable(client).replace(_history(source, this_month))
    dynamo.write_batches(
        client,
        RunTable.NAME,
        (runs.to_item(run) for run in raw_runs(source, targets, raw_start, now)),
    )
    table.put_state(State(source, raw_start, raw_start, days[0][0]), None)
    # The aggregator's own code, here and not in its Lambda, so that two sources are rolled up at a
    # time and the matrix fills row by row.
    installed = tables(client, "")
    report = aggregate.run(installed, RunReader(installed.runs), sources=[source])
    if report["failed"]:
        raise LocalError(f"the aggregator failed: {report['failed']}")


def _write_older(source: str, targets: tuple[str, ...]) -> None:
    end = floor(MONTH, utc_now())
    HistoryTable(_client()).replace(_history(source, past_days(source, targets, end)))


def _client() -> Any:
    return dynamo.client("us-east-2")  # the endpoint is in the environment


def _history(source: str, days: Iterable[tuple[datetime, Distribution]]) -> Iterator[Day]:
    for start, distribution in days:
        for code, found in figures([_bucket(source, DAY, start, distribution)]).items():
            yield Day(source, code, start.date(), found, NETWORK_SIMULATED)


def past_days(
    source: str, targets: tuple[str, ...], end: datetime, days: int = DAYS
) -> Iterator[tuple[datetime, Distribution]]:
    """(start, distribution) of every UTC day of the past until `end`, a full hour; oldest first.

    The last day is as long as it has been.
    """
    start = floor(DAY, end) - timedelta(days=days)
    stretch = _stretch(source, targets, start, end)
    for first in range(0, len(stretch.hours), 24):
        yield start + timedelta(hours=first), stretch.distribution(first, first + 24)


def _stretch(source: str, targets: tuple[str, ...], start: datetime, end: datetime) -> _Stretch:
    hours = np.arange(int(start.timestamp()) // 3600, int(end.timestamp()) // 3600)
    minutes = hours * 60
    latency_ms = np.stack(
        [planet.latencies_ms(source, target, minutes, ATTEMPTS) for target in targets]
    )
    return _Stretch(targets, hours, latency_ms)


def _buckets(
    source: str,
    targets: tuple[str, ...],
    days: Sequence[tuple[datetime, Distribution]],
    end: datetime,
) -> Iterator[Bucket]:
    """Months, and the days and hours that windows and graphs can ask for."""
    for month, group in groupby(days, key=lambda day: floor(MONTH, day[0])):
        yield _bucket(source, MONTH, month, merge(part for _, part in group))
    first_month = floor(MONTH, days[0][0])
    recent = end - timedelta(days=DAILY_DAYS)
    for start, part in days:
        if start >= recent or floor(MONTH, start) == first_month:
            yield _bucket(source, DAY, start, part)
    hourly = _stretch(source, targets, floor(DAY, end) - timedelta(days=HOURLY_DAYS), end)
    for index, hour in enumerate(hourly.hours):
        start = datetime.fromtimestamp(int(hour) * 3600, UTC)
        yield _bucket(source, HOUR, start, hourly.distribution(index, index + 1))


def _bucket(source: str, level: str, start: datetime, distribution: Distribution) -> Bucket:
    return Bucket(source, level, start, METHOD_KERNEL, NETWORK_SIMULATED, distribution)


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
            attempts=ATTEMPTS,
            method=METHOD_KERNEL,
            network=NETWORK_SIMULATED,
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
            expires_at=int((moment + timedelta(days=2)).timestamp()),
        )
        moment += RAW_INTERVAL
