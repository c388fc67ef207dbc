"""The health of the whole installation as a handful of CloudWatch metrics, one log line a run.

The line has CloudWatch's embedded metric format: Lambda's log turns it into metrics, without a call
or a right of its own. Never a metric a region, which would cost more than the measuring.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cloudping.errors import ItemError
from cloudping.periods import HOUR, floor
from cloudping.runs import LOSS_REASONS, REASONS

from .rollup import Tables

NAMESPACE: Final = "CloudPing"
# After three intervals without a run, and the time that one may take, a source is silent.
SILENT_INTERVALS: Final = 3
GRACE: Final = timedelta(minutes=2)
_LOST: Final = [REASONS.index(reason) for reason in LOSS_REASONS]


@dataclass(frozen=True, slots=True)
class Health:
    """What the alarms watch.

    `failed_runs` were due in the last whole hour and did not come, `loss_pct` is of that hour's
    connects (None without any); `lateness_s` is how far the newest data of the slowest source that
    is not silent lie behind its schedule.
    """

    sources: int
    silent_sources: int
    failed_runs: int
    lateness_s: float
    loss_pct: float | None


def measure(tables: Tables, now: datetime) -> Health:
    """Reads the catalogue and each source's last whole hour, after the aggregator's run."""
    bad: list[ItemError] = []
    sources = tables.regions.sources(bad)
    hour = floor(HOUR, now) - timedelta(hours=1)
    silent, late_s, due, made, lost, answered = len(bad), 0.0, 0, 0, 0, 0
    for state in sources:
        interval = timedelta(seconds=state.interval_s)
        age = None if state.latest_data is None else now - state.latest_data
        if age is None or age > SILENT_INTERVALS * interval + GRACE:
            silent += 1
        else:
            late_s = max(late_s, (age - interval).total_seconds())
        for bucket in tables.distributions.between(state.region.code, HOUR, hour, hour):
            distribution = bucket.distribution
            due += distribution.scheduled_runs
            made += distribution.runs
            lost += int(distribution.failures[:, _LOST].sum())
            answered += int(distribution.counts.sum())
    return Health(
        sources=len(sources) + len(bad),
        silent_sources=silent,
        failed_runs=max(0, due - made),
        lateness_s=round(late_s, 1),
        loss_pct=round(100 * lost / (lost + answered), 3) if lost + answered else None,
    )


def line(health: Health, installation: str, now: datetime) -> str:
    """The log line of embedded metric format; `installation` keeps two in an account apart."""
    values: Mapping[str, tuple[str, float | None]] = {
        "SilentSources": ("Count", health.silent_sources),
        "FailedRuns": ("Count", health.failed_runs),
        "LatenessSeconds": ("Seconds", health.lateness_s),
        "LossPercent": ("Percent", health.loss_pct),
    }
    known = {name: entry for name, entry in values.items() if entry[1] is not None}
    content: dict[str, Any] = {
        "_aws": {
            "Timestamp": int(now.timestamp() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["Installation"]],
                    "Metrics": [{"Name": n, "Unit": unit} for n, (unit, _) in known.items()],
                }
            ],
        },
        "event": "health",
        "Installation": installation,
        "sources": health.sources,
        **{name: value for name, (_, value) in known.items()},
    }
    return json.dumps(content)
