"""Ways round: third regions over which two legs take less than the direct way; pure.

Legs are added as whole distributions, taken as independent (docs/planner.md). What forwarding takes
at the third region is not in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import hypot, sqrt
from typing import Final

from cloudping.summaries import Day
from frontend.data.samples import PairSamples, WindowSamples
from frontend.data.snapshot import Pair
from frontend.views.plan.latency import Latency, from_counts, total

SHOWN: Final = 5
LEAST_SAMPLES: Final = 100  # for a P99, as everywhere
# What a gain of medians must exceed on a day, to be more than the noise of two legs.
Z_95: Final = 1.645  # one-sided


@dataclass(frozen=True, slots=True)
class Relay:
    """A third region: what goes through it, and what is won against the direct way, ms."""

    code: str
    p50: float
    p99: float
    gain_p50: float
    gain_p99: float


def relays(window: WindowSamples, source: str, target: str) -> tuple[Relay, ...]:
    """The third regions through which the median or the P99 is lower, most won at first.

    A relay is asked from the source and asks the target; the answer comes back the same way, so
    the round trip is the sum of both round trips. Medians that cannot be lower are not convolved.
    """
    direct = _latency(window.pairs, (source, target))
    if direct is None or source == target:
        return ()
    p50, p99 = direct.percentile(50), direct.percentile(99)
    found = []
    for code in sorted({a for a, _ in window.pairs} - {source, target}):
        one, two = (_latency(window.pairs, leg) for leg in ((source, code), (code, target)))
        if one is None or two is None:
            continue
        if one.first + two.first >= 100 * max(p50, p99):
            continue
        both = total([one, two], 99.5)
        relay = Relay(
            code,
            both.percentile(50),
            both.percentile(99),
            round(p50 - both.percentile(50), 2),
            round(p99 - both.percentile(99), 2),
        )
        if relay.gain_p50 > 0 or relay.gain_p99 > 0:
            found.append(relay)
    found.sort(key=lambda relay: (-relay.gain_p50, -relay.gain_p99, relay.code))
    return tuple(found[:SHOWN])


def way_round(medians: Mapping[Pair, float], source: str, target: str) -> tuple[str, float] | None:
    """The third region with the least sum of medians and that sum, if it is below the direct one.

    A sum of medians is not the median of a sum; it is what needs no distributions.
    """
    direct = medians.get((source, target))
    if direct is None or source == target:
        return None
    ways = [
        (first + second, third)
        for (a, third), first in medians.items()
        if a == source
        and third not in (source, target)
        and (second := medians.get((third, target))) is not None
    ]
    if not ways or min(ways)[0] >= direct:
        return None
    ms, code = min(ways)
    return code, ms


@dataclass(frozen=True, slots=True)
class DailyMedian:
    """One day of a pair: the median and its standard error, ms."""

    day: date
    p50: float
    error: float


def days_held(
    direct: Sequence[DailyMedian], one: Sequence[DailyMedian], two: Sequence[DailyMedian]
) -> tuple[int, int]:
    """(days on which both legs took less beyond noise, days with figures of all three)."""
    legs = [{day.day: day for day in found} for found in (one, two)]
    held = known = 0
    for day in direct:
        if all(day.day in leg for leg in legs):
            first, second = (leg[day.day] for leg in legs)
            known += 1
            gain = day.p50 - first.p50 - second.p50
            noise = hypot(day.error, first.error, second.error)
            held += gain > Z_95 * noise
    return held, known


def daily_medians(days: Iterable[Day]) -> list[DailyMedian]:
    """Of the days that have a median and both quartiles."""
    return [
        DailyMedian(day.day, p[50], _median_error(p[25], p[75], day.figures.samples))
        for day in days
        if {25, 50, 75} <= (p := day.figures.percentiles).keys()
    ]


def _median_error(p25: float, p75: float, samples: int) -> float:
    """Standard error of a median: that of a normal distribution with these quartiles.

    1.2533 sigma / sqrt(n), sigma the distance of the quartiles / 1.349 (Kendall, Stuart 1969).
    """
    return 1.2533 * (p75 - p25) / 1.349 / sqrt(max(samples, 1))


def _latency(pairs: Mapping[Pair, PairSamples], pair: Pair) -> Latency | None:
    found = pairs.get(pair)
    if found is None or found.samples < LEAST_SAMPLES:
        return None
    return from_counts(found.units, found.counts)
