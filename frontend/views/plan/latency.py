"""Latencies that are not measured but follow from measured ones: sums, order statistics, mixtures.

Percentiles do not add; distributions do. Everything here takes its parts to be independent, which
docs/planner.md states and tests against samples of the same minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cloudping.distribution import UNITS_PER_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]

# A latency is held at the value that all but this share of the samples do not exceed. It bounds the
# arrays, which a single second would stretch, and moves a P99 of a sum of ten to P98.99 at most.
TAIL: Final = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
    """A distribution over consecutive units of 0.01 ms.

    first   the smallest value, in units
    share   N, share of samples at or below first + i; ends at 1
    """

    first: int
    share: Floats

    @property
    def last(self) -> int:
        """The largest value, in units."""
        return self.first + len(self.share) - 1

    def percentile(self, p: float) -> float:
        """In ms: the smallest value that p % of the samples do not exceed, 0 < p <= 100."""
        # A sum of shares may miss p by rounding; no sample is that light.
        at = int(np.searchsorted(self.share, p / 100 - 1e-12))
        return (self.first + min(at, len(self.share) - 1)) / UNITS_PER_MS

    def mean(self) -> float:
        """In ms."""
        return float(self.last - self.share[:-1].sum()) / UNITS_PER_MS

    def at_or_below(self, first: int, number: int) -> Floats:
        """`number` shares, of first, first + 1, and so on."""
        below, above = max(self.first - first, 0), max(first + number - 1 - self.last, 0)
        inner = self.share[max(first - self.first, 0) : max(number + first - self.first, 0)]
        return np.concatenate([np.zeros(min(below, number)), inner, np.ones(min(above, number))])

    def coarse(self, step: int) -> "Latency":
        """Rounded down to whole steps, and counted in them: never more than the latency itself."""
        first, last = self.first // step, self.last // step
        ends = np.arange(first + 1, last + 2) * step - 1
        return Latency(first, self.share[np.minimum(ends, self.last) - self.first])


ZERO: Final = Latency(0, np.ones(1))


def from_counts(units: Ints | Ints32, counts: Ints | Ints32) -> Latency:
    """From ascending units of 0.01 ms and how often each was seen; ValueError without a sample."""
    if not len(units):
        raise ValueError("a distribution needs a sample")
    first = int(units[0])
    dense = np.zeros(int(units[-1]) - first + 1, np.int64)
    dense[units - first] = counts
    return _cut(first, np.cumsum(dense) / counts.sum())


def _cut(first: int, share: Floats) -> Latency:
    """Without what hardly any sample reaches, on either side."""
    begin = int(np.searchsorted(share, 1e-12, "right"))
    end = int(np.searchsorted(share, 1 - TAIL)) + 1
    kept = share[begin : max(end, begin + 1)].copy()
    kept[-1] = 1
    return Latency(first + begin, kept)


def total(parts: Sequence[Latency], p: float = 100) -> Latency:
    """The sum of independent latencies: a convolution; exact up to its p-th percentile.

    What lies above that is held there, and is not computed: the p-th percentile of a sum of m is at
    most the sum of the percentiles that each exceeds with an m-th part of the probability.
    """
    moving = [part for part in parts if len(part.share) > 1]
    first = sum(part.first for part in parts)
    if not moving:
        return Latency(first, np.ones(1))
    if len(moving) == 1:
        return Latency(first, moving[0].share)
    each = 1 - (1 - p / 100) / len(moving)
    length = sum(int(np.searchsorted(part.share, each)) for part in moving) + 1
    size = _good_size(sum(min(len(part.share), length) - 1 for part in moving) + 1)
    product = np.ones(size // 2 + 1, complex)
    for part in moving:
        weights = part.share[:length].copy()
        weights[1:] -= part.share[: len(weights) - 1]
        product *= np.fft.rfft(weights, size)
    share = np.minimum(np.cumsum(np.fft.irfft(product, size)[:length]), 1)
    share[-1] = 1
    return Latency(first, share)


def _good_size(length: int) -> int:
    """The next 2^a, 3 * 2^a or 5 * 2^a: what a fast Fourier transform likes."""
    return min(factor << max(-(-length // factor) - 1, 0).bit_length() for factor in (1, 3, 5))


def half(latency: Latency) -> Latency:
    """Half of it, to the next unit above: one way of a round trip, taken as symmetric."""
    first, last = -(-latency.first // 2), -(-latency.last // 2)
    at = np.minimum(2 * np.arange(first, last + 1), latency.last) - latency.first
    return Latency(first, latency.share[at])


def smallest(latencies: Sequence[Latency], k: int) -> Latency:
    """The k-th smallest of independent latencies, k from 1.

    P(at least k of them <= t) is the tail of a Poisson binomial distribution, built up one latency
    at a time: O(n k) for each t.
    """
    if not 1 <= k <= len(latencies):
        raise ValueError(f"k={k} of {len(latencies)} latencies: expected 1 to {len(latencies)}")
    first = sorted(latency.first for latency in latencies)[k - 1]
    last = sorted(latency.last for latency in latencies)[k - 1]
    number = last - first + 1
    # exactly[j]: so many of those seen are <= t; from k on it does not matter how many.
    exactly = np.zeros((k + 1, number))
    exactly[0] = 1
    for latency in latencies:
        if latency.first > last:
            continue
        share = latency.at_or_below(first, number)
        exactly[k] += exactly[k - 1] * share
        for j in range(k - 1, 0, -1):
            exactly[j] += (exactly[j - 1] - exactly[j]) * share
        exactly[0] *= 1 - share
    return _cut(first, np.clip(exactly[k], 0, 1))


def mixture(usual: Latency, other: Latency, probability: float) -> Latency:
    """`other` with a probability, `usual` otherwise."""
    first = min(usual.first, other.first)
    number = max(usual.last, other.last) - first + 1
    return _cut(
        first,
        (1 - probability) * usual.at_or_below(first, number)
        + probability * other.at_or_below(first, number),
    )
