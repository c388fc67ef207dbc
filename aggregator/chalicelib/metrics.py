"""The health of the whole installation as a handful of CloudWatch metrics, one log line a run.

The line has CloudWatch's embedded metric format: Lambda's log turns it into metrics, without a call
or a right of its own. Never a metric a region, which would cost more than the measuring.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cloudping.distribution import Distribution
from cloudping.periods import HOUR, floor
from cloudping.regions import RegionState
from cloudping.runs import LOSS_REASONS, REASONS, is_silent

from .tables import Tables

NAMESPACE: Final = "CloudPing"
# So many connects without an answer before a target counts as dead: two runs of a single source.
DEAD_FROM: Final = 10
_LOST: Final = [REASONS.index(reason) for reason in LOSS_REASONS]


@dataclass(frozen=True, slots=True)
class Health:
    """What the alarms watch.

    `failed_runs` were due in the last whole hour and did not come. `dead_targets` answered none of
    that hour's connects, of any source; `newly_dead` are those of them that were not dead an
    aggregator's interval before. `loss_pct` is of that hour's connects to the others (None without
    any): a region that is down for months must not hide what happens to the rest. `lateness_s` is
    how far the newest data of the slowest source that is not silent lie behind its schedule.
    """

    sources: int
    silent_sources: int
    failed_runs: int
    lateness_s: float
    loss_pct: float | None
    dead_targets: tuple[str, ...] = ()
    newly_dead: tuple[str, ...] = ()


@dataclass(slots=True)
class _Hour:
    """What all sources together saw in an hour, by target: connects lost and answered."""

    due: int = 0
    made: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)

    def add(self, distribution: Distribution) -> None:
        self.due += distribution.scheduled_runs
        self.made += distribution.runs
        lost = distribution.failures[:, _LOST].sum(axis=1)
        answered = distribution.sample_counts()
        for target, losses, answers in zip(distribution.targets, lost, answered, strict=True):
            self.lost[target] += int(losses)
            self.answered[target] += int(answers)

    @property
    def dead(self) -> set[str]:
        return {t for t, lost in self.lost.items() if lost >= DEAD_FROM and not self.answered[t]}


def measure(tables: Tables, now: datetime, interval: timedelta = timedelta(hours=1)) -> Health:
    """Reads the catalogue and each source's last whole hour, after the aggregator's run.

    `interval` is the aggregator's own: what has died since its last run is news in this one.
    A bucket that cannot be read is left out; a region that cannot be counts as silent.
    """
    sources = tables.regions.sources()
    hour = floor(HOUR, now) - timedelta(hours=1)
    earlier = hour - max(timedelta(hours=1), interval)
    last, before = _Hour(), _Hour()
    silent, late_s = len(sources.bad), 0.0
    for state in sources:
        since, every = _last_sign(state), timedelta(seconds=state.interval_s)
        if since is None or is_silent(since, state.interval_s, now):
            silent += 1
        else:
            late_s = max(late_s, (now - since - every).total_seconds())
        for start, found in ((hour, last), (earlier, before)):
            for bucket in tables.distributions.between(state.region.code, HOUR, start, start):
                found.add(bucket.distribution)
    lost = sum(count for target, count in last.lost.items() if target not in last.dead)
    connects = lost + last.answered.total()
    return Health(
        sources=len(sources) + len(sources.bad),
        silent_sources=silent,
        failed_runs=max(0, last.due - last.made),
        lateness_s=round(late_s, 1),
        loss_pct=round(100 * lost / connects, 3) if connects else None,
        dead_targets=tuple(sorted(last.dead)),
        newly_dead=tuple(sorted(last.dead - before.dead)),
    )


def _last_sign(state: RegionState) -> datetime | None:
    """A source that has got its schedule just now is not silent for having no run of it yet."""
    known = [moment for moment in (state.latest_data, state.source_since) if moment is not None]
    return max(known, default=None)


def line(health: Health, installation: str, now: datetime) -> str:
    """The log line of embedded metric format; `installation` keeps two in an account apart."""
    values: Mapping[str, tuple[str, float | None]] = {
        "SilentSources": ("Count", health.silent_sources),
        "FailedRuns": ("Count", health.failed_runs),
        "LatenessSeconds": ("Seconds", health.lateness_s),
        "LossPercent": ("Percent", health.loss_pct),
        "NewlyDeadTargets": ("Count", len(health.newly_dead)),
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
        "dead_targets": list(health.dead_targets),
        **{name: value for name, (_, value) in known.items()},
    }
    return json.dumps(content)
