from math import comb

import numpy as np
import pytest

from cloudping.intervals import intervals, ranks
from cloudping.summaries import PERCENTILES


@pytest.mark.parametrize("n", [1, 2, 5, 20, 100, 288])
@pytest.mark.parametrize("p", PERCENTILES)
def test_the_ranks_are_the_tightest_that_leave_so_little_beyond(n: int, p: int) -> None:
    """Against sums of whole numbers: P(B = k) = C(n, k) p^k (100 - p)^(n - k) / 100^n."""
    low, high = ranks(n, p)
    each = [comb(n, k) * p**k * (100 - p) ** (n - k) for k in range(n + 1)]
    whole = 100**n  # of which 2.5 % is a fortieth
    assert 40 * sum(each[:low]) <= whole
    assert 40 * sum(each[: low + 1]) > whole
    assert 40 * sum(each[high:]) <= whole
    assert 40 * sum(each[high - 1 :]) > whole


def test_the_ranks_of_a_known_case() -> None:
    # The classic table for the median, e.g. of 20: the 6th and the 15th smallest (95.9 %).
    assert ranks(20, 50) == (6, 15)
    # Below 6 samples no two of them enclose the median with 95 %.
    assert ranks(5, 50) == (0, 6)
    assert ranks(6, 50) == (1, 6)


def test_an_end_that_so_few_samples_cannot_have_is_none() -> None:
    [found] = intervals(range(1, 101), [1] * 100, [99])
    assert found.low_ms is not None
    assert found.high_ms is None  # of 100 samples the largest is below p99 in 37 of 100 cases


def test_the_values_are_those_of_the_percentiles() -> None:
    generator = np.random.default_rng(3)
    latencies = np.rint(generator.gamma(4, 900, 2000)).astype(int)
    units, counts = np.unique(latencies, return_counts=True)
    for found in intervals(units, counts, PERCENTILES):
        assert found.value_ms == pytest.approx(np.percentile(latencies, found.p) / 100)
        low, high = ranks(2000, found.p)
        ordered = np.sort(latencies) / 100
        assert (found.low_ms, found.high_ms) == (ordered[low - 1], ordered[high - 1])


def test_the_interval_encloses_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    low, high = ranks(288, 90)
    samples = np.sort(generator.random((4000, 288)), axis=1)
    hit = ((samples[:, low - 1] <= 0.9) & (samples[:, high - 1] >= 0.9)).mean()
    assert 0.945 <= hit <= 0.985


def test_without_samples_there_is_nothing() -> None:
    assert intervals([], [], PERCENTILES) == []


def test_a_years_samples_do_not_take_long() -> None:
    low, high = ranks(525_600, 99)
    assert low < 520_344 < high
    # Two normal quantiles of the standard deviation of B, sqrt(n p (1 - p)) = 72.13.
    assert high - low == pytest.approx(2 * 1.96 * 72.13, abs=3)
