"""Reads the snapshot that is served, and renews it in the background."""

import gc
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from cloudping.buckets import DistributionTable
from cloudping.changes import Change, ChangeTable, State
from cloudping.errors import CloudPingError, ItemError
from cloudping.items import Batch, T
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import Run, RunTable
from cloudping.summaries import TIMEFRAMES, Summary, SummaryTable
from cloudping.times import utc_now
from frontend.data.now import NOW, summaries_of_run
from frontend.data.snapshot import CHANGES_YEARS, DAY, Failure, Pair, Snapshot

log = logging.getLogger(__name__)

# Each row of each timeframe is read anew this often, whatever the aggregator's marks say.
ROWS_EVERY: Final = timedelta(minutes=10)
# The keys of a day's runs are read anew this often, to find those that came late.
KEYS_EVERY: Final = timedelta(minutes=15)
# AWS has some forty; a page of all pairs has the square of it.
MAX_REGIONS: Final = 100
# Between two queries of a refresh, so that parsing their answers does not hold up requests.
PAUSE_S: Final = 0.05


class Keeper:
    """Holds the snapshot that is served, and renews it."""

    def __init__(
        self,
        client: Callable[[], Any],
        prefix: str,
        refresh_s: float,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`client` gives the DynamoDB client; it is not called before the first refresh."""
        self._client, self._prefix = client, prefix
        self._refresh_s, self._clock = refresh_s, clock
        self._marks: dict[str, Mapping[str, str]] = {}
        self._row_due_at: dict[tuple[str, str], datetime] = {}
        self._pause_s = 0.0
        self._keys_read_at: datetime | None = None
        self._changes_state: State | None = None
        self._stop = threading.Event()
        self.snapshot = Snapshot()

    def start(self) -> None:
        """Refreshes from now on in a daemon thread, at once for the first time."""
        # While a refresh parses items, a short switch interval keeps requests from waiting 5 ms
        # each time that they want the interpreter back.
        sys.setswitchinterval(0.0005)
        threading.Thread(target=self._run, name="snapshot", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            if self.snapshot.number == 1:
                # What start-up made stays: the collector need not go through all of it again and
                # again, each time stopping every request for as long as rendering a page takes.
                gc.collect()
                gc.freeze()
            # Until everything has come up, look more often than a day's traffic would warrant.
            wait_s = min(self._refresh_s, 5.0) if self.snapshot.missing else self._refresh_s
            self._stop.wait(wait_s)

    def refresh(self) -> None:
        """Reads what may have changed; when that fails, keeps what there was and says so."""
        old = self.snapshot
        try:
            self.snapshot = self._read(old)
        except Exception as error:  # whatever it is, the pages go on with what they have
            expected = isinstance(error, CloudPingError)
            log.log(logging.WARNING if expected else logging.ERROR, "refresh failed: %s", error,
                    exc_info=not expected)  # fmt: skip
            since = old.failure.since if old.failure else self._clock()
            self.snapshot = replace(
                old, number=old.number + 1, failure=Failure(since, _in_plain_words(error))
            )

    def _read(self, old: Snapshot) -> Snapshot:
        now = self._clock()
        client = self._client()
        states = self._states(client, old)
        known = {state.region.code for state in states}
        # A region that measures no more has rows until its windows have passed.
        rows = {source for frame in old.cells.values() for source, _ in frame} & known
        codes = [s.region.code for s in states if s.is_source or s.region.code in rows]
        runs, seen = self._runs(client, old, [s for s in states if s.is_source], now)
        read = {NOW: _last_runs(old, runs), **self._figures(client, old, codes, now)}
        # Figures of a region whose item was deleted are in the table still; nobody renews them.
        cells: dict[str, Mapping[Pair, Summary]] = {
            name: {pair: cell for pair, cell in frame.items() if known.issuperset(pair)}
            for name, frame in read.items()
        }
        # Until every timeframe has figures they are wanted soon; later reads must not be felt.
        self._pause_s = PAUSE_S if all(cells[name] for name in TIMEFRAMES) else 0.0
        changes, until = self._changes(client, old, now)
        return Snapshot(old.number + 1, now, states, cells, runs, seen, changes, until)

    def _states(self, client: Any, old: Snapshot) -> tuple[RegionState, ...]:
        """The catalogue; of a region whose item makes no sense, what was known of it before.

        Of more than `MAX_REGIONS`, those of AWS' catalogue and then the first are taken: a page of
        all pairs grows with the square, and has to be rendered while others wait.
        """
        states = _noted(RegionTable(client, self._prefix).all())
        broken = {error.key for error in states.bad}
        states += [state for state in old.states if state.region.code in broken]
        if len(states) > MAX_REGIONS:
            log.error("%s has %d regions; %d are shown", RegionTable.NAME, len(states), MAX_REGIONS)
            states.sort(key=lambda state: (state.region.code not in CATALOGUE, state.region.code))
        return tuple(sorted(states[:MAX_REGIONS], key=lambda state: state.region.code))

    def _figures(
        self, client: Any, old: Snapshot, codes: list[str], now: datetime
    ) -> dict[str, dict[Pair, Summary]]:
        """The matrix of each timeframe; a row is read when the aggregator marks it, or in its turn.

        It fingerprints what it wrote of a source and timeframe, after writing it. The marks are
        read first, so that a change in between is seen the next time.
        """
        table = SummaryTable(client, self._prefix)
        buckets = DistributionTable(client, self._prefix)
        marks = {}
        for code in codes:
            marks[code] = _marks(buckets, code)
            self._stop.wait(self._pause_s)
        cells = {name: dict(old.cells.get(name, {})) for name in TIMEFRAMES}
        due_at = dict(self._row_due_at)
        rows = [(timeframe, code) for timeframe in TIMEFRAMES for code in codes]
        for timeframe, matrix in cells.items():
            first = not self._row_due_at
            if first:
                whole = _noted(table.all(timeframe))
                matrix.update(((s.region_from, s.region_to), s) for s in whole)
                # From now on one row after the other, so that no refresh has much to read.
                due_at |= {
                    row: now + ROWS_EVERY * (k + 1) / len(rows)
                    for k, row in enumerate(rows)
                    if row[0] == timeframe
                }
                continue
            for code in codes:
                mark = marks[code].get(timeframe)
                changed = mark is None or mark != self._marks.get(code, {}).get(timeframe)
                due = now >= due_at.get((timeframe, code), now)
                if due:
                    due_at[timeframe, code] = now + ROWS_EVERY
                elif not changed:
                    continue
                row = _noted(table.of_source(timeframe, code))
                for pair in [pair for pair in matrix if pair[0] == code]:
                    del matrix[pair]
                matrix.update(((s.region_from, s.region_to), s) for s in row)
                self._stop.wait(self._pause_s)
        self._marks, self._row_due_at = marks, due_at
        return cells

    def _changes(
        self, client: Any, old: Snapshot, now: datetime
    ) -> tuple[tuple[Change, ...], date | None]:
        """All events, read when the aggregator has written some; one read unit says whether."""
        table = ChangeTable(client, self._prefix)
        try:
            state = table.state()
            if state is None:
                return (), None
            if state == self._changes_state:
                return old.changes, old.changes_until
            found = table.all(now.year - CHANGES_YEARS + 1, now.year)
        except CloudPingError as failure:  # the figures are shown all the same
            log.error("%s", failure)
            return old.changes, old.changes_until
        for error in found.bad:
            log.error("%s", error)
        self._changes_state = state
        return tuple(found), state.until

    def _runs(
        self, client: Any, old: Snapshot, sources: list[RegionState], now: datetime
    ) -> tuple[dict[str, Run], dict[str, tuple[datetime, ...]]]:
        """The newest run of each source, and when it ran within the last day.

        Only runs newer than the last known one are read, and the keys of a day's runs from the
        keys-only index: a refresh costs a few read units a source instead of hundreds.
        """
        table = RunTable(client, self._prefix)
        all_keys = self._keys_read_at is None or now - self._keys_read_at >= KEYS_EVERY
        runs, seen = {}, {}
        for state in sources:
            code = state.region.code
            last = old.runs.get(code)
            fresh: Sequence[Run] = []
            if last is None:
                newest = table.latest(code, now)
                fresh = [newest] if newest else []
            elif now >= last.timestamp + _interval(last, state):
                fresh = table.between(code, last.timestamp + timedelta(milliseconds=1), now)
                self._stop.wait(self._pause_s)
            if newest_run := (fresh[-1] if fresh else last):
                runs[code] = newest_run
            times = {run.timestamp for run in fresh} | set(old.seen.get(code, ()))
            if all_keys or last is None:
                times |= {key.timestamp for key in table.written_since(code, now - DAY)}
            seen[code] = tuple(sorted(t for t in times if now - DAY < t <= now))
        if all_keys:
            self._keys_read_at = now
        return runs, seen


def _marks(buckets: DistributionTable, code: str) -> Mapping[str, str]:
    """What the aggregator last wrote of a source; nothing where that cannot be read."""
    try:
        checkpoint = buckets.checkpoint(code)
    except ItemError as error:
        log.error("%s", error)
        return {}
    return checkpoint.written if checkpoint else {}


def _noted(found: Batch[T]) -> Batch[T]:
    """What could be read; an item that makes no sense is named in the log and left out."""
    for error in found.bad:
        log.error("%s", error)
    return found


def _last_runs(old: Snapshot, runs: Mapping[str, Run]) -> dict[Pair, Summary]:
    """The cells of `now`; those of a run that is still the last one are taken over."""
    cells: dict[Pair, Summary] = {}
    for code, run in runs.items():
        if run is old.runs.get(code):
            known = old.cells[NOW]
            row = [known[pair] for target in run.results if (pair := (code, target)) in known]
        else:
            row = list(summaries_of_run(run))
        cells |= {(s.region_from, s.region_to): s for s in row}
    return cells


def _interval(last: Run, state: RegionState) -> timedelta:
    """How long until the next run: the shorter of what the last run and the catalogue say.

    The last run alone would hide for a whole old interval that the schedule was made denser.
    """
    return timedelta(seconds=min(last.interval_s, state.interval_s or last.interval_s))


def _in_plain_words(error: Exception) -> str:
    text = str(error)
    if "ResourceNotFoundException" in text:
        return "The tables do not exist yet; they are being created, or the prefix is wrong."
    if "Could not connect" in text or "Connection" in text:
        return "DynamoDB cannot be reached."
    if isinstance(error, CloudPingError):
        return "DynamoDB did not answer as it should; the log has the details."
    return "The tables could not be read; the log has the details."
