"""The figures of every target over the samples of any number of buckets; pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from cloudping.buckets import Bucket
from cloudping.distribution import UNITS_PER_MS, merge, minimum_samples, percentiles, sum_by_target
from cloudping.runs import FLAG_REASONS, LOSS_REASONS, REASONS
from cloudping.summaries import PERCENTILES, Figures

_LOST: Final = [REASONS.index(reason) for reason in LOSS_REASONS]
_FLAGGED: Final = [REASONS.index(reason) for reason in FLAG_REASONS]


def figures(buckets: Sequence[Bucket]) -> dict[str, Figures]:
    """The figures of every target over all samples of the buckets; formulas in docs/method.md."""
    whole = merge(bucket.distribution for bucket in buckets)
    methods = defaultdict(set)
    for bucket in buckets:
        for at in np.unique(bucket.distribution.target):
            methods[bucket.distribution.targets[at]].add(bucket.method)
    n = whole.sample_counts()
    values = whole.units / UNITS_PER_MS
    number = len(whole.targets)
    some = np.maximum(n, 1)
    # Exact sums of whole units, so that the order of merging cannot matter.
    mean = sum_by_target(whole.target, whole.units * whole.counts, number) / some / UNITS_PER_MS
    squares = np.zeros(number)
    np.add.at(squares, whole.target, whole.counts * (values - mean[whole.target]) ** 2)
    stddev = np.sqrt(squares / some)
    starts = np.searchsorted(whole.target, np.arange(number))
    ends = np.searchsorted(whole.target, np.arange(number), "right") - 1
    at_p = percentiles(whole, PERCENTILES)
    lost = whole.failures[:, _LOST].sum(axis=1)
    attempted = n + lost + whole.failures[:, _FLAGGED].sum(axis=1)
    result = {}
    for k, code in enumerate(whole.targets):
        count = int(n[k])
        result[code] = Figures(
            samples=count,
            mean=float(mean[k]) if count else None,
            stddev=float(stddev[k]) if count > 1 else None,
            min=float(values[starts[k]]) if count else None,
            max=float(values[ends[k]]) if count else None,
            percentiles={
                p: float(at_p[k, j])
                for j, p in enumerate(PERCENTILES)
                if count >= minimum_samples(p)
            },
            failures={
                reason: int(many)
                for reason, many in zip(REASONS, whole.failures[k], strict=True)
                if many
            },
            loss_pct=float(100 * lost[k] / (count + lost[k])) if count + lost[k] else None,
            coverage_pct=float(100 * attempted[k] / whole.scheduled[k])
            if whole.scheduled[k]
            else None,
            first_sample=_moment(whole.first_s[k]),
            last_sample=_moment(whole.last_s[k]),
            methods=tuple(sorted(methods[code])),
        )
    return result


def _moment(seconds: np.int64) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def series(buckets: Iterable[Bucket], target: str) -> list[tuple[datetime, Figures]]:
    """The figures of one target for each start, oldest first; where it was not due, nothing."""
    by_start = defaultdict(list)
    for bucket in buckets:
        part = bucket.distribution.only(target)
        by_start[bucket.start].append(
            Bucket(bucket.region, bucket.level, bucket.start, bucket.method, bucket.origin, part)
        )
    return [
        (start, found[target])
        for start, group in sorted(by_start.items())
        if target in (found := figures(group))
    ]
