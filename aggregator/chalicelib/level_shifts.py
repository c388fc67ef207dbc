"""Finds where daily series changed their level for good, or for weeks: pure numpy, many at once.

A series is cut into segments of constant level by optimal partitioning (Jackson et al. 2005, the
exact form of what PELT prunes): the cut that minimises the squared residuals plus a penalty for
each change. Latency is autocorrelated, and the textbook penalty, made for independent noise, cuts
such series to pieces; here the penalty grows with the noise's long-run variance, which is
estimated robustly, so that neither the shifts themselves nor single wild days inflate it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHORTEST_DAYS: Final = 7  # of a level: what is shorter is an episode
FEWEST_VALUES: Final = 4  # that a level needs, where days are missing
_SPIKE_SIGMAS: Final = 3.0  # a day further than this from its neighbours' median is clipped to it
_SIGMAS_OF_MAD: Final = 0.6745  # median |x| of a standard normal x
_FAR_LAGS: Final = range(10, 15)  # days after which noise has forgotten
_LEAST_CORRELATION: Final = 0.1  # less is not told from none
# This times ln D is what a change must save in squared residuals over the long-run variance (BIC
# has 2). Stationary series with 0.5 to 5 % of noise that remembers 0, 0.5 or 0.8 of the day before
# gave 2 false changes in 27,000 series of 365 days at 5, 17 at 4, 37 at 3.
_PENALTY: Final = 5.0
_SERIES_AT_ONCE: Final = 64  # keeps the working arrays in the processor's cache


@dataclass(frozen=True, slots=True)
class Shift:
    """The level of a series changed.

    series   its row in what was searched
    day      column of the first day on the new level
    until    column after the last day of that level: of the next shift, or the number of days
    before, after
             median of the daily values on the two levels, in the series' unit
    sigmas   the step over its standard error, autocorrelation included
    """

    series: int
    day: int
    until: int
    before: float
    after: float
    sigmas: float


def find(values: Floats, *, least_step: float, least_share: float) -> list[Shift]:
    """The level shifts of S series of D days, by series, then day.

    values       S x D, one row a series; NaN where a day has no figure
    least_step   smallest step that counts, in the unit of the values
    least_share  the same as a share of the smaller level; the larger of both holds
    """
    if values.shape[1] < 2 * SHORTEST_DAYS or not len(values):
        return []
    floor = least_step / 20
    clipped, sigma, memory = _noise(values, floor)
    cuts = _partition(clipped, sigma, memory)
    # Shifts, where a series has many, look like noise with a long memory: once more without them.
    _, sigma, memory = _noise(values - _levels(values, cuts), floor)
    cuts = _partition(clipped, sigma, memory)
    return [
        shift
        for row, cut in enumerate(cuts)
        for shift in _shifts(
            row, values[row], cut, sigma[row] ** 2 * memory[row], least_step, least_share
        )
    ]


def _levels(values: Floats, cuts: Sequence[Sequence[int]]) -> Floats:
    """The median of each segment, at each of its days."""
    result = np.zeros_like(values)
    for row, cut in enumerate(cuts):
        for begin, end in pairwise([0, *cut, values.shape[1]]):
            if np.isfinite(values[row, begin:end]).any():
                result[row, begin:end] = np.nanmedian(values[row, begin:end])
    return result


def _noise(values: Floats, floor: float) -> tuple[Floats, Floats, Floats]:
    """The values with single wild days clipped, and of each series the noise's sigma and memory.

    The mean squared difference of two days rises with the lag between them as their correlation
    falls, to 2 sigma^2 where none is left (the variogram); medians of it hardly see a change of
    level. Memory is 1 + 2 sum of correlations: by so much the variance of a mean over many days is
    larger than of independent days. From one year of one series it is rough, and one that is too
    small finds shifts that are none: it is never taken below the median of all series, which are
    measured in the same way.
    """
    with np.errstate(invalid="ignore"):
        middle = _median_of_three(values)
        reach = _SPIKE_SIGMAS * np.maximum(_spread(values, 1), floor)[:, None]
        clipped = np.clip(values, middle - reach, middle + reach)
        without = np.mean([_spread(clipped, lag) ** 2 for lag in _FAR_LAGS], axis=0)
        without = np.maximum(without, 2 * floor**2)
        memory: Floats = np.ones(len(values))
        remembers = np.ones(len(values), bool)
        for lag in range(1, _FAR_LAGS[0]):
            correlation = 1 - _spread(clipped, lag) ** 2 / without
            remembers &= correlation > _LEAST_CORRELATION
            memory += 2 * correlation * remembers
    if len(memory):
        memory = np.maximum(memory, np.median(memory))
    return clipped, np.sqrt(without / 2), memory


def _median_of_three(values: Floats) -> Floats:
    """Of each day and its neighbours; a day at the edge or beside a gap stands for itself."""
    around = np.stack([values[:, :-2], values[:, 1:-1], values[:, 2:]])
    result = values.copy()
    inner = np.median(around, axis=0)
    result[:, 1:-1] = np.where(np.isfinite(inner), inner, values[:, 1:-1])
    return result


def _spread(values: Floats, lag: int) -> Floats:
    """Sigma of each row's differences at a lag, from the median of their size; 0 without any."""
    size = np.abs(values[:, lag:] - values[:, :-lag])
    size = np.where(np.isfinite(size), size, np.inf)
    size.sort(axis=1)
    number = np.isfinite(size).sum(axis=1)
    middle = size[np.arange(len(size)), np.maximum(number - 1, 0) // 2]
    return np.where(number > 0, middle, 0.0) / _SIGMAS_OF_MAD


def _partition(values: Floats, sigma: Floats, memory: Floats) -> list[list[int]]:
    """For each series the columns at which a new segment begins, the first one (0) left out."""
    scaled = values / sigma[:, None]
    days = np.isfinite(scaled).sum(axis=1)
    penalty = _PENALTY * memory * np.log(np.maximum(days, 2))
    return [
        cuts
        for first in range(0, len(values), _SERIES_AT_ONCE)
        for cuts in _cut(
            scaled[first : first + _SERIES_AT_ONCE], penalty[first : first + _SERIES_AT_ONCE]
        )
    ]


def _cut(scaled: Floats, penalty: Floats) -> Iterator[list[int]]:
    """The same of some series in units of sigma, each new segment at a penalty.

    The best partition of the first t days is that of the first s days and one segment behind it,
    for the best s: D² / 2 steps, each for all series at once.
    """
    series, days = scaled.shape
    known = np.isfinite(scaled)
    x = np.where(known, scaled - np.nanmedian(np.where(known, scaled, 0), axis=1)[:, None], 0.0)
    number, total, square = (
        np.concatenate([np.zeros((series, 1)), np.cumsum(part, axis=1)], axis=1)
        for part in (known.astype(np.float64), x, x * x)
    )
    best = np.full((series, days + 1), np.inf)
    best[:, 0] = -penalty
    since = np.zeros((series, days + 1), np.int64)
    rows = np.arange(series)
    for end in range(SHORTEST_DAYS, days + 1):
        starts = slice(0, end - SHORTEST_DAYS + 1)
        many = number[:, end, None] - number[:, starts]
        sums = total[:, end, None] - total[:, starts]
        cost = square[:, end, None] - square[:, starts]
        cost -= sums * sums / np.maximum(many, 1)
        cost += best[:, starts]
        cost[many < FEWEST_VALUES] = np.inf
        choice = cost.argmin(axis=1)
        best[:, end] = cost[rows, choice] + penalty
        since[:, end] = choice
    for row in rows:
        cuts, end = [], days
        while end > 0:
            end = int(since[row, end])
            cuts.append(end)
        yield cuts[-2::-1]


def _shifts(
    row: int,
    values: Floats,
    cuts: Sequence[int],
    long_run_variance: float,
    least_step: float,
    least_share: float,
) -> list[Shift]:
    """What remains of the cuts when the steps that are too small to matter are taken out."""
    edges = [0, *cuts, len(values)]

    def level(k: int) -> float:
        return float(np.nanmedian(values[edges[k] : edges[k + 1]]))

    def margin(k: int) -> float:
        before, after = level(k - 1), level(k)
        least = max(least_step, least_share * min(abs(before), abs(after)))
        return abs(after - before) / least

    while len(edges) > 2:
        margins = [margin(k) for k in range(1, len(edges) - 1)]
        smallest = int(np.argmin(margins))
        if margins[smallest] >= 1:
            break
        del edges[smallest + 1]  # both sides become one level, and their neighbours are judged anew

    result = []
    for k in range(1, len(edges) - 1):
        before, after = level(k - 1), level(k)
        n_before, n_after = (
            int(np.isfinite(values[edges[j] : edges[j + 1]]).sum()) for j in (k - 1, k)
        )
        error = np.sqrt(long_run_variance * (1 / n_before + 1 / n_after))
        result.append(
            Shift(row, edges[k], edges[k + 1], before, after, float(abs(after - before) / error))
        )
    return result
