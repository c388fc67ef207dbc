"""Level shifts: found where they are, at their size, and not where there is only noise."""

import numpy as np
import pytest
from chalicelib import level_shifts

DAYS = 365


def noise(phi: float, series: int, seed: int) -> level_shifts.Floats:
    """S x DAYS of unit variance that remember a share phi of the day before."""
    rng = np.random.default_rng(seed)
    fresh = rng.normal(size=(series, DAYS + 100))
    found = fresh.copy()
    for day in range(1, DAYS + 100):
        found[:, day] = phi * found[:, day - 1] + np.sqrt(1 - phi**2) * fresh[:, day]
    return found[:, 100:]


def find(values: level_shifts.Floats) -> list[level_shifts.Shift]:
    return level_shifts.find(values, least_step=1.0, least_share=0.01)


@pytest.mark.parametrize("phi", [0, 0.5, 0.8])
@pytest.mark.parametrize("share", [0.005, 0.02])
def test_noise_alone_has_at_most_one_false_shift_in_a_thousand_years(
    phi: float, share: float
) -> None:
    base = np.random.default_rng(1).uniform(2, 300, (1000, 1))
    assert len(find(base * (1 + share * noise(phi, 1000, seed=2)))) <= 1


def test_finds_a_shift_of_two_weeks_on_its_day_with_both_levels() -> None:
    values = 80 + 0.2 * noise(0.3, 50, seed=3)
    values[:, 200:214] += 2.0
    found = find(values)
    up, down = found[::2], found[1::2]
    assert [s.series for s in up] == [s.series for s in down] == list(range(50))
    assert all(abs(s.day - 200) <= 1 and abs(s.until - 214) <= 1 for s in up)
    assert all(abs(s.after - s.before - 2) < 0.4 for s in up)
    assert all(abs(s.before - s.after - 2) < 0.4 and s.until == DAYS for s in down)
    assert all(s.sigmas > 4 for s in found)


def test_several_levels_of_one_series_are_several_shifts() -> None:
    levels = np.repeat([50.0, 58.0, 58.3, 120.0, 50.0], 73)
    (first, second, third) = find(levels[None, :] + 0.05 * noise(0, 1, seed=4))
    assert [first.day, second.day, third.day] == [73, 219, 292]  # 0.3 ms is no shift
    assert [round(s.after) for s in (first, second, third)] == [58, 120, 50]


def test_one_wild_day_and_six_days_are_no_level() -> None:
    values = 80 + 0.2 * noise(0, 2, seed=5)
    values[0, 100] = 400
    values[1, 100:105] += 10
    assert not [s for s in find(values) if s.series == 0]
    assert all(s.until - s.day >= 7 for s in find(values))


def test_days_without_a_figure_do_not_matter() -> None:
    values = 80 + 0.2 * noise(0.3, 3, seed=6)
    values[:, 150:] += 4
    values[0, ::3] = np.nan
    values[1, 140:150] = np.nan
    values[2, :120] = np.nan
    found = find(values)
    assert [s.series for s in found] == [0, 1, 2]
    assert all(140 <= s.day <= 151 for s in found)


@pytest.mark.parametrize("level", [0.3, 80.0])
def test_figures_that_do_not_move_at_all_are_no_trouble(level: float) -> None:
    values = np.full((4, DAYS), level)
    values[1, 30:] += 1.5
    values[2, :] = np.nan
    values[3, 10:] = np.nan
    (shift,) = find(values)
    assert (shift.series, shift.day, shift.before, shift.after) == (1, 30, level, level + 1.5)


def test_nothing_is_found_in_less_than_two_weeks() -> None:
    assert find(np.array([[1.0] * 6 + [9.0] * 7])) == []
    assert find(np.empty((0, DAYS))) == []


def test_the_same_series_gives_the_same_among_others() -> None:
    values = 80 + 0.2 * noise(0.3, 200, seed=7)
    values[:, 100:] += np.linspace(0, 3, 200)[:, None]
    whole = [(s.series, s.day, s.until) for s in find(values)]
    again = [(199 - s.series, s.day, s.until) for s in find(values[::-1])]
    assert sorted(again) == whole
