"""Outages: days of unusual loss, and not a packet now and then."""

import numpy as np
from chalicelib import outages

DAYS = 365


def usual(series: int, attempted: int, share: float) -> tuple[outages.Ints, outages.Ints]:
    rng = np.random.default_rng(5)
    tried = np.full((series, DAYS), attempted)
    return rng.binomial(tried, share), tried


def test_days_in_a_row_are_one_outage_with_its_loss() -> None:
    lost, tried = usual(3, 1440, 0.001)
    lost[1, 100:103] = 144
    (found,) = outages.find(lost, tried)
    assert (found.series, found.first, found.last) == (1, 100, 102)
    assert round(found.after_pct) == 10
    assert found.before_pct < 0.2
    assert found.sigmas > 50


def test_a_thousand_years_of_chance_are_none() -> None:
    for attempted, share in ((1440, 0.001), (1440, 0.02), (20, 0.001), (20, 0.02)):
        assert outages.find(*usual(1000, attempted, share)) == []


def test_one_or_two_of_a_few_are_none_and_half_of_them_are_one() -> None:
    lost, tried = usual(1, 20, 0)
    lost[0, 50], lost[0, 60] = 2, 10
    assert [outage.first for outage in outages.find(lost, tried)] == [60]


def test_a_pair_that_always_loses_is_held_against_itself() -> None:
    lost, tried = usual(1, 1440, 0.1)
    assert outages.find(lost, tried) == []
    lost[0, 7] = 1440
    (found,) = outages.find(lost, tried)
    assert (found.first, found.last, found.after_pct) == (7, 7, 100)


def test_a_day_of_which_nothing_is_known_ends_it() -> None:
    lost, tried = usual(2, 1440, 0)
    lost[0, 10:13] = 700
    lost[0, 11] = tried[0, 11] = 0
    tried[1], lost[1] = 0, 0
    assert [(o.first, o.last) for o in outages.find(lost, tried)] == [(10, 10), (12, 12)]
