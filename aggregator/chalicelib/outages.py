"""Finds the days on which a pair lost far more than it usually does: pure numpy, many at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEAST_PCT: Final = 1.0  # above the usual loss: less is not called an outage
_LEAST_SIGMAS: Final = 6.5  # chance alone: not one day in 10^9
_WORST_DAYS: Final = 0.1  # this share of the days does not count as usual
_USUAL_AT_LEAST: Final = 0.001  # a pair that never lost anything may lose some, too


@dataclass(frozen=True, slots=True)
class Outage:
    """Days in a row with an unusual loss.

    series      its row in what was searched
    first, last columns of the first and the last such day
    before_pct  the usual loss: of all days but the worst tenth
    after_pct   lost among attempted on these days
    sigmas      the root of the binomial deviance: how far that is from the usual loss
    """

    series: int
    first: int
    last: int
    before_pct: float
    after_pct: float
    sigmas: float


def find(lost: Ints, attempted: Ints) -> list[Outage]:
    """The outages of S series of D days, by series, then day.

    lost, attempted  S x D; 0 attempted where nothing is known of a day, which ends an outage
    """
    found: list[Outage] = []
    for row, (gone, tried) in enumerate(zip(lost, attempted, strict=True)):
        known = tried > 0
        if not known.any():
            continue
        share = gone[known] / tried[known]
        calm = share <= np.quantile(share, 1 - _WORST_DAYS)
        usual = float(gone[known][calm].sum() / tried[known][calm].sum())
        expected = max(usual, _USUAL_AT_LEAST)
        is_out = (
            known
            & (gone >= (usual + LEAST_PCT / 100) * tried)
            & (_sigmas(gone, tried, expected) >= _LEAST_SIGMAS)
        )
        for first, last in _stretches(is_out):
            days = slice(first, last + 1)
            lost_then, tried_then = gone[days].sum(), tried[days].sum()
            found.append(
                Outage(
                    row,
                    first,
                    last,
                    100 * usual,
                    float(100 * lost_then / tried_then),
                    float(_sigmas(lost_then, tried_then, expected)),
                )
            )
    return found


def _sigmas(lost: Ints, tried: Ints, expected: float) -> Floats:
    """The signed root of the deviance of a binomial share; chance gives 6.5 less than once in 10^9.

    By Chernoff's bound the probability of so many lost is at most exp(-sigmas^2 / 2), also where a
    normal deviate would be far off, as with one expected of twenty.
    """
    share = np.clip(lost / np.maximum(tried, 1), 1e-12, 1 - 1e-12)
    deviance = share * np.log(share / expected) + (1 - share) * np.log((1 - share) / (1 - expected))
    sigmas: Floats = np.sign(share - expected) * np.sqrt(2 * tried * np.maximum(deviance, 0))
    return sigmas


def _stretches(flags: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
