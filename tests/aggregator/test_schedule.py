from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import schedule
from chalicelib.schedule import RunSamples
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudping.codec import digest
from cloudping.distribution import merge, percentiles
from cloudping.runs import REASONS, Attempt, Run, TargetResult

SIX = datetime(2026, 11, 20, 6, tzinfo=UTC)
LATER = SIX + timedelta(hours=5)
OWN = ("kernel-1", "aws")


def a_run(
    minute: float, interval_minutes: int = 5, attempts: int = 2, method: str = "kernel-1",
    results: dict[str, list[float | str]] | None = None,
) -> RunSamples:  # fmt: skip
    return schedule.run_samples(
        Run(
            region="source",
            timestamp=SIX + timedelta(minutes=minute),
            partition="aws",
            interval_s=interval_minutes * 60,
            attempts_per_target=attempts,
            method=method,
            origin="aws",
            results={
                code: TargetResult(
                    "host", (), None,
                    tuple(
                        Attempt(None, None, 0, entry) if isinstance(entry, str) else Attempt(entry)
                        for entry in entries
                    ),
                )
                for code, entries in (results or {"target": [10.0, 11.0]}).items()
            },
        )
    )  # fmt: skip


BEFORE = a_run(-2, 1)


def due(
    *runs: RunSamples,
    before: RunSamples | None = BEFORE,
    now: datetime = LATER,
    next_interval_s: int = 0,
) -> int:
    found = schedule.distributions(runs, SIX, now, before, next_interval_s)
    return sum(one.scheduled_runs for one in found.values())


def test_a_complete_hour_was_due_as_it_was_made() -> None:
    runs = [a_run(minute) for minute in range(2, 60, 5)]
    (one,) = schedule.distributions(runs, SIX, LATER, BEFORE).values()
    assert (one.runs, one.scheduled_runs) == (12, 12)
    assert one.scheduled.tolist() == [24]
    assert one.sample_counts().tolist() == [24]
    assert one.until_s == (SIX + timedelta(minutes=57)).timestamp()


@pytest.mark.parametrize(
    ("minutes", "began_before", "expected"),
    [
        (range(22, 60, 5), True, 12),  # four are missing at the beginning
        (range(22, 60, 5), False, 8),  # a new source: it was not there before
        (range(2, 40, 5), True, 12),  # four are missing at the end
        ((2, 7, 42, 57), True, 12),  # and in the middle
    ],
)
def test_missing_runs_were_due(minutes: Any, began_before: bool, expected: int) -> None:
    assert due(*map(a_run, minutes), before=BEFORE if began_before else None) == expected


def test_a_run_is_missing_only_when_it_is_overdue() -> None:
    runs = [a_run(2), a_run(7)]
    assert due(*runs, now=SIX + timedelta(minutes=13)) == 2
    assert due(*runs, now=SIX + timedelta(minutes=21)) == 2  # that of 12 may come until 22
    assert due(*runs, now=SIX + timedelta(minutes=22)) == 3
    (one,) = schedule.distributions(runs, SIX, SIX + timedelta(minutes=22), BEFORE).values()
    assert one.until_s == (SIX + timedelta(minutes=12)).timestamp()


def test_a_change_of_schedule_leaves_no_gap() -> None:
    slow_to_fast = [a_run(2), a_run(7), *(a_run(m, 1) for m in range(9, 60))]
    assert due(*slow_to_fast) == 53
    fast_to_slow = [*(a_run(m, 1) for m in range(31)), *(a_run(m) for m in range(32, 60, 5))]
    assert due(*fast_to_slow) == 37


def test_around_a_change_of_schedule_between_two_hours_the_longer_interval_counts() -> None:
    hourly_before = a_run(-9, 60)
    assert due(*(a_run(m) for m in range(37, 60, 5)), before=hourly_before) == 5
    every_five_minutes_until = [a_run(m) for m in range(2, 33, 5)]
    assert due(*every_five_minutes_until, next_interval_s=300) == 12
    assert due(*every_five_minutes_until, next_interval_s=3600) == 7
    assert schedule.silent(a_run(-28), SIX, LATER, 300) is not None
    assert schedule.silent(a_run(-28), SIX, LATER, 6 * 3600) is None


def test_a_source_is_expected_for_a_year_and_no_longer() -> None:
    then = SIX + timedelta(days=366)
    assert schedule.silent(a_run(2), then, then + timedelta(days=1)) is not None
    then += timedelta(hours=1)
    assert schedule.silent(a_run(2), then, then + timedelta(days=1)) is None


def test_six_hourly_runs_are_due_once_in_their_hour() -> None:
    assert due(a_run(7, interval_minutes=360)) == 1


def test_a_target_is_due_from_the_runs_that_have_it() -> None:
    both: dict[str, list[float | str]] = {"a": [1.0, 1.0], "b": [2.0, "not_tried"]}
    runs = [a_run(2, 30), a_run(32, 30, results=both)]
    (one,) = schedule.distributions(runs, SIX, LATER, BEFORE).values()
    assert dict(zip(one.targets, one.scheduled.tolist(), strict=True)) == {
        "a": 2, "b": 2, "target": 2,
    }  # fmt: skip
    assert one.failures[1, REASONS.index("not_tried")] == 1


def test_methods_and_imported_runs_have_buckets_of_their_own() -> None:
    runs = [a_run(0, 360, method="original-1"), a_run(2, 30), a_run(32, 30, method="connect-1")]
    found = schedule.distributions(runs, SIX, LATER, BEFORE)
    assert {kind[0]: one.scheduled_runs for kind, one in found.items()} == {
        "kernel-1": 1, "connect-1": 1, "original-1": 1,
    }  # fmt: skip


def test_a_run_without_any_target_is_a_run() -> None:
    empty = a_run(0, results={"target": []})
    (one,) = schedule.distributions([empty], SIX, SIX, BEFORE).values()
    assert (one.runs, one.targets) == (1, ())


def test_a_silent_hour_was_due_by_the_last_run_before() -> None:
    gap = schedule.silent(a_run(-3), SIX, LATER)
    assert gap is not None
    assert (gap.runs, gap.scheduled_runs, gap.scheduled.tolist()) == (0, 12, [24])
    assert gap.until_s == (SIX + timedelta(minutes=57)).timestamp()
    assert schedule.silent(a_run(-3), SIX, SIX + timedelta(minutes=11)) is None  # not overdue yet
    six_hourly = a_run(-100, 360)
    assert schedule.silent(six_hourly, SIX, LATER) is None  # its next is not in this hour
    assert (
        schedule.silent(six_hourly, SIX + timedelta(hours=4), LATER + timedelta(days=1)) is not None
    )
    assert schedule.silent(a_run(-3, method="original-1"), SIX, LATER) is None


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 180),
            st.lists(st.one_of(st.floats(0, 500), st.sampled_from(REASONS)), max_size=4),
        ),
        min_size=1, max_size=20, unique_by=lambda run: run[0],
    ),
    st.randoms(),
)  # fmt: skip
def test_any_split_into_runs_and_hours_gives_numpys_percentiles(
    made: list[tuple[int, list[float | str]]], random: Any
) -> None:
    by_hour: dict[int, list[RunSamples]] = {}
    for minute, entries in random.sample(made, len(made)):
        one = a_run(minute, results={"target": entries})
        by_hour.setdefault(minute // 60, []).append(one)
    parts = [
        schedule.distributions(runs, SIX + timedelta(hours=hour), LATER, None)[OWN]
        for hour, runs in by_hour.items()
    ]
    whole = merge(parts)
    assert digest(whole) == digest(merge(reversed(parts)))
    every = [entry for _, entries in made for entry in entries if not isinstance(entry, str)]
    if every:
        expected = np.percentile(np.rint(np.array(every) * 100) / 100, [10, 50, 99])
        assert percentiles(whole, [10, 50, 99])[0].tolist() == expected.tolist()
