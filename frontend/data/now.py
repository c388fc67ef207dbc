"""The timeframe `now`: the last run of each source as cells of the matrix."""

from collections.abc import Iterator
from datetime import timedelta

from cloudping.buckets import Bucket
from cloudping.distribution import from_attempts
from cloudping.figures import figures
from cloudping.periods import HOUR, floor
from cloudping.runs import REASONS, Run, samples
from cloudping.summaries import Summary

NOW = "now"


def summaries_of_run(run: Run) -> Iterator[Summary]:
    """One summary a target, by the same formulas as every other timeframe."""
    attempts = list(samples(run))
    targets = sorted(run.results)
    position = {target: k for k, target in enumerate(targets)}
    distribution = from_attempts(
        targets,
        [position[a.region_to] for a in attempts],
        [float("nan") if a.latency_ms is None else a.latency_ms for a in attempts],
        int(run.timestamp.timestamp()),
        reason=[0 if a.reason is None else REASONS.index(a.reason) for a in attempts],
        scheduled=[run.attempts_per_target] * len(targets),
        runs=1,
    )
    bucket = Bucket(
        run.region, HOUR, floor(HOUR, run.timestamp), run.method, run.origin, distribution
    )
    for target, found in figures([bucket]).items():
        yield Summary(
            timeframe=NOW,
            region_from=run.region,
            region_to=target,
            figures=found,
            window_start=run.timestamp,
            window_end=run.timestamp + timedelta(milliseconds=run.wall_ms),
            updated_at=run.written_at or run.timestamp,
            origin=run.origin,
        )
