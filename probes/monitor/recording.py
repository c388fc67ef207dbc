"""Writes what was observed to PingTest, a run a minute, so that a pair is on the matrix pages."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from threading import Event, Thread
from typing import Any, Final

from cloudping import dynamo, runs
from cloudping.regions import CATALOGUE, Region, RegionState, RegionTable
from cloudping.runs import (
    METHOD_CONNECT,
    METHOD_KERNEL,
    ORIGIN_AWS,
    Attempt,
    Run,
    RunTable,
    TargetResult,
)
from cloudping.settings import Settings
from cloudping.times import floor_minute, to_iso, utc_now
from monitor.logs import log, say
from monitor.observations import History, Observation
from monitor.settings import MonitorSettings

MINUTE: Final = timedelta(minutes=1)
KEPT_FOR_LATER: Final = 1440  # runs that could not be written yet: a day
CAUGHT_UP: Final = timedelta(minutes=55)  # how far back minutes without a run are made up for
# Two writes that fail must not take the minute: three attempts of 3 s and their pauses are 12 s.
TIMEOUT_S: Final = 3
ATTEMPTS: Final = 3


def run_of(
    minute: datetime, observed: Mapping[str, list[Observation]], settings: MonitorSettings
) -> Run:
    """The run of a minute from each target's observations due within it.

    A measurement that is missing is `not_tried`: it lowers coverage and is no loss.
    """
    if settings.near is None:
        raise ValueError("no RECORD_SOURCE is set: nothing to record as")
    expected = round(60 / settings.interval_s)
    everything = [o for observations in observed.values() for o in observations]
    return Run(
        region=settings.source,
        timestamp=minute,
        partition=settings.near.partition,
        interval_s=60,
        attempts_per_target=expected,
        method=METHOD_CONNECT
        if any(o.method == METHOD_CONNECT for o in everything)
        else METHOD_KERNEL,
        origin=ORIGIN_AWS,
        results={
            target.code: _result(target.host, observed[target.key], expected)
            for target in settings.targets
        },
        lateness_ms=max((o.late_s for o in everything), default=0.0) * 1000,
        written_at=utc_now(),
    )


def _result(host: str, observations: list[Observation], expected: int) -> TargetResult:
    missing = (Attempt(None, reason="not_tried"),) * (expected - len(observations))
    found = dict.fromkeys(o.address for o in observations if o.address is not None)
    addresses = tuple(found)
    if len(found) > 1:  # the name's answer changed: one each, so that attempts keep theirs
        addresses = tuple(o.address or addresses[0] for o in observations)
    lookups_ms = [o.dns_ms for o in observations if o.dns_ms is not None]
    return TargetResult(
        host=host,
        addresses=addresses,
        dns_ms=max(lookups_ms, default=None),
        attempts=(*(o.attempt for o in observations), *missing),
    )


def states(settings: MonitorSettings) -> list[RegionState]:
    """What the pair puts into cloudping_regions: its source, and targets that are no AWS region.

    No target is one for other probes: only this monitor knows how to reach it.
    """
    if settings.near is None:
        raise ValueError("no RECORD_SOURCE is set: nothing to record as")
    near = settings.near

    def place(code: str, host: str) -> Region:
        return Region(code, code, near.partition, host, "Pairs", near.place,
                      near.latitude, near.longitude)  # fmt: skip

    source = RegionState(place(settings.source, settings.source), True, False, interval_s=60)
    return [
        source,
        *(
            RegionState(place(target.code, target.host), False, False)
            for target in settings.targets
            if target.code not in CATALOGUE
        ),
    ]


def home_client(tables: Settings) -> Any:
    return dynamo.client(tables.home_region, tables.endpoint_url or None, TIMEOUT_S, ATTEMPTS)


class Recorder(Thread):
    """Writes each minute's run some seconds after it is over; what fails is tried again.

    A run goes to the log before it is written, as a probe's does, so that `infra recover` can
    read it back from there.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        tables: Settings,
        history: History,
        make_client: Callable[[Settings], Any] = home_client,
    ) -> None:
        super().__init__(name="recorder", daemon=True)
        self._settings, self._tables, self._history = settings, tables, history
        self._grace = timedelta(seconds=settings.timeout_s + 1)
        self._waiting: deque[Run] = deque(maxlen=KEPT_FOR_LATER)
        self._client = cache(lambda: make_client(tables))
        self._registered = False
        self._ending = Event()

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> None:
        minute = floor_minute(utc_now())
        while True:
            due = minute + MINUTE + self._grace
            if self._ending.wait(max(0.0, (due - utc_now()).total_seconds())):
                return
            try:
                self.record(minute)
            except Exception as error:  # whatever it is, the next minute's run may be written
                log("not_recorded", minute=to_iso(minute), error=repr(error))
            # Minutes that passed while the tables kept us waiting are in the history for an hour.
            minute = max(minute + MINUTE, floor_minute(utc_now()) - CAUGHT_UP)

    def record(self, minute: datetime) -> None:
        """Logs and writes the run of a minute, and writes those that could not be before."""
        start, end = minute.timestamp(), (minute + MINUTE).timestamp()
        observed = {
            target.key: [o for o in self._history.of(target.key, start) if o.at < end]
            for target in self._settings.targets
        }
        made = run_of(minute, observed, self._settings)
        say(f'{{"event":"run","run":{runs.to_json(made)}}}')
        self._waiting.append(made)
        try:
            self._write()
        except Exception as error:
            log("not_written", error=str(error), waiting=len(self._waiting))

    def _write(self) -> None:
        client, prefix = self._client(), self._tables.table_prefix
        if not self._registered:
            table = RegionTable(client, prefix)
            for state in states(self._settings):
                table.add(state)  # the aggregator notes its data in it
            self._registered = True
        written = RunTable(client, prefix)
        failed: Exception | None = None
        for _ in range(len(self._waiting)):
            try:
                written.put_once(self._waiting[0])
            except Exception as error:
                # The others go before it from now on: a run that can never be written holds none
                # of them up. A second failure says that it is the table.
                self._waiting.rotate(-1)
                if failed is not None:
                    raise
                failed = error
            else:
                self._waiting.popleft()
        if failed is not None:
            raise failed
