"""One run of the aggregator: what has changed of each source, its buckets, and what rests on them.

A source at a time, so that memory is bounded by one source; the one that has waited longest comes
first. Whatever one of them raises stops only that one. One that has a long way to go does a stretch
of it, and then it is the next one's turn. Nothing is marked as done before all of it is written,
and every write can be repeated: after a kill, the next run goes on where the last stretch ended.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from time import perf_counter, process_time
from typing import Any, Final

from cloudping.buckets import Checkpoint, Unfinished
from cloudping.errors import CloudPingError, ItemError, UnknownRegionError
from cloudping.periods import DAY, HOUR, floor, following
from cloudping.regions import RegionState, suggest
from cloudping.times import utc_now

from .pending import NOTHING_YET, OVERLAP, Pending, pending, since
from .reader import RunReader
from .rollup import Hours, roll_up
from .rows import due, renew, write_days
from .tables import ConflictError, Counts, Pass, Tables

log = logging.getLogger(__name__)

STRETCH_DAYS: Final = 31  # a stretch is at most so many days,
STRETCH_BUSY: Final = 48  # and ends with the day in which so many hours with new runs are reached
RESERVE_S: Final = 30.0  # what was begun may take so long: the days and rows of a source, health
KEPT_REFUSALS: Final = 20  # are named in the checkpoint; all are counted


class UnfinishedError(CloudPingError):
    """Some sources failed; the next run tries again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A source that is to be brought up to date, and its checkpoint.

    `is_broken`: there is a checkpoint that cannot be read; it is begun anew.
    """

    source: RegionState
    checkpoint: Checkpoint | None
    is_broken: bool = False

    @property
    def since(self) -> datetime:
        """When its checkpoint was last moved; a source that has none has waited longest."""
        if self.checkpoint is None:
            return NOTHING_YET
        return self.checkpoint.updated_at or self.checkpoint.rolled_until


def run(
    tables: Tables,
    reader: RunReader,
    *,
    sources: Collection[str] | None = None,
    clock: Callable[[], datetime] = utc_now,
    remaining_s: Callable[[], float] = lambda: inf,
) -> dict[str, Any]:
    """Brings every source, or those named, up to date; returns the counts for the log.

    A source that fails does not keep the others from being done; its message is under `failed`.
    What `remaining_s`, the time that the process has left, does not suffice for is `unfinished`:
    the next run goes on there. Raises UnknownRegionError for a source that is no region.
    """
    began, began_cpu = perf_counter(), process_time()
    total = Counts()
    failed: dict[str, str] = {}
    done: list[str] = []
    unfinished: list[str] = []

    def is_over() -> bool:
        return remaining_s() < RESERVE_S

    waiting = sorted(_waiting(tables, sources, failed, total), key=lambda one: one.since)
    queue = deque(
        (one.source.region.code, _catch_up(tables, reader, one, clock, total, is_over))
        for one in waiting
    )
    while queue and not is_over():
        code, job = queue.popleft()
        try:
            next(job)
        except StopIteration as end:
            (done if end.value else unfinished).append(code)
        except CloudPingError as error:
            failed[code] = str(error)
        except Exception as error:  # whatever it is, the others have nothing to do with it
            log.exception("%s", code)
            failed[code] = f"{type(error).__name__}: {error}"
        else:
            queue.append((code, job))
    unfinished += [code for code, _ in queue]
    return {
        "sources": len(done),
        **{name: getattr(total, name) for name in Counts.__slots__ if name != "bad"},
        "bad_items": len(total.bad),
        "bad_first": [str(error) for error in total.bad.values()][:5],
        "failed": failed,
        "unfinished": unfinished,
        "wall_s": round(perf_counter() - began, 3),
        "cpu_s": round(process_time() - began_cpu, 3),
    }


def _waiting(
    tables: Tables, chosen: Collection[str] | None, failed: dict[str, str], counts: Counts
) -> Iterator[Waiting]:
    """The sources to be done; what cannot be found out of one goes to `failed`."""
    states = tables.regions.all()
    known = {state.region.code: state for state in states}
    broken = {str(error.key): str(error) for error in states.bad}
    for code in chosen if chosen is not None else ():
        if code not in known and code not in broken:
            raise UnknownRegionError(code, suggest(code))
    failed |= {code: why for code, why in broken.items() if chosen is None or code in chosen}
    for code, state in known.items():
        if chosen is not None and code not in chosen:
            continue
        try:
            checkpoint = tables.distributions.checkpoint(code)
        except ItemError as error:  # it is made anew, as a bucket is, from all runs
            counts.report([error])
            yield Waiting(state, None, is_broken=True)
        except Exception as error:
            log.exception("%s", code)
            failed[code] = str(error) if isinstance(error, CloudPingError) else repr(error)
        else:
            if checkpoint is not None or state.is_source:
                yield Waiting(state, checkpoint)


def _catch_up(
    tables: Tables,
    reader: RunReader,
    waiting: Waiting,
    clock: Callable[[], datetime],
    total: Counts,
    is_over: Callable[[], bool],
) -> Generator[None, None, bool]:
    """Rolls up what has changed of a source, a stretch at a time, then renews what rests on it.

    Pauses after each stretch but the last. Returns whether the source is up to date, which it is
    not where `is_over` said that there is no time left.
    """
    source, first, now = waiting.source, waiting.checkpoint, clock()
    code, counts, checkpoint = source.region.code, Counts(), first
    try:
        reader.begin(code, None if first is None else first.revision)
        keys = tables.runs.written_since(code, since(first))
        todo = pending(keys, first, now, source.is_source, tables.runs.name)
        counts.report(todo.refused)
        newest = max(filter(None, (todo.newest, source.latest_data)), default=None)
        of = Pass(tables, source, now, newest)
        open_from, touched_old_days = now, False
        left = _stretches(todo.hours)
        while left:
            rolled = roll_up(of, reader, left[0], counts, is_over)
            write_days(of, reader, rolled.days, counts)
            open_from = min(open_from, rolled.open_from)
            touched_old_days |= bool(rolled.days)
            if rolled.done == max(left[0]):
                left = left[1:]
            if (left or is_over()) and rolled.done is not None:
                kept = _kept(code, checkpoint, todo, rolled.done, open_from, now)
                kept = _with_refusals(kept, counts)
                checkpoint = _move(tables, waiting, kept, checkpoint, now)
            if is_over():
                return False
            if left:
                yield
        after = Checkpoint(
            region=code,
            ingested_until=todo.ingested_until,
            rolled_until=open_from,
            earliest=todo.earliest,
            written={} if checkpoint is None else checkpoint.written,
            refused={} if checkpoint is None else checkpoint.refused,
            refused_runs=0 if checkpoint is None else checkpoint.refused_runs,
            seen=todo.seen,
        )
        timeframes = due(first, after, now, touched_old_days)
        written = renew(of, reader, timeframes, after.written, counts)
        if newest is not None and after.earliest is not None and newest != source.latest_data:
            tables.regions.note_data(code, after.earliest, newest)
        after = _with_refusals(replace(after, written=written), counts)
        reader.end(code, _move(tables, waiting, after, checkpoint, now).revision)
        return True
    finally:
        total.add(counts)


def _stretches(hours: Hours) -> list[Hours]:
    """The hours in order, in parts that end with a UTC day."""
    parts: list[dict[datetime, Collection[datetime]]] = [{}]
    busy = 0
    days: set[datetime] = set()
    for hour in sorted(hours):
        day = floor(DAY, hour)
        if day not in days and (busy >= STRETCH_BUSY or len(days) >= STRETCH_DAYS):
            parts.append({})
            busy, days = 0, set()
        days.add(day)
        parts[-1][hour] = hours[hour]
        busy += bool(hours[hour])
    return [part for part in parts if part]


def _kept(
    code: str,
    checkpoint: Checkpoint | None,
    todo: Pending,
    done: datetime,
    open_from: datetime,
    now: datetime,
) -> Checkpoint:
    """The checkpoint of a pass that has come as far as the hour `done`.

    Nothing is summed yet: without fingerprints, the pass that goes on renews every timeframe.
    """
    if checkpoint is None:
        checkpoint = Checkpoint(code, NOTHING_YET + OVERLAP, min(todo.hours))
    at = checkpoint.unfinished
    return replace(
        checkpoint,
        rolled_until=max(checkpoint.rolled_until, min(following(HOUR, done), open_from)),
        unfinished=at if at is not None and at.done > done else Unfinished(now, done),
        written={},
    )


def _with_refusals(checkpoint: Checkpoint, counts: Counts) -> Checkpoint:
    """The checkpoint with the items of this pass that were refused, each of them once."""
    met = {_shown(error.key, 100): _shown(error, 300) for error in counts.bad.values()}
    new = {key: why for key, why in met.items() if key not in checkpoint.refused}
    if not new:
        return checkpoint
    kept = [*checkpoint.refused.items(), *new.items()][-KEPT_REFUSALS:]
    return replace(checkpoint, refused=dict(kept), refused_runs=checkpoint.refused_runs + len(new))


def _shown(said: object, most: int) -> str:
    """As a text that can be read again, whatever the item has in it."""
    return "".join(c if c.isprintable() else "?" for c in str(said)[:most]) or "?"


def _move(
    tables: Tables,
    waiting: Waiting,
    checkpoint: Checkpoint,
    stored: Checkpoint | None,
    now: datetime,
) -> Checkpoint:
    """Moves the checkpoint; if another aggregator has moved it, back to where this pass began.

    For the other may have summed without what this pass has written, and the other way round: the
    next run goes over both again.
    """
    table = tables.distributions
    if stored is None and waiting.is_broken:
        return table.begin_anew(checkpoint, now)
    moved = table.move(checkpoint, stored, now)
    if moved is not None:
        return moved
    first, other = waiting.checkpoint, table.checkpoint(checkpoint.region)
    if other is not None:
        again = replace(
            other,
            ingested_until=NOTHING_YET + OVERLAP
            if first is None
            else min(first.ingested_until, other.ingested_until),
            rolled_until=min((first or checkpoint).rolled_until, other.rolled_until),
            unfinished=None,
            seen={},
            written={},
        )
        table.move(again, other, now)
    raise ConflictError(
        f"{checkpoint.region}: another aggregator ran meanwhile; the next run repeats"
    )
