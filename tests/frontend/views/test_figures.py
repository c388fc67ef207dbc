import pytest

from frontend.views.figures import LATENCY_STEPS_MS, METRICS, STEPS, milliseconds, percent
from tests.frontend.conftest import figures, this_minute


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.004, "0.00"), (0.65, "0.65"), (0.996, "1.0"), (9.94, "9.9"), (9.96, "10"), (213.4, "213")],
)
def test_milliseconds_are_short(value: float, text: str) -> None:
    assert milliseconds(value) == text


def test_loss_is_never_rounded_to_zero() -> None:
    assert [percent(v) for v in (0, 0.001, 0.04, 1.26, 100)] == ["0", "<0.01", "0.04", "1.3", "100"]


def test_every_metric_reads_its_figure() -> None:
    found = figures(68.0, 1438, this_minute())
    values = {name: metric.value(found) for name, metric in METRICS.items()}
    assert values["p_95"] == pytest.approx(68.95)
    assert (values["mean"], values["min"], values["max"], values["stddev"]) == (68.5, 68, 69, 0.25)
    assert values["loss"] == pytest.approx(0.1389, abs=1e-4)


def test_a_step_ends_at_its_bound() -> None:
    metric = METRICS["p_50"]
    assert [metric.step(v) for v in (0.0, 5.0, 5.01, 300.0, 301.0)] == [0, 0, 1, 10, 11]
    assert metric.step(1e9) == STEPS - 1 == len(LATENCY_STEPS_MS)
