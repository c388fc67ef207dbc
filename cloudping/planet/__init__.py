"""The simulated network between regions: what a connect would have taken, from a seed.

For the local stack and tests only; whatever comes from here is marked `network: simulated`. Pure
and deterministic: the same pair, minute and attempt always give the same answer, on every
platform. Built on what was measured between the regions (`links.py`), with a detour of its own
per pair, a daily rhythm, slow and fast noise, rare loss, and level shifts and outages that
`shifts` and `outages` name (`events.py`).

The model is written once and runs on plain numbers (a probe has no numpy) and on arrays (a year
of history): conditions are multiplied instead of branched on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import sqrt
from typing import Any

from cloudping.planet import events
from cloudping.planet.events import Outage, Shift, outages, shifts
from cloudping.planet.links import base_ms
from cloudping.planet.noise import key, mix, pair_key, tail, uniform, wander
from cloudping.regions import CATALOGUE
from cloudping.runs import Attempt

__all__ = ["Outage", "Shift", "address", "base_ms", "connects", "latencies_ms", "outages", "shifts"]

_DAY = 1440
_CHINA = "aws-cn"


@dataclass(frozen=True, slots=True)
class _Pair:
    """What does not change from minute to minute for a directed pair."""

    source: str
    target: str
    seed: int
    key: int  # of the direction
    both: int  # of the pair: the round trip is the same both ways
    base_ms: float
    busy_ms: float  # what the busiest hour adds
    busy_minutes: tuple[int, int]  # of the day in UTC, when it is busiest at either end
    wander_ms: float  # how far the level wanders in days and in hours
    jitter_ms: float  # scale of what each attempt adds
    loss: float  # probability for a single attempt


def connects(
    source: str,
    target: str,
    moment: datetime,
    attempts: int,
    seed: int = 0,
    activity: float = 1.0,
) -> tuple[Attempt, ...]:
    """What a run's attempts at a target would have given at a moment (to the minute).

    `activity` is how many shifts and outages there are for each that is usual: 0 for none.
    Raises UnknownRegionError for a region that the map of links does not have.
    """
    pair = _pair(source, target, seed)
    minute = int(moment.timestamp()) // 60
    level_ms, trouble = _level(pair, minute, activity)
    outcome = []
    for number in range(attempts):
        latency_ms, retransmitted, lost = _attempt(pair, level_ms, trouble, minute, number, sqrt)
        latency_ms = round(latency_ms * 1000) / 1000
        connect_ms = round(latency_ms + 0.06, 3)
        if lost:
            outcome.append(Attempt(None, None, 1, "timeout"))
        elif retransmitted:
            # The kernel repeats a SYN after one second (RFC 6298).
            outcome.append(Attempt(None, connect_ms + 1000, 1, "retransmitted"))
        else:
            outcome.append(Attempt(latency_ms, connect_ms))
    return tuple(outcome)


def latencies_ms(
    source: str,
    target: str,
    minutes: Any,
    attempts: int,
    seed: int = 0,
    activity: float = 1.0,
) -> Any:
    """The same for many runs at once: an array [run, attempt] of ms, NaN where there is none.

    `minutes` is an integer array of minutes since the epoch.
    """
    import numpy as np

    pair = _pair(source, target, seed)
    minute = np.asarray(minutes, np.uint64)[:, None]
    number = np.arange(attempts, dtype=np.uint64)[None, :]
    level_ms, trouble = _level(pair, minute, activity)
    latency_ms, retransmitted, lost = _attempt(pair, level_ms, trouble, minute, number, np.sqrt)
    return np.where(lost | retransmitted, np.nan, np.rint(latency_ms * 1000) / 1000)


def address(target: str) -> str:
    """A stand-in for the target's address, from the range for documentation (RFC 5737)."""
    return (
        f"203.0.113.{1 + list(CATALOGUE).index(target)}" if target in CATALOGUE else "203.0.113.0"
    )


def _level(pair: _Pair, minute: Any, activity: float) -> tuple[Any, Any]:
    """(round trip in ms without jitter, share that an outage takes) of one run or an array."""
    # 1970-01-01 was a Thursday. Offices are closed at the weekend, whatever the calendar.
    weekday = (minute // _DAY + 4) % 7
    closed = (weekday == 0) | (weekday == 6)
    west, east = (_busy(minute, busiest) for busiest in pair.busy_minutes)
    busy = (west + east) / 2 * (1 - 0.5 * closed)
    slow = wander(mix(pair.both ^ 1), minute, 3 * _DAY)
    fast = wander(mix(pair.both ^ 2), minute, 180)
    level_ms = pair.base_ms + pair.busy_ms * busy + pair.wander_ms * 2 * (slow + fast)
    which = (pair.source, pair.target, minute, pair.seed, activity)
    return level_ms + events.shift_ms(*which), events.outage(*which)


def _busy(minute: Any, busiest: int) -> Any:
    """A day's hump: 1 at the busiest minute, 0 twelve hours from it."""
    phase = (minute + (_DAY + _DAY // 2 - busiest)) % _DAY / _DAY
    hump = 4 * phase * (1 - phase)
    return hump * hump


def _attempt(
    pair: _Pair,
    level_ms: Any,
    trouble: Any,
    minute: Any,
    number: Any,
    root: Callable[[Any], Any],
) -> tuple[Any, Any, Any]:
    """(latency in ms, SYN was repeated, nothing came back) of one attempt or of arrays of them."""
    luck = mix(mix(pair.key ^ minute) ^ number)
    latency_ms = level_ms + pair.jitter_ms * tail(luck, root)
    fate = uniform(mix(luck))
    # Two in three lost packets are made good by the repeated SYN; in an outage most are not.
    never = 0.3 * pair.loss + 0.8 * trouble
    return latency_ms, (fate >= never) & (fate < pair.loss + trouble), fate < never


@cache
def _pair(source: str, target: str, seed: int) -> _Pair:
    base = base_ms(source, target, seed)
    a, b = CATALOGUE[source], CATALOGUE[target]
    both = pair_key(source, target, seed)

    def own(number: int) -> float:
        return float(uniform(mix(both ^ number)))

    across_border = (a.partition == _CHINA) != (b.partition == _CHINA)
    return _Pair(
        source=source,
        target=target,
        seed=seed,
        key=key(f"{source}>{target}", seed),
        both=both,
        base_ms=base,
        busy_ms=(0.1 + 0.016 * own(5) * base) * (1 + 2 * across_border),
        busy_minutes=(_busiest(a.longitude), _busiest(b.longitude)),
        wander_ms=0.05 + 0.006 * base,
        jitter_ms=(0.5 + 0.038 * base) * (0.6 + 0.8 * own(6)) * (1 + 2 * across_border),
        loss=(0.0002 + 0.001 * own(7) * own(7)) * (1 + 15 * across_border),
    )


def _busiest(longitude: float) -> int:
    """Three in the afternoon by the sun, as a minute of the day in UTC."""
    return int((15 - longitude / 15) * 60) % _DAY
