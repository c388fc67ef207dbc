import pytest

from cloudping.summaries import Figures
from frontend.views.figures import (
    LATENCY_STEPS_MS,
    METRICS,
    STEPS,
    light_ratio,
    loss_at_least_pct,
    milliseconds,
    percent,
)
from tests.frontend.conftest import figures, this_minute


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.004, "0.00"), (0.65, "0.65"), (0.996, "1.0"), (9.94, "9.9"), (9.96, "10"), (213.4, "213")],
)
def test_milliseconds_are_short(value: float, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1e-9, "<0.01"), (0.001, "<0.01"), (0.04, "0.04"), (1.26, "1.3"), (56.7, "57"),
     (99.4, "99"), (99.5, "99.5"), (99.94, "99.9"), (99.97, "99.97"), (99.999, ">99.99"),
     (100, "100"), (100.5, "100")],
)  # fmt: skip
def test_a_share_is_never_rounded_to_nothing_or_all(value: float, text: str) -> None:
    assert percent(value) == text


def test_a_cross_is_for_what_was_tried_and_lost() -> None:
    p50 = METRICS["p_50"]
    assert p50.shown(figures(None, 300, this_minute())) == "✕"
    assert p50.shown(Figures(0, failures={"not_tried": 5}, coverage_pct=0.0)) == "–"  # noqa: RUF001
    assert p50.shown(Figures(0)) == p50.shown(None) == "–"  # noqa: RUF001
    assert METRICS["loss"].shown(figures(None, 300, this_minute())) == "100 %"


def test_the_ratio_to_light_says_nothing_within_a_town() -> None:
    assert light_ratio(80.0, 40.0) == 2
    assert light_ratio(0.7, 0.99) is None
    assert light_ratio(None, 40.0) is None


def test_every_metric_reads_its_figure() -> None:
    found = figures(68.0, 1438, this_minute())
    values = {name: metric.value(found) for name, metric in METRICS.items()}
    assert values["p_95"] == pytest.approx(68.95)
    assert (values["mean"], values["min"], values["max"], values["stddev"]) == (68.5, 68, 69, 0.25)
    assert values["loss"] == pytest.approx(0.1389, abs=1e-4)


def test_loss_is_coloured_by_what_is_proven() -> None:
    loss = METRICS["loss"]

    def css(samples: int, lost: int) -> str:
        share = 100 * lost / (samples + lost)
        return loss.css(Figures(samples, failures={"timeout": lost}, loss_pct=share))

    assert css(900, 0) == "zero"
    assert css(0, 5) == "s11"
    # One of 900 is 0.11 %, but proves no more than 0.02 %; a hundred of 90,000 prove 0.09 %.
    assert css(899, 1) == f"s{loss.step(0.0197)}"
    assert css(89_900, 100) == f"s{loss.step(0.0914)}"


def test_the_lower_end_of_the_loss_is_wilsons() -> None:
    found = Figures(899, failures={"timeout": 1, "stalled": 3}, loss_pct=100 / 900)
    # Computed by hand from the formula: p = 1/900, z = 1.959964.
    assert loss_at_least_pct(found) == pytest.approx(0.01961, abs=2e-5)
    assert loss_at_least_pct(Figures(900, loss_pct=0.0)) == 0
    assert loss_at_least_pct(Figures(0)) is None


def test_a_step_ends_at_its_bound() -> None:
    metric = METRICS["p_50"]
    assert [metric.step(v) for v in (0.0, 5.0, 5.01, 300.0, 301.0)] == [0, 0, 1, 10, 11]
    assert metric.step(1e9) == STEPS - 1 == len(LATENCY_STEPS_MS)
