"""`cloudping_stored_avgs` (the matrix) and `cloudping_history` (daily figures): records, items, tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

PERCENTILES: Final = (10, 25, 50, 75, 90, 95, 98, 99)
TIMEFRAMES: Final = ("1D", "1W", "1M", "1Y")
TIMEFRAME_DAYS: Final = {"1D": 1, "1W": 7, "1M": 30, "1Y": 365}


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of one pair over one stretch of time; latencies in ms, None where too few.

    `percentiles` holds p to ms for those of PERCENTILES that n allows. `samples` is n: the exact
    latencies behind the figures. `failures` counts the others by reason (`runs.REASONS`).
    `loss_pct` is the share of lost among network attempts; None when there were none.
    `coverage_pct` is attempted against scheduled; None when nothing was scheduled.
    `methods` are the measuring methods of the samples, more than one only where imported ones mix.
    """

    samples: int
    mean: float | None = None
    stddev: float | None = None
    min: float | None = None
    max: float | None = None
    percentiles: Mapping[int, float] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    loss_pct: float | None = None
    coverage_pct: float | None = None
    first_sample: datetime | None = None
    last_sample: datetime | None = None
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """One cell of the matrix in one timeframe: an item of `cloudping_stored_avgs`."""

    timeframe: str
    region_from: str
    region_to: str
    figures: Figures
    window_start: datetime
    window_end: datetime
    updated_at: datetime
    network: str
