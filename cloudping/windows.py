"""Which stretch of time a timeframe covers, and the fewest buckets that cover it; pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter

from cloudping.periods import DAY, HOUR, MONTH, floor, following
from cloudping.summaries import TIMEFRAME_DAYS


def start(timeframe: str, now: datetime) -> datetime:
    """Where a timeframe's window begins: a full hour for 1D, else a UTC day."""
    back = now - timedelta(days=TIMEFRAME_DAYS[timeframe])
    return floor(HOUR if timeframe == "1D" else DAY, back)


def cover(begin: datetime, now: datetime) -> Iterator[tuple[str, list[datetime]]]:
    """The fewest buckets from `begin`, a full hour, to the hour of `now`.

    As (level, starts) for each stretch of buckets of one level, which one query can read. A day and
    a month have a bucket once they are over; until then they are covered by the hours and days that
    they are made of.
    """
    for level, group in groupby(_units(begin, now), key=itemgetter(0)):
        yield level, [start for _, start in group]


def _units(begin: datetime, now: datetime) -> Iterator[tuple[str, datetime]]:
    while begin <= now:
        level = next(
            level
            for level in (MONTH, DAY, HOUR)
            if floor(level, begin) == begin and (level == HOUR or following(level, begin) <= now)
        )
        yield level, begin
        begin = following(level, begin)
