"""Sums, order statistics and mixtures, held against a million draws."""

import numpy as np
import numpy.typing as npt
import pytest

from cloudping.distribution import UNITS_PER_MS
from frontend.views.plan import latency
from frontend.views.plan.latency import Latency

DRAWS = 1_000_000
RNG = np.random.default_rng(20261124)


def samples(base_ms: float, jitter_ms: float) -> npt.NDArray[np.int64]:
    """100,000 latencies in units: a floor, a skewed jitter, and a thousandth that is far out."""
    skewed = base_ms + RNG.gamma(1.5, jitter_ms, 100_000)
    skewed[::1000] += RNG.uniform(0, 200, 100)
    return np.rint(skewed * UNITS_PER_MS).astype(np.int64)


def counted(units: npt.NDArray[np.int64]) -> Latency:
    return latency.from_counts(*np.unique(units, return_counts=True))


SAMPLES = [samples(20, 1), samples(22, 2), samples(80, 3), samples(21, 0.5), samples(2, 0.2)]
LATENCIES = [counted(units) for units in SAMPLES]
DRAWN = [RNG.choice(units, DRAWS) for units in SAMPLES]


def same(found: Latency, drawn: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> None:
    for p in (50, 90, 95, 99):
        assert found.percentile(p) == pytest.approx(
            np.percentile(drawn, p) / UNITS_PER_MS, rel=0.005, abs=0.011
        )
    assert found.mean() == pytest.approx(drawn.mean() / UNITS_PER_MS, rel=0.005)


def test_of_counts_is_what_was_counted() -> None:
    for found, units in zip(LATENCIES, SAMPLES, strict=True):
        same(found, units)


def test_a_sum_of_two_and_of_four() -> None:
    same(latency.total(LATENCIES[:2]), DRAWN[0] + DRAWN[1])
    same(latency.total(LATENCIES[1:]), DRAWN[1] + DRAWN[2] + DRAWN[3] + DRAWN[4])


def test_a_sum_is_the_same_up_to_the_percentile_that_it_was_asked_for() -> None:
    whole = latency.total(LATENCIES[:3])
    for p in (50, 90, 99):
        partly = latency.total(LATENCIES[:3], p)
        assert [partly.percentile(q) for q in (1, p / 2, p)] == [
            whole.percentile(q) for q in (1, p / 2, p)
        ]
        assert len(partly.share) < len(whole.share)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_kth_smallest(k: int) -> None:
    same(latency.smallest(LATENCIES[:4], k), np.sort(DRAWN[:4], axis=0)[k - 1])


def test_the_kth_smallest_with_the_asked_replica_itself() -> None:
    same(latency.smallest([latency.ZERO, *LATENCIES[:2]], 2), np.minimum(DRAWN[0], DRAWN[1]))
    assert latency.smallest([latency.ZERO, *LATENCIES[:2]], 1).percentile(99) == 0


def test_half_and_mixture() -> None:
    same(latency.half(LATENCIES[2]), DRAWN[2] / 2)
    some = RNG.random(DRAWS) < 0.3
    same(latency.mixture(LATENCIES[0], LATENCIES[2], 0.3), np.where(some, DRAWN[2], DRAWN[0]))


def test_coarse_is_at_most_a_step_less() -> None:
    for found in LATENCIES:
        for p in (1, 50, 99):
            rounded = found.coarse(50).percentile(p) * 50
            assert found.percentile(p) - 0.5 < rounded <= found.percentile(p)


def test_a_latency_that_never_varies() -> None:
    fixed = counted(np.full(10, 500))
    assert [fixed.percentile(p) for p in (1, 50, 100)] == [5, 5, 5]
    assert latency.total([fixed, fixed, LATENCIES[0]]).percentile(50) == pytest.approx(
        LATENCIES[0].percentile(50) + 10
    )
    assert latency.total([fixed, fixed]).percentile(99) == 10


def test_percentiles_do_not_add() -> None:
    apart = LATENCIES[0].percentile(99) + LATENCIES[1].percentile(99)
    assert latency.total(LATENCIES[:2]).percentile(99) < apart - 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a sample"):
        latency.from_counts(np.array([], np.int64), np.array([], np.int64))
    with pytest.raises(ValueError, match="k=3 of 2 latencies"):
        latency.smallest(LATENCIES[:2], 3)
