"""From the runs of one source and hour to its distributions, with what was due; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from cloudping.distribution import Distribution, from_attempts
from cloudping.periods import HOUR, following
from cloudping.runs import METHOD_IMPORTED, REASONS, Run, samples

# When a run that has not come counts as missing: Lambda's own two retries come within 3 minutes
# (1 and 2 minutes after a failure, AWS Lambda Developer Guide, "Asynchronous invocation").
OVERDUE: Final = timedelta(minutes=10)

Kind = tuple[str, str]  # method, origin


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a run brings into its hour: its schedule, and a row for each attempt.

    `attempts` has the columns target, latency_ms (NaN where there is none) and reason (index into
    `runs.REASONS`).
    """

    time_s: int
    interval_s: int
    planned: int
    kind: Kind
    attempts: pd.DataFrame

    @property
    def is_imported(self) -> bool:
        return self.kind[0] == METHOD_IMPORTED


def measured(run: Run) -> Measured:
    """The run's samples, after the sanity checks that every reader sees."""
    rows = [
        (sample.region_to, sample.latency_ms, REASONS.index(sample.reason) if sample.reason else -1)
        for sample in samples(run)
    ]
    frame = pd.DataFrame.from_records(rows, columns=["target", "latency_ms", "reason"])
    return Measured(
        time_s=int(run.timestamp.timestamp()),
        interval_s=max(run.interval_s, 60),
        planned=run.attempts_per_target,
        kind=(run.method, run.origin),
        attempts=frame.astype({"latency_ms": float}),
    )


def distributions(
    runs: Sequence[Measured], hour: datetime, now: datetime, began_before: bool
) -> dict[Kind, Distribution]:
    """The distributions of an hour by method and origin.

    `runs` are all of the hour, in any order; `began_before` says that the source had run before
    the hour, so that what is missing at its beginning was due.
    """
    ordered = sorted(runs, key=lambda run: run.time_s)
    due = {id(run): 1 for run in ordered}
    until = {id(run): run.time_s for run in ordered}
    own = [run for run in ordered if not run.is_imported]
    for run, missing in _missing(own, hour, now, began_before):
        due[id(run)] += missing
    if own:
        after = _ticks_after(own[-1], hour, now)
        due[id(own[-1])] += after
        until[id(own[-1])] += after * own[-1].interval_s
    kinds = sorted({run.kind for run in ordered})
    return {
        kind: _distribution([run for run in ordered if run.kind == kind], due, until)
        for kind in kinds
    }


def _missing(
    own: Sequence[Measured], hour: datetime, now: datetime, began_before: bool
) -> Iterator[tuple[Measured, int]]:
    """How many runs are missing before the first one of the hour and between two of them.

    Around a change of the schedule the longer interval counts.
    """
    if own and began_before:
        yield own[0], (own[0].time_s - int(hour.timestamp())) // own[0].interval_s
    for run, next_run in pairwise(own):
        interval_s = max(run.interval_s, next_run.interval_s)
        yield run, max(0, round((next_run.time_s - run.time_s) / interval_s) - 1)


def _ticks_after(run: Measured, hour: datetime, now: datetime) -> int:
    """How many runs were due after this one, to the end of its hour or until just now."""
    return max(0, int(_due_until(hour, now) - run.time_s) // run.interval_s)


def _due_until(hour: datetime, now: datetime) -> float:
    return min(following(HOUR, hour).timestamp() - 1, (now - OVERDUE).timestamp())


def is_open(last: Measured, hour: datetime, now: datetime) -> bool:
    """Whether runs after the `last` one before or in the hour may yet come, and may yet be late."""
    end_s = following(HOUR, hour).timestamp() - 1
    ticks, overdue = (
        int(until - last.time_s) // last.interval_s for until in (end_s, _due_until(hour, now))
    )
    return not last.is_imported and ticks > max(overdue, 0)


def _distribution(
    runs: Sequence[Measured], due: dict[int, int], until: dict[int, int]
) -> Distribution:
    """Of the runs of one kind, each of which stands for `due` scheduled ones."""
    frame = pd.concat([run.attempts for run in runs], keys=range(len(runs)), names=["run", None])
    number = frame.index.get_level_values("run").to_numpy()
    target = frame["target"].astype("category").cat
    codes = target.codes.to_numpy()
    planned = np.array([run.planned * due[id(run)] for run in runs], np.int64)
    # What a run was to do at a target counts once, however many attempts it made there.
    scheduled = np.zeros(len(target.categories), np.int64)
    each = np.unique(np.stack([number, codes]), axis=1)
    np.add.at(scheduled, each[1], planned[each[0]])
    return from_attempts(
        tuple(target.categories),
        codes,
        frame["latency_ms"].to_numpy(),
        np.array([run.time_s for run in runs], np.int64)[number],
        reason=frame["reason"].to_numpy(),
        scheduled=scheduled,
        runs=len(runs),
        scheduled_runs=sum(due[id(run)] for run in runs),
        until_s=max(until[id(run)] for run in runs),
    )


def silent(before: Measured, hour: datetime, now: datetime) -> Distribution | None:
    """The hour of a source that should have run and did not, by its last run before.

    None where nothing was due.
    """
    start_s = int(hour.timestamp())
    first = -(-(start_s - before.time_s) // before.interval_s)
    last = int(_due_until(hour, now) - before.time_s) // before.interval_s
    if before.is_imported or last < first:
        return None
    codes = tuple(sorted(set(before.attempts["target"])))
    return from_attempts(
        codes,
        [],
        [],
        [],
        scheduled=[before.planned * (last - first + 1)] * len(codes),
        runs=0,
        scheduled_runs=last - first + 1,
        until_s=before.time_s + last * before.interval_s,
    )
