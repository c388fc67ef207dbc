"""How far a percentile of so many samples can be off: exact intervals from order statistics; pure.

Of n independent samples, the number B that lies below the true p-th percentile is binomial with
parameters n and p / 100, whatever the distribution of the latencies. So the l-th and the u-th
smallest enclose it with probability P(l <= B < u). See H. A. David, H. N. Nagaraja, "Order
Statistics", 3rd edition, Wiley (2003), section 7.1, and docs/method.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, lgamma, log, log1p, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from cloudping.distribution import UNITS_PER_MS, minimum_samples

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile in ms and the samples that enclose it; an end is None where n is too small."""

    p: int
    value_ms: float
    low_ms: float | None
    high_ms: float | None


@lru_cache(1024)
def ranks(n: int, p: float) -> tuple[int, int]:
    """The ranks l and u, 1 to n, with at most 2.5 % beyond each; 0, n + 1 where there is none."""
    share = p / 100
    # What is farther than twelve standard deviations from the middle weighs below 10^-16.
    off = 12 * (sqrt(n * share * (1 - share)) + 1)
    first, last = max(0, int(n * share - off)), min(n, int(n * share + off))
    each = np.array([
        exp(
            lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
            + k * log(share) + (n - k) * log1p(-share)
        )
        for k in range(first, last + 1)
    ])  # fmt: skip
    beyond = (1 - CONFIDENCE) / 2
    # The largest l with P(B <= l - 1) <= 2.5 %, the smallest u with P(B >= u) <= 2.5 %.
    low = first + int(np.searchsorted(np.cumsum(each), beyond, "right"))
    high = last + 1 - int(np.searchsorted(np.cumsum(each[::-1]), beyond, "right"))
    return low, high


def intervals(units: npt.ArrayLike, counts: npt.ArrayLike, ps: Sequence[int]) -> list[Interval]:
    """The percentiles that so many samples allow, each with its interval.

    units     K latencies in units of 0.01 ms, ascending
    counts    K, how often each was seen
    """
    values = np.asarray(units, np.float64) / UNITS_PER_MS
    until = np.cumsum(np.asarray(counts, np.int64))
    n = int(until[-1]) if len(until) else 0

    def sample(rank: int) -> float:
        return float(values[np.searchsorted(until, rank - 1, "right")])

    found = []
    for p in ps:
        if n < minimum_samples(p):
            continue
        at = (n - 1) * p / 100
        a, b = sample(int(at) + 1), sample(min(int(at) + 2, n))
        low, high = ranks(n, p)
        found.append(
            Interval(
                p,
                a + (b - a) * (at - int(at)),
                sample(low) if low >= 1 else None,
                sample(high) if high <= n else None,
            )
        )
    return found
