"""The timeframe `now`: the last run of a source as cells of the matrix."""

from collections.abc import Iterator
from datetime import timedelta
from statistics import fmean, median

from cloudping.runs import LOSS_REASONS, NOT_MEASURED_REASONS, Run, Sample, samples
from cloudping.summaries import Figures, Summary

NOW = "now"


def summaries_of_run(run: Run) -> Iterator[Summary]:
    """One summary a target; of the percentiles only the median, as a run has few samples."""
    for target in run.results:
        yield Summary(
            timeframe=NOW,
            region_from=run.region,
            region_to=target,
            figures=_figures(list(samples(run, target)), run),
            window_start=run.timestamp,
            window_end=run.timestamp + timedelta(milliseconds=run.wall_ms),
            updated_at=run.written_at or run.timestamp,
            network=run.network,
        )


def _figures(attempts: list[Sample], run: Run) -> Figures:
    latencies = [a.latency_ms for a in attempts if a.latency_ms is not None]
    failures: dict[str, int] = {}
    for attempt in attempts:
        if attempt.reason is not None:
            failures[attempt.reason] = failures.get(attempt.reason, 0) + 1
    lost = sum(failures.get(reason, 0) for reason in LOSS_REASONS)
    idle = sum(failures.get(reason, 0) for reason in NOT_MEASURED_REASONS)
    tried = len(attempts) - idle
    return Figures(
        samples=len(latencies),
        mean=fmean(latencies) if latencies else None,
        min=min(latencies, default=None),
        max=max(latencies, default=None),
        percentiles={50: median(latencies)} if latencies else {},
        failures=failures,
        loss_pct=100 * lost / tried if tried else None,
        coverage_pct=100 * tried / run.attempts if run.attempts else None,
        first_sample=run.timestamp if latencies else None,
        last_sample=run.timestamp if latencies else None,
        methods=(run.method,),
    )
