"""Ways round: against sums of draws, and on how many days they held."""

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from cloudping.summaries import Day, Figures
from frontend.data.samples import PairSamples, WindowSamples
from frontend.views.relays import daily_medians, days_held, relays, way_round
from tests.frontend.views.plan.planet import END

RNG = np.random.default_rng(11)


def drawn(base_ms: float, jitter_ms: float) -> npt.NDArray[np.int64]:
    return np.rint(100 * (base_ms + RNG.gamma(1.5, jitter_ms, 20_000))).astype(np.int64)


def window(samples: dict[tuple[str, str], npt.NDArray[np.int64]]) -> WindowSamples:
    pairs = {}
    for pair, units in samples.items():
        found, counts = np.unique(units, return_counts=True)
        pairs[pair] = PairSamples(found.astype(np.int32), counts.astype(np.int32), 0, 4000)
    return WindowSamples("1M", END, END, "aws", (), pairs)


SAMPLES = {
    ("a", "b"): drawn(100, 6),
    ("a", "x"): drawn(40, 1),
    ("x", "b"): drawn(50, 1),
    # Not shorter by the median, but steadier.
    ("a", "y"): drawn(70, 0.1),
    ("y", "b"): drawn(42, 0.1),
    ("a", "z"): drawn(100, 1),
    ("z", "b"): drawn(100, 1),
    ("a", "thin"): drawn(1, 1)[:99],
    ("thin", "b"): drawn(1, 1),
}


def test_the_ways_round_are_sums_of_whole_distributions() -> None:
    found = relays(window(SAMPLES), "a", "b")
    assert [relay.code for relay in found] == ["x", "y"]
    for relay in found:
        legs = (RNG.choice(SAMPLES["a", relay.code], 500_000),
                RNG.choice(SAMPLES[relay.code, "b"], 500_000))  # fmt: skip
        for p, ms, gain in ((50, relay.p50, relay.gain_p50), (99, relay.p99, relay.gain_p99)):
            assert ms == pytest.approx(np.percentile(sum(legs), p) / 100, rel=0.005)
            direct = np.percentile(SAMPLES["a", "b"], p, method="inverted_cdf") / 100
            assert gain == pytest.approx(direct - ms, abs=0.02)
    assert found[1].gain_p50 < 0 < found[1].gain_p99
    assert relays(window(SAMPLES), "a", "a") == ()
    assert relays(window(SAMPLES), "b", "a") == ()


def test_by_medians_alone() -> None:
    medians = {("a", "b"): 100.0, ("a", "x"): 40.0, ("x", "b"): 50.0, ("a", "y"): 30.0,
               ("y", "b"): 80.0}  # fmt: skip
    assert way_round(medians, "a", "b") == ("x", 90.0)
    assert way_round(medians, "x", "b") is None
    assert way_round(medians, "a", "a") is None
    assert way_round({**medians, ("a", "x"): 60.0}, "a", "b") is None


def day(number: int, p50: float, spread: float = 1.0, samples: int = 1440) -> Day:
    figures = Figures(samples, percentiles={25: p50 - spread, 50: p50, 75: p50 + spread})
    return Day("a", "b", date(2026, 1, 1) + timedelta(days=number), figures, "aws")


def test_days_count_when_the_gain_exceeds_the_noise() -> None:
    one = daily_medians([day(k, 40) for k in range(5)])
    two = daily_medians([day(k, 50) for k in range(5)])
    direct = daily_medians(
        [day(0, 90.05), day(1, 91), day(2, 89), day(3, 91, spread=40), day(9, 200)]
    )
    # Day 0 is within the noise, day 2 is slower round, day 3 is too noisy, day 9 has no legs.
    assert days_held(direct, one, two) == (1, 4)
    assert daily_medians([Day("a", "b", date(2026, 1, 1), Figures(1), "aws")]) == []
