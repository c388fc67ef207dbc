"""What is read from the tables on request: history, samples, distributions; bounded and cached."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from math import ceil
from typing import Any, Final, TypeVar, cast

from cachetools import TTLCache

from cloudping import windows
from cloudping.buckets import Bucket, DistributionTable, origin_of
from cloudping.distribution import Distribution, merge
from cloudping.figures import series
from cloudping.items import Batch
from cloudping.periods import HOUR
from cloudping.runs import REASONS, RunTable, SamplePage
from cloudping.summaries import Day, Figures, HistoryTable, Summary
from cloudping.times import floor_hour
from frontend.data.reading import charged_to, counted, reads

T = TypeVar("T")
ReadHistory = Callable[[str, str, date, date], Batch[Day]]

CACHE_S: Final = 120
CACHE_ENTRIES: Final = 256
# Queries under way at once; what comes beyond waits a little and is then turned away.
AT_ONCE: Final = 4
WAIT_S: Final = 1.0  # it waits on a thread, of which the pages need some
RETRY_AFTER_S: Final = 5.0
# Downloads take as long as the client takes, within the server's limits, so they have places of
# their own: one for a client.
DOWNLOADS_AT_ONCE: Final = 4

MAX_DAYS: Final = 366
NEAR_YEARS: Final = (2000, 2100)
MAX_HOURS: Final = timedelta(days=31)
MAX_PAGE: Final = 288  # runs: a day at one every 5 minutes
MAX_SAMPLES_RANGE: Final = timedelta(days=31)


class BusyError(Exception):
    """Too many queries are under way, or too much was read already."""

    def __init__(
        self, message: str = "Too many queries are under way", after_s: float = RETRY_AFTER_S
    ) -> None:
        super().__init__(message)
        self.after_s = ceil(after_s)


@contextmanager
def _within(seconds: float, lock: "threading.Lock | threading.Semaphore") -> Iterator[None]:
    """Holds the lock; raises BusyError when it does not get free in time."""
    if not lock.acquire(timeout=seconds):
        raise BusyError
    try:
        yield
    finally:
        lock.release()


def _afford() -> None:
    """Raises BusyError when as much was read for visitors as may be, or for this one."""
    limit = reads()
    wait_s = limit.wait_s() if limit is not None else 0
    if wait_s > 0:
        raise BusyError("As much was read from the tables as may be", wait_s)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each latency was seen: `units` of 0.01 ms, ascending, and `counts` beside it.

    `methods` are those by which the samples were measured.
    """

    units: tuple[int, ...]
    counts: tuple[int, ...]
    failures: dict[str, int]
    origin: str | None
    methods: tuple[str, ...] = ()


NO_HISTOGRAM: Final = Histogram((), (), {}, None)


class Store:
    """Reads pairs; an answer is kept for `CACHE_S`, and asked for once however many wait for it."""

    def __init__(self, client: Callable[[], Any], prefix: str) -> None:
        self._client, self._prefix = cache(lambda: counted(client())), prefix
        self._answers: TTLCache[Hashable, Any] = TTLCache(CACHE_ENTRIES, CACHE_S)
        self._lock = threading.Lock()
        self._asking: dict[Hashable, threading.Lock] = {}
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._downloading: set[str] = set()  # by which clients

    @contextmanager
    def download(self, client: str) -> Iterator[ReadHistory]:
        """A client's place for a download, with what reads a pair's days for it, keeping nothing.

        Raises BusyError when the client has one already, or none is free.
        """
        _afford()
        with self._lock:
            if client in self._downloading:
                raise BusyError("You have a download under way", 30)
            if len(self._downloading) >= DOWNLOADS_AT_ONCE:
                raise BusyError("Too many downloads are under way", 30)
            self._downloading.add(client)
        limit = reads()

        def history_of(source: str, target: str, first: date, last: date) -> Batch[Day]:
            with charged_to(limit):  # the request's context is over when the answer is made
                table = HistoryTable(self._client(), self._prefix)
                return table.between(source, target, first, last)

        try:
            yield history_of
        finally:
            with self._lock:
                self._downloading.discard(client)

    def _once(self, key: Hashable, ask: Callable[[], T]) -> T:
        with self._lock:
            if key in self._answers:
                return cast(T, self._answers[key])
            turn = self._asking.setdefault(key, threading.Lock())
        end = time.monotonic() + WAIT_S
        with _within(WAIT_S, turn):
            with self._lock:
                if key in self._answers:
                    return cast(T, self._answers[key])
            try:
                _afford()
                with _within(max(0.0, end - time.monotonic()), self._places):
                    answer = ask()
                with self._lock:
                    self._answers[key] = answer
            finally:
                with self._lock:
                    self._asking.pop(key, None)
        return answer

    def days(self, source: str, target: str, first: date, last: date) -> list[Day]:
        """The pair's daily figures from `first` to `last`, both included."""
        return self._once(
            ("days", source, target, first, last),
            lambda: HistoryTable(self._client(), self._prefix).between(source, target, first, last),
        )

    def hours(
        self, source: str, target: str, start: datetime, end: datetime
    ) -> list[tuple[datetime, Figures, str]]:
        """The pair's hourly figures and origin, from the hour of `start` to that of `end`."""
        first, last = floor_hour(start), floor_hour(end)

        def ask() -> list[tuple[datetime, Figures, str]]:
            buckets = self._distributions().between(source, HOUR, first, last)
            origin = {bucket.start: bucket.origin for bucket in buckets}
            return [(at, figures, origin[at]) for at, figures in series(buckets, target)]

        return self._once(("hours", source, target, first, last), ask)

    def histogram(self, summary: Summary) -> Histogram:
        """The distribution in the window of a cell of the matrix.

        The window's last hour may have got more samples since the cell was written.
        """
        source, target = summary.region_from, summary.region_to
        begin, end = summary.window_start, summary.updated_at

        def ask() -> Histogram:
            buckets: list[Bucket] = []
            for level, starts in windows.cover(begin, end):
                buckets += self._distributions().between(source, level, starts[0], starts[-1])
            parts = [(bucket.method, bucket.distribution.only(target)) for bucket in buckets]
            methods = sorted({method for method, part in parts if len(part.counts)})
            merged = merge(part for _, part in parts)
            return _histogram(merged, origin_of(buckets) if buckets else None, tuple(methods))

        return self._once(("histogram", source, target, begin, end), ask)

    def samples(
        self,
        source: str,
        target: str,
        start: datetime,
        end: datetime,
        limit: int = MAX_PAGE,
        cursor: str | None = None,
    ) -> SamplePage:
        """The pair's single attempts of up to `limit` runs, oldest first."""
        return self._once(
            ("samples", source, target, start, end, limit, cursor),
            lambda: RunTable(self._client(), self._prefix).page(
                source, target, start, end, limit, cursor
            ),
        )

    def _distributions(self) -> DistributionTable:
        return DistributionTable(self._client(), self._prefix)


def _histogram(merged: Distribution, origin: str | None, methods: tuple[str, ...]) -> Histogram:
    failures = merged.failures[0] if len(merged.failures) else ()
    return Histogram(
        units=tuple(int(u) for u in merged.units),
        counts=tuple(int(c) for c in merged.counts),
        failures={r: int(n) for r, n in zip(REASONS, failures, strict=False) if n},
        origin=origin,
        methods=methods,
    )
