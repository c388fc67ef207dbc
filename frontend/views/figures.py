"""The figures that can be chosen, how they are written, and the step of the scale they fall on."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Final

from cloudping.runs import LOSS_REASONS
from cloudping.summaries import PERCENTILES, TIMEFRAMES, Figures
from frontend.data.now import NOW

FRAMES: Final = (NOW, *TIMEFRAMES)
FRAME_LABELS: Final = {
    NOW: "Now",
    "1D": "1 day",
    "1W": "1 week",
    "1M": "1 month",
    "1Y": "1 year",
}

# Upper ends of the colour steps, the last one open. For latencies they are round numbers near
# the quantiles of the round trips between all regions, so that each step gets a like share of the
# cells: on a plain log scale two thirds of them would fall on two steps.
LATENCY_STEPS_MS: Final = (5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 250.0, 300.0)
LOSS_STEPS_PCT: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
SPREAD_STEPS_MS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
STEPS: Final = len(LATENCY_STEPS_MS) + 1

LOST, NONE = "✕", "–"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a pair: its name in addresses, how it is called, unit, scale and value.

    `heading` is what it is of in a sentence; `shade` the value that its colour stands for, where
    that is another.
    """

    name: str
    label: str
    unit: str
    steps: tuple[float, ...]
    value: Callable[[Figures], float | None]
    heading: str
    shade: Callable[[Figures], float | None] | None = None

    def step(self, value: float) -> int:
        """0 for the best step of the scale to `STEPS` - 1 for the worst."""
        return bisect_left(self.steps, value)

    def css(self, figures: Figures) -> str:
        """The class of its colour: `zero` where nothing was lost, `none` without a figure."""
        value = (self.shade or self.value)(figures)
        if value is None:
            return "none"
        return "zero" if self.unit == "%" and value == 0 else f"s{self.step(value)}"

    def deciding(self, value: float, limit: float) -> str:
        """As in a cell, with as many decimals as it takes to see on which side of `limit` it is."""
        for text in (self.text(value), f"{value:.1f}", f"{value:.2f}"):
            is_read = text.replace(".", "").isdigit()
            if is_read and (float(text) <= limit) == (value <= limit):
                return text
        return f"{value:.3f}"

    def shown(self, figures: Figures | None) -> str:
        """As it stands in a table: `LOST` where nothing came back, `NONE` without a figure."""
        value = self.value(figures) if figures else None
        if value is None:
            return LOST if figures and is_lost(figures) else NONE
        return f"{self.text(value)} %" if self.unit == "%" else self.text(value)

    def exact(self, figures: Figures) -> str:
        """As `shown`, to 0.01 ms."""
        value = self.value(figures)
        return self.shown(figures) if value is None or self.unit == "%" else f"{value:.2f}"

    def text(self, value: float) -> str:
        """As it stands in a cell: one decimal below 10 ms, two below 1 %."""
        if self.unit == "%":
            return percent(value)
        return milliseconds(value)


def milliseconds(value: float) -> str:
    """`0.42`, `7.3`, `84`, `213`: what is read at a glance, never more exact than it is worth."""
    if value < 0.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def percent(value: float) -> str:
    """`0`, `<0.01`, `0.04`, `1.3`, `57`, `99.97`, `>99.99`, `100`: never rounded to 0 or 100."""
    if value in (0, 100):
        return f"{value:.0f}"
    if value < 0.01:
        return "<0.01"
    if 99.95 <= value < 100:
        return f"{value:.2f}" if value < 99.995 else ">99.99"
    if value < 0.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 9.95 or 99.5 <= value < 100 else f"{value:.0f}"


def is_lost(figures: Figures) -> bool:
    """True when attempts were made and the network gave none of them back.

    Not when none was made: that is no figure, but no loss either.
    """
    return figures.samples == 0 and (figures.loss_pct or 0) > 0


def is_mixed(figures: Figures) -> bool:
    """True when samples that were measured in different ways are behind the figures."""
    return len(figures.methods) > 1


def light_ratio(p50_ms: float | None, light_ms: float) -> float | None:
    """p50 against light in fibre; None where that is below 1 ms: within a town it says nothing."""
    return p50_ms / light_ms if p50_ms is not None and light_ms >= 1 else None


def loss_at_least_pct(figures: Figures) -> float | None:
    """The lower end of the 95 % interval of the loss: what so few attempts prove.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
    the American Statistical Association 22 (1927).
    """
    lost = sum(figures.failures.get(reason, 0) for reason in LOSS_REASONS)
    n = figures.samples + lost
    if figures.loss_pct is None or not n:
        return figures.loss_pct
    share, z = figures.loss_pct / 100, 1.959964
    off = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Below a millionth it is nothing but rounding.
    return 100 * max(0.0, round((share + z * z / (2 * n) - off) / (1 + z * z / n), 8))


_TRIP: Final = "round trip"


def _percentile(p: int) -> Metric:
    label = f"p{p}"
    steps = LATENCY_STEPS_MS
    return Metric(f"p_{p}", label, "ms", steps, lambda f: f.percentiles.get(p), f"{label} {_TRIP}")


_ALL = (
    *map(_percentile, PERCENTILES),
    Metric("mean", "mean", "ms", LATENCY_STEPS_MS, lambda f: f.mean, f"mean {_TRIP}"),
    Metric("min", "minimum", "ms", LATENCY_STEPS_MS, lambda f: f.min, f"minimum {_TRIP}"),
    Metric("max", "maximum", "ms", LATENCY_STEPS_MS, lambda f: f.max, f"maximum {_TRIP}"),
    Metric(
        "stddev",
        "deviation",
        "ms",
        SPREAD_STEPS_MS,
        lambda f: f.stddev,
        f"standard deviation of the {_TRIP}",
    ),
    Metric("loss", "loss", "%", LOSS_STEPS_PCT, lambda f: f.loss_pct, "loss", loss_at_least_pct),
)
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in _ALL}
DEFAULT_METRIC: Final = "p_50"
DEFAULT_FRAME: Final = "1D"
