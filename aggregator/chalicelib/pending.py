"""Which hours of a source have to be looked at, and which new runs are refused; pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cloudping.buckets import Checkpoint
from cloudping.errors import ItemError
from cloudping.items import YEARS, Batch
from cloudping.periods import HOUR, floor, following
from cloudping.runs import RunKey
from cloudping.times import to_iso

from .reader import AHEAD, in_future
from .schedule import LONGEST_SILENCE

# How long before the checkpoint a run may have been stamped and still not been seen: the index is
# eventually consistent (mostly under a second), the probe stamps before it writes, and botocore may
# try for about a minute.
OVERLAP: Final = timedelta(minutes=5)
# A run may come so long after its time. A probe takes an event for 2 days; a run that could not be
# written comes back from CloudWatch's logs, which are kept for 14. What is older was brought by
# hand, or has a time that is none (the Lambda console's test event is of 1970): `python -m infra
# backfill` counts it if it is asked to.
MAX_LATENESS: Final = timedelta(days=15)
KEPT_SEEN: Final = 20  # a run a minute makes six in the overlap
NOTHING_YET: Final = datetime(YEARS[0], 1, 2, tzinfo=UTC)  # before all runs, and can be read


@dataclass(frozen=True, slots=True)
class Pending:
    """What is to be done for a source.

    `hours` maps each hour to look at to the runs in it that may be new. `newest` is the time of the
    newest of these runs, `earliest` the hour of the oldest one that the source has. `refused` are
    the errors of new runs that will not be counted. `ingested_until` is the checkpoint once all of
    it is done, `seen` are the last runs that are in the buckets then.
    """

    hours: Mapping[datetime, Collection[datetime]]
    newest: datetime | None
    earliest: datetime | None
    refused: Sequence[ItemError]
    ingested_until: datetime
    seen: Mapping[str, str]


def since(checkpoint: Checkpoint | None) -> datetime:
    """From when on the index is asked for written runs."""
    return NOTHING_YET if checkpoint is None else checkpoint.ingested_until - OVERLAP


def pending(
    keys: Batch[RunKey], checkpoint: Checkpoint | None, now: datetime, is_active: bool, table: str
) -> Pending:
    """What the keys of newly written runs, and the time that has gone by, ask for.

    `is_active`: its probe should be running, so that an hour without a run is one that is missing.
    """
    refused = [*keys.bad]
    usable = []
    for key in keys:
        error = refusal(key, now, table)
        if error is None:
            usable.append(key)
        else:
            refused.append(error)
    new: dict[datetime, list[datetime]] = defaultdict(list)
    # What the overlap finds again is in the buckets, and in what rests on them.
    seen = {} if checkpoint is None else checkpoint.seen
    for key in usable:
        if seen.get(to_iso(key.timestamp)) == to_iso(key.written_at):
            continue
        new[floor(HOUR, key.timestamp)].append(key.timestamp)
    written = max((key.written_at for key in keys), default=since(checkpoint))
    known = [] if checkpoint is None or checkpoint.earliest is None else [checkpoint.earliest]
    silent = dict.fromkeys(_elapsed(checkpoint, new, now, is_active), ())
    hours: dict[datetime, Collection[datetime]] = {**silent, **new}
    if checkpoint is not None:
        hours = _less_what_is_done(hours, usable, checkpoint)
        written = max(written, checkpoint.ingested_until)
    # The newest stamp seen, not this clock's time: one that is ahead would hide what comes.
    ingested_until = min(written, now)
    again = [key for key in usable if key.written_at >= ingested_until - OVERLAP]
    return Pending(
        hours=hours,
        newest=max((key.timestamp for key in usable), default=None),
        earliest=min([*new, *known], default=None),
        refused=refused,
        ingested_until=ingested_until,
        seen={to_iso(key.timestamp): to_iso(key.written_at) for key in again[-KEPT_SEEN:]},
    )


def refusal(key: RunKey, now: datetime, table: str) -> ItemError | None:
    """Why a new run is not counted; None where it is."""
    if key.timestamp > min(now, key.written_at) + AHEAD:
        return in_future(table, key.region, key.timestamp)
    if key.written_at - key.timestamp > MAX_LATENESS:
        at = to_iso(key.timestamp)
        return ItemError(
            table, f"{key.region}/{at}", "timestamp", at,
            f"a time at most {MAX_LATENESS.days} days before {to_iso(key.written_at)}, when it was "
            "written; to count it all the same, run backfill",
        )  # fmt: skip
    return None


def _elapsed(
    checkpoint: Checkpoint | None, new: Iterable[datetime], now: datetime, is_active: bool
) -> list[datetime]:
    """The hours to look at besides those with new runs.

    Those since the last run of the aggregator, the present one included, and those between a late
    run and what was the earliest: in any of them, runs may be missing.
    """
    oldest = max(min(new, default=floor(HOUR, now)), floor(HOUR, now - LONGEST_SILENCE))
    if checkpoint is None:
        return list(_range(oldest, now))
    start = floor(HOUR, min(checkpoint.rolled_until, now))  # later only if a clock went back
    start = max(start, floor(HOUR, now - LONGEST_SILENCE))
    if not is_active:
        return [start]  # so that its day and month are closed
    late = _range(oldest, checkpoint.earliest) if checkpoint.earliest is not None else []
    return [*late, *_range(start, now)]


def _range(start: datetime, end: datetime) -> Iterator[datetime]:
    """The hours that begin from start to end."""
    while start <= end:
        yield start
        start = following(HOUR, start)


def _less_what_is_done(
    hours: Mapping[datetime, Collection[datetime]],
    keys: Iterable[RunKey],
    checkpoint: Checkpoint,
) -> dict[datetime, Collection[datetime]]:
    """The hours that an unfinished pass has left, and those that have got more since it began."""
    if checkpoint.unfinished is None:
        return dict(hours)
    began, done = checkpoint.unfinished.began, checkpoint.unfinished.done
    again = {floor(HOUR, key.timestamp) for key in keys if key.written_at > began - OVERLAP}
    start = floor(HOUR, checkpoint.rolled_until)
    return {
        hour: runs for hour, runs in hours.items() if hour > done or hour >= start or hour in again
    }
