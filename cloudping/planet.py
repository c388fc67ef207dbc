"""The simulated network between regions: what a connect would have taken, from a seed.

For the local stack only; whatever comes from here is marked `network: simulated`. Pure and
deterministic: the same pair, minute and attempt always give the same answer. Built on light in
fibre along the great circle, with a stretch per pair, route changes after weeks, a daily rhythm,
jitter with a long tail, rare loss, and outages of pairs and of targets.

The model is written once and runs on plain numbers (a probe has no numpy) and on arrays (a year
of history): `xp` is `math` or `numpy`, conditions are multiplied instead of branched on.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from zlib import crc32

from cloudping.regions import CATALOGUE, fibre_rtt_ms
from cloudping.runs import Attempt

_MASK = (1 << 64) - 1
_MINUTES_A_DAY = 1440
_CHINA = "aws-cn"


@dataclass(frozen=True, slots=True)
class _Pair:
    """What does not change from minute to minute for a directed pair."""

    key: int
    target_key: int
    base_ms: float
    rhythm_share: float  # how much of the base the busy hours add
    busy_minute: float  # when it is busiest, minute of the day in UTC
    jitter_ms: float
    loss: float  # probability for a single attempt
    route_days: int  # how long a route lasts


def connects(
    source: str, target: str, moment: datetime, attempts: int, seed: int = 0
) -> tuple[Attempt, ...]:
    """What a run's attempts at a target would have given at a moment (to the minute)."""
    pair = _pair(source, target, seed)
    minute = int(moment.timestamp()) // 60
    outcome = []
    for number in range(attempts):
        latency_ms, retransmitted, lost = _measure(pair, minute, number, math)
        connect_ms = round(latency_ms + 0.06, 3)
        if lost:
            outcome.append(Attempt(None, None, 1, "timeout"))
        elif retransmitted:
            # The kernel repeats a SYN after one second (RFC 6298).
            outcome.append(Attempt(None, connect_ms + 1000, 1, "retransmitted"))
        else:
            outcome.append(Attempt(round(latency_ms, 3), connect_ms))
    return tuple(outcome)


def latencies_ms(source: str, target: str, minutes: Any, attempts: int, seed: int = 0) -> Any:
    """The same for many runs at once: an array [run, attempt] of ms, NaN where there is none.

    `minutes` is an integer array of minutes since the epoch.
    """
    import numpy as np

    minute = np.asarray(minutes, np.uint64)[:, None]
    number = np.arange(attempts, dtype=np.uint64)[None, :]
    latency_ms, retransmitted, lost = _measure(_pair(source, target, seed), minute, number, np)
    return np.where(lost | retransmitted, np.nan, np.round(latency_ms, 3))


def address(target: str) -> str:
    """A stand-in for the target's address, from the range for documentation (RFC 5737)."""
    return (
        f"203.0.113.{1 + list(CATALOGUE).index(target)}" if target in CATALOGUE else "203.0.113.0"
    )


def _measure(pair: _Pair, minute: Any, number: Any, xp: Any) -> tuple[Any, Any, Any]:
    """(latency in ms, SYN was repeated, nothing came back) of one attempt or of arrays of them."""
    day = minute // _MINUTES_A_DAY
    of_day = minute % _MINUTES_A_DAY
    attempt = _mix(_mix(pair.key ^ minute) ^ number)

    phase = 2 * math.pi * (of_day - pair.busy_minute) / _MINUTES_A_DAY
    rhythm = pair.rhythm_share * (1 + xp.cos(phase)) / 2
    route = 0.07 * _uniform(pair.key ^ _mix(day // pair.route_days)) ** 2
    usual_ms = pair.base_ms * (1 + rhythm + route)

    jitter_ms = -pair.jitter_ms * xp.log(1 - _uniform(attempt))
    is_spike = _uniform(_mix(attempt ^ 1)) < 0.006
    spike_ms = is_spike * -(4 + 0.12 * pair.base_ms) * xp.log(1 - _uniform(_mix(attempt ^ 2)))

    trouble = 0.7 * _in_outage(pair.key, day, of_day, 0.004) + 0.9 * _in_outage(
        pair.target_key, day, of_day, 0.002
    )
    luck = _uniform(_mix(attempt ^ 3))
    lost = luck < 0.3 * pair.loss + trouble
    retransmitted = (luck < pair.loss + trouble) & (luck >= 0.3 * pair.loss + trouble)
    return usual_ms + jitter_ms + spike_ms, retransmitted, lost


def _in_outage(key: int, day: Any, of_day: Any, share_of_days: float) -> Any:
    """True within the outage of a day that has one: 5 to 60 minutes at some time of the day."""
    chance = _mix(key ^ _mix(day ^ 7))
    start = _uniform(_mix(chance ^ 1)) * (_MINUTES_A_DAY - 60)
    length = 5 + 55 * _uniform(_mix(chance ^ 2))
    return (_uniform(chance) < share_of_days) & (of_day >= start) & (of_day < start + length)


@cache
def _pair(source: str, target: str, seed: int) -> _Pair:
    a, b = CATALOGUE[source], CATALOGUE[target]
    both = _key("|".join(sorted((source, target))), seed)
    one_way = _key(f"{source}>{target}", seed)
    fibre_ms = fibre_rtt_ms(a, b)
    # Cables do not follow great circles: 1.15 to 1.7 times the distance is usual, more into China.
    across_border = (a.partition == _CHINA) != (b.partition == _CHINA)
    stretch = 1.15 + 0.55 * _uniform(_mix(both ^ 1)) ** 2 + 0.4 * across_border
    asymmetry = 1 + 0.03 * _uniform(_mix(one_way ^ 1)) ** 3
    base_ms = 0.5 + 0.6 * _uniform(_mix(one_way ^ 2)) + fibre_ms * stretch * asymmetry
    return _Pair(
        key=one_way,
        target_key=_key(target, seed),
        base_ms=base_ms,
        rhythm_share=0.02 * _uniform(_mix(both ^ 3)) * (1 + 4 * across_border),
        busy_minute=_MINUTES_A_DAY * ((14 - b.longitude / 15) % 24) / 24,
        jitter_ms=0.08 + 0.004 * base_ms,
        loss=(0.0002 + 0.001 * _uniform(_mix(both ^ 4)) ** 2) * (1 + 15 * across_border),
        route_days=25 + both % 60,
    )


def _key(text: str, seed: int) -> int:
    return int(_mix(crc32(text.encode()) ^ (seed << 32)))


def _mix(z: Any) -> Any:
    """SplitMix64's finalizer (Steele, Lea, Flood 2014): a number from a number, well stirred."""
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _uniform(z: Any) -> Any:
    """A number in [0, 1) from a stirred one."""
    return (z >> 11) / (1 << 53)
