"""Distributions of latencies: exact counts that merge by adding, and their percentiles; pure.

A `Distribution` holds, for each target of one source and one stretch of time, how often each
latency was seen at 0.01 ms, and what there was instead of a latency. Percentiles of merged
distributions are those of all their samples, so hours make days, days make months, and any of
them make a window.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cloudping.runs import REASONS

UNITS_PER_MS: Final = 100  # the resolution at which latencies are counted: 0.01 ms

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Counts by latency for T targets: columns of N entries, sorted by target, then latency.

    targets         T region codes, ascending
    target          N, index into `targets`
    units           N, latency in units of 0.01 ms, each once per target
    counts          N, how often it was seen, at least 1
    failures        T x len(REASONS), attempts without a latency
    scheduled       T, attempts that the schedule asked for
    first_s, last_s T, scheduled time (epoch seconds) of the oldest and newest run with a latency;
                    0 where there is none
    runs, scheduled_runs
                    of the source: made, and due by the schedule
    until_s         the newest scheduled time, epoch seconds, that it accounts for: of a run that
                    was made, or of one that was due and did not come; 0 where there is none
    """

    targets: tuple[str, ...]
    target: Ints
    units: Ints
    counts: Ints
    failures: Ints
    scheduled: Ints
    first_s: Ints
    last_s: Ints
    runs: int = 0
    scheduled_runs: int = 0
    until_s: int = 0

    def sample_counts(self) -> Ints:
        """n of each target, T."""
        return sum_by_target(self.target, self.counts, len(self.targets))

    def only(self, target: str) -> "Distribution":
        """The part of one target; without any target when this one is not in it."""
        if target not in self.targets:
            return merge([])
        at = self.targets.index(target)
        entries = slice(*np.searchsorted(self.target, [at, at + 1]))
        return Distribution(
            targets=(target,),
            target=np.zeros_like(self.target[entries]),
            units=self.units[entries],
            counts=self.counts[entries],
            failures=self.failures[at : at + 1],
            scheduled=self.scheduled[at : at + 1],
            first_s=self.first_s[at : at + 1],
            last_s=self.last_s[at : at + 1],
            runs=self.runs,
            scheduled_runs=self.scheduled_runs,
            until_s=self.until_s,
        )


def sum_by_target(target: Ints, weights: Ints, number: int) -> Ints:
    """Exact integer sums by target."""
    sums = np.zeros(number, np.int64)
    np.add.at(sums, target, weights)
    return sums


def from_attempts(
    targets: Sequence[str],
    target: npt.ArrayLike,
    latency_ms: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    reason: npt.ArrayLike | None = None,
    scheduled: npt.ArrayLike | None = None,
    runs: int = 0,
    scheduled_runs: int | None = None,
    until_s: int | None = None,
) -> Distribution:
    """A distribution from one row per attempt, in any order.

    targets         T region codes, in any order
    target          N, index into `targets`
    latency_ms      N, NaN where there is none; rounded to 0.01 ms
    time_s          N (or one for all), the run's scheduled time in epoch seconds
    reason          N, index into `runs.REASONS` where there is no latency; else, or where it is
                    left out, a lost attempt is a `timeout`
    scheduled       T, attempts that were due; left out: as many as were made
    runs, scheduled_runs
                    made by the source, and due (left out: as many as were made)
    until_s         see `Distribution`; left out: the newest of `time_s`
    """
    order = np.argsort(np.asarray(targets, dtype=str), kind="stable")
    rank = np.empty(len(targets), np.int64)
    rank[order] = np.arange(len(targets))
    number = len(targets)
    at = rank[np.asarray(target, np.int64)]
    latency = np.asarray(latency_ms, np.float64)
    times = np.broadcast_to(np.asarray(time_s, np.int64), at.shape)
    known = ~np.isnan(latency)

    counted = np.rint(latency[known] * UNITS_PER_MS)
    if not ((counted >= 0) & (counted < 2**32)).all():
        raise ValueError(f"latencies are from 0 to {(2**32 - 1) / UNITS_PER_MS} ms, not {counted}")
    units = counted.astype(np.int64)
    keys, counts = np.unique(at[known] << 32 | units, return_counts=True)

    why = (
        np.full(at.shape, REASONS.index("timeout"))
        if reason is None
        else np.asarray(reason, np.int64)
    )[~known]
    failures = np.zeros((number, len(REASONS)), np.int64)
    np.add.at(failures, (at[~known], why), 1)

    never = np.iinfo(np.int64).max
    first = np.full(number, never)
    np.minimum.at(first, at[known], times[known])
    last = np.zeros(number, np.int64)
    np.maximum.at(last, at[known], times[known])

    due = np.bincount(at, minlength=number) if scheduled is None else np.asarray(scheduled)[order]
    return Distribution(
        targets=tuple(targets[k] for k in order),
        target=keys >> 32,
        units=keys & 0xFFFFFFFF,
        counts=counts.astype(np.int64),
        failures=failures,
        scheduled=due.astype(np.int64),
        first_s=np.where(first == never, 0, first),
        last_s=last,
        runs=runs,
        scheduled_runs=runs if scheduled_runs is None else scheduled_runs,
        until_s=int(times.max(initial=0)) if until_s is None else until_s,
    )


def merge(parts: Iterable[Distribution]) -> Distribution:
    """The distribution of all samples of the parts; the order of the parts does not matter."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    targets = tuple(sorted({code for part in parts for code in part.targets}))
    rank = {code: k for k, code in enumerate(targets)}
    number = len(targets)
    failures = np.zeros((number, len(REASONS)), np.int64)
    scheduled, first, last = (np.zeros(number, np.int64) for _ in range(3))
    keys: list[Ints] = [np.empty(0, np.int64)]
    counts: list[Ints] = [np.empty(0, np.int64)]
    for part in parts:
        at = np.array([rank[code] for code in part.targets], np.int64)
        keys.append(at[part.target] << 32 | part.units)
        counts.append(part.counts)
        failures[at] += part.failures
        scheduled[at] += part.scheduled
        last[at] = np.maximum(last[at], part.last_s)
        # 0 means none, so it must not win the minimum.
        both = np.minimum(first[at], part.first_s)
        first[at] = np.where(both == 0, np.maximum(first[at], part.first_s), both)
    joined, joined_counts = np.concatenate(keys), np.concatenate(counts)
    order = np.argsort(joined, kind="stable")
    joined, joined_counts = joined[order], joined_counts[order]
    starts = np.flatnonzero(np.diff(joined, prepend=-1))
    unique = joined[starts]
    return Distribution(
        targets=targets,
        target=unique >> 32,
        units=unique & 0xFFFFFFFF,
        counts=np.add.reduceat(joined_counts, starts) if len(starts) else joined_counts,
        failures=failures,
        scheduled=scheduled,
        first_s=first,
        last_s=last,
        runs=sum(part.runs for part in parts),
        scheduled_runs=sum(part.scheduled_runs for part in parts),
        until_s=max((part.until_s for part in parts), default=0),
    )


def minimum_samples(p: float) -> int:
    """How many samples the p-th percentile needs: as many as leave one, on average, beyond it.

    With fewer, the figure is made of nothing but the extreme value: P99 needs 100, P95 20, P90 10,
    P75 4, the median 2. See docs/method.md.
    """
    return round(100 / min(p, 100 - p))


def percentiles(distribution: Distribution, ps: Sequence[float]) -> npt.NDArray[np.float64]:
    """T x len(ps), in ms: what `numpy.percentile` gives for the samples of each target.

    Bit for bit, without expanding the counts; NaN where a target has no sample.
    """
    n = distribution.sample_counts()[:, None]
    result: npt.NDArray[np.float64] = np.full((len(n), len(ps)), np.nan)
    if not len(distribution.counts):
        return result
    # numpy's default, "linear" (type 7 of Hyndman and Fan, 1996): between the two samples around
    # the rank (n - 1) p / 100.
    rank = np.maximum(n - 1, 0) * (np.asarray(ps, np.float64) / 100)
    below = np.floor(rank).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(n - 1, 0))
    cumulative = np.cumsum(distribution.counts)
    start = np.cumsum(n, axis=0) - n
    last = len(cumulative) - 1
    values = distribution.units / UNITS_PER_MS

    def sample(position: Ints) -> npt.NDArray[np.float64]:
        found = np.searchsorted(cumulative, start + position, "right")
        return np.take(values, np.minimum(found, last))

    a, b, t = sample(below), sample(above), rank - below
    # The two forms of the same line that numpy takes turns with, so that rounding agrees too.
    line = np.where(t >= 0.5, b - (b - a) * (1 - t), a + (b - a) * t)
    result[:] = np.where(n > 0, line, np.nan)
    return result
