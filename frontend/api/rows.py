"""A pair's figures, a cell of the matrix and a region as rows: names as in `schemas.py`."""

from datetime import datetime
from typing import Any, Final

from cloudping.regions import RegionState
from cloudping.summaries import PERCENTILES, Figures, Summary
from cloudping.times import to_iso
from frontend.views.changes import Told
from frontend.views.figures import Metric


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else to_iso(moment)


def rounded(ms: float | None) -> float | None:
    """To a microsecond: no measurement here is better."""
    return None if ms is None else round(ms, 3)


def share(percent: float | None) -> float | None:
    """So that one attempt of a year is neither 0 nor 100 %."""
    return None if percent is None else round(percent, 6)


def written(metric: Metric, value: float) -> float:
    """A figure's value as numbers of its unit are written."""
    return round(value, 6 if metric.unit == "%" else 3)


def figures_row(figures: Figures) -> dict[str, Any]:
    """Figures as `FiguresSchema` describes them, but for the network."""
    return {
        "samples": figures.samples,
        "mean": rounded(figures.mean),
        "stddev": rounded(figures.stddev),
        "min": rounded(figures.min),
        **{f"p_{p}": rounded(figures.percentiles.get(p)) for p in PERCENTILES},
        "max": rounded(figures.max),
        "loss_pct": share(figures.loss_pct),
        "coverage_pct": share(figures.coverage_pct),
        "failures": dict(figures.failures),
        "first_sample": iso(figures.first_sample),
        "last_sample": iso(figures.last_sample),
        "methods": list(figures.methods),
    }


def cell_row(cell: Summary) -> dict[str, Any]:
    return {
        "region_from": cell.region_from,
        "region_to": cell.region_to,
        "timeframe": cell.timeframe,
        **figures_row(cell.figures),
        "window_start": to_iso(cell.window_start),
        "window_end": to_iso(cell.window_end),
        "updated_at": to_iso(cell.updated_at),
        "network": cell.origin,
    }


def region_row(state: RegionState) -> dict[str, Any]:
    region = state.region
    return {
        "region": region.code,
        "name": region.name,
        "partition": region.partition,
        "geography": region.geography,
        "place": region.place,
        "latitude": region.latitude,
        "longitude": region.longitude,
        "endpoint": region.endpoint,
        "is_source": state.is_source,
        "is_target": state.is_target,
        "interval_s": state.interval_s,
        "opt_in_status": state.opt_in_status,
        "earliest_data": iso(state.earliest_data),
        "latest_data": iso(state.latest_data),
    }


def change_row(told: Told) -> dict[str, Any]:
    """A change as `ChangeSchema` describes it."""
    change = told.change
    steps = sorted((pair.after - pair.before for pair in change.pairs), key=abs)
    return {
        "id": change.id,
        "figure": change.figure,
        "role": change.role,
        "ends": list(change.ends),
        "title": told.title,
        "first_day": change.first_day.isoformat(),
        "last_day": None if change.last_day is None else change.last_day.isoformat(),
        "measured": change.measured,
        "least_change": rounded(steps[0]),
        "largest_change": rounded(steps[-1]),
        "pairs": [
            {
                "region_from": pair.region_from,
                "region_to": pair.region_to,
                "first_day": pair.first_day.isoformat(),
                "last_day": None if pair.last_day is None else pair.last_day.isoformat(),
                "before": pair.before,
                "after": pair.after,
                "sigmas": pair.sigmas,
            }
            for pair in change.pairs
        ],
        "is_withdrawn": change.is_withdrawn,
        "found_at": to_iso(change.found_at),
        "updated_at": to_iso(change.updated_at),
        "network": change.origin,
    }


# The names of each kind of row, in the order of a CSV.
FIGURES: Final = tuple(figures_row(Figures(samples=0)))
CELL: Final = ("region_from", "region_to", "timeframe", *FIGURES,
               "window_start", "window_end", "updated_at", "network")  # fmt: skip
POINT: Final = ("at", *FIGURES, "network")
REGION: Final = ("region", "name", "partition", "geography", "place", "latitude", "longitude",
                 "endpoint", "is_source", "is_target", "interval_s", "opt_in_status",
                 "earliest_data", "latest_data")  # fmt: skip
SAMPLE: Final = ("at", "attempt", "latency_ms", "connect_ms", "retransmits", "reason", "address",
                 "method", "network")  # fmt: skip
BIN: Final = ("latency_ms", "count")
SOURCE: Final = ("region", "state", "last_run", "interval_s", "runs_expected", "runs_seen",
                 "loss_pct", "lateness_ms", "wall_ms")  # fmt: skip
CHANGE: Final = ("id", "figure", "role", "ends", "title", "first_day", "last_day", "measured",
                 "least_change", "largest_change", "is_withdrawn", "found_at", "updated_at",
                 "network")  # fmt: skip
