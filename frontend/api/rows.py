"""A pair's figures, a cell of the matrix and a region as rows: names as in `schemas.py`."""

from datetime import datetime
from typing import Any

from cloudping.regions import RegionState
from cloudping.summaries import PERCENTILES, Figures, Summary
from cloudping.times import to_iso


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else to_iso(moment)


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def figures_row(figures: Figures) -> dict[str, Any]:
    """Figures as `FiguresSchema` describes them, but for the network."""
    return {
        "samples": figures.samples,
        "mean": rounded(figures.mean),
        "stddev": rounded(figures.stddev),
        "min": rounded(figures.min),
        **{f"p_{p}": rounded(figures.percentiles.get(p)) for p in PERCENTILES},
        "max": rounded(figures.max),
        "loss_pct": rounded(figures.loss_pct),
        "coverage_pct": rounded(figures.coverage_pct),
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
