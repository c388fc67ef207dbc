"""What was due: from the runs of one source and hour to its distributions; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloudping.distribution import Distribution, Ints, from_attempts
from cloudping.periods import HOUR, following
from cloudping.runs import METHOD_IMPORTED, REASONS, Run, samples

# When a run that has not come counts as missing: Lambda's own two retries come within 3 minutes
# (1 and 2 minutes after a failure, AWS Lambda Developer Guide, "Asynchronous invocation").
OVERDUE: Final = timedelta(minutes=10)
# A source that has been silent for longer than any window looks back is not expected any more.
LONGEST_SILENCE: Final = timedelta(days=366)

Kind = tuple[str, str]  # method, origin


@dataclass(frozen=True, slots=True, eq=False)
class RunSamples:
    """What a run brings into its hour: its schedule, and a row for each of its N attempts.

    targets      T codes of the regions that it tried
    target       N, index into `targets`
    latency_ms   N, NaN where there is none
    reason       N, index into `runs.REASONS` where there is no latency, else -1
    """

    time_s: int
    interval_s: int
    attempts_per_target: int
    kind: Kind
    targets: tuple[str, ...]
    target: Ints
    latency_ms: npt.NDArray[np.float64]
    reason: Ints

    @property
    def is_imported(self) -> bool:
        return self.kind[0] == METHOD_IMPORTED


def run_samples(run: Run) -> RunSamples:
    """The run's samples, after the sanity checks that every reader sees."""
    rows = list(samples(run))
    codes = [sample.region_to for sample in rows]
    targets = tuple(dict.fromkeys(codes))
    rank = {code: k for k, code in enumerate(targets)}
    latencies: list[Any] = [sample.latency_ms for sample in rows]
    return RunSamples(
        time_s=int(run.timestamp.timestamp()),
        interval_s=max(run.interval_s, 60),
        attempts_per_target=run.attempts_per_target,
        kind=(run.method, run.origin),
        targets=targets,
        target=np.array([rank[code] for code in codes], np.int64),
        latency_ms=np.array(latencies, np.float64),
        reason=np.array([REASONS.index(s.reason) if s.reason else -1 for s in rows], np.int64),
    )


def distributions(
    runs: Sequence[RunSamples],
    hour: datetime,
    now: datetime,
    before: RunSamples | None,
    next_interval_s: int = 0,
) -> dict[Kind, Distribution]:
    """The distributions of an hour by method and origin.

    `runs` are all of the hour, in any order. `before` is the source's last run before the hour:
    with one, what is missing at the hour's beginning was due. `next_interval_s` is the schedule of
    the run that comes next, or of the source if there is none yet.
    """
    ordered = sorted(runs, key=lambda run: run.time_s)
    due = {id(run): 1 for run in ordered}
    until = {id(run): run.time_s for run in ordered}
    own = own_runs(ordered)
    for run, missing in _missing(own, hour, before):
        due[id(run)] += missing
    if own:
        last = own[-1]
        interval_s = max(last.interval_s, next_interval_s)
        after = max(0, int(_due_until(hour, now) - last.time_s) // interval_s)
        due[id(last)] += after
        until[id(last)] += after * interval_s
    kinds = sorted({run.kind for run in ordered})
    return {
        kind: _distribution([run for run in ordered if run.kind == kind], due, until)
        for kind in kinds
    }


def own_runs(runs: Sequence[RunSamples]) -> list[RunSamples]:
    """Those with a schedule of their own, oldest first: gaps in imported data are not known."""
    return sorted((run for run in runs if not run.is_imported), key=lambda run: run.time_s)


def _missing(
    own: Sequence[RunSamples], hour: datetime, before: RunSamples | None
) -> Iterator[tuple[RunSamples, int]]:
    """How many runs are missing before the first one of the hour and between two of them.

    Around a change of the schedule the longer interval counts.
    """
    if own and before is not None:
        interval_s = own[0].interval_s
        if not before.is_imported:
            interval_s = max(interval_s, before.interval_s)
        yield own[0], (own[0].time_s - int(hour.timestamp())) // interval_s
    for run, next_run in pairwise(own):
        interval_s = max(run.interval_s, next_run.interval_s)
        yield run, max(0, round((next_run.time_s - run.time_s) / interval_s) - 1)


def begins_late(runs: Sequence[RunSamples], hour: datetime) -> bool:
    """Whether runs may be missing before the first one of the hour: the one before matters."""
    own = own_runs(runs)
    return not own or own[0].time_s - hour.timestamp() >= own[0].interval_s


def ends_early(last: RunSamples, hour: datetime, now: datetime) -> bool:
    """Whether runs may be missing after the last one, by its schedule: the next one matters."""
    return int(_due_until(hour, now) - last.time_s) >= last.interval_s


def _due_until(hour: datetime, now: datetime) -> float:
    return min(following(HOUR, hour).timestamp() - 1, (now - OVERDUE).timestamp())


def is_open(last: RunSamples, hour: datetime, now: datetime) -> bool:
    """Whether runs after the `last` one before or in the hour may yet come, and may yet be late."""
    end_s = following(HOUR, hour).timestamp() - 1
    ticks, overdue = (
        int(until - last.time_s) // last.interval_s for until in (end_s, _due_until(hour, now))
    )
    return not last.is_imported and ticks > max(overdue, 0)


def _distribution(
    runs: Sequence[RunSamples], due: dict[int, int], until: dict[int, int]
) -> Distribution:
    """Of the runs of one kind, each of which stands for `due` scheduled ones."""
    codes = sorted({code for run in runs for code in run.targets})
    rank = {code: k for k, code in enumerate(codes)}
    # What a run was to do at a target counts once, however many attempts it made there.
    scheduled = np.zeros(len(codes), np.int64)
    columns = []
    for run in runs:
        places = np.array([rank[code] for code in run.targets], np.int64)
        scheduled[places] += run.attempts_per_target * due[id(run)]
        columns.append(places[run.target])
    return from_attempts(
        codes,
        np.concatenate(columns),
        np.concatenate([run.latency_ms for run in runs]),
        np.repeat([run.time_s for run in runs], [len(run.target) for run in runs]),
        reason=np.concatenate([run.reason for run in runs]),
        scheduled=scheduled,
        runs=len(runs),
        scheduled_runs=sum(due[id(run)] for run in runs),
        until_s=max(until[id(run)] for run in runs),
    )


def silent(
    before: RunSamples, hour: datetime, now: datetime, next_interval_s: int = 0
) -> Distribution | None:
    """The hour of a source that should have run and did not, by its last run before.

    None where nothing was due. `next_interval_s` as in `distributions`.
    """
    start_s = int(hour.timestamp())
    interval_s = max(before.interval_s, next_interval_s)
    first = -(-(start_s - before.time_s) // interval_s)
    last = int(_due_until(hour, now) - before.time_s) // interval_s
    is_forgotten = start_s - before.time_s > LONGEST_SILENCE.total_seconds()
    if before.is_imported or is_forgotten or last < first:
        return None
    codes = tuple(sorted(before.targets))
    return from_attempts(
        codes,
        [],
        [],
        [],
        scheduled=[before.attempts_per_target * (last - first + 1)] * len(codes),
        runs=0,
        scheduled_runs=last - first + 1,
        until_s=before.time_s + last * interval_s,
    )
