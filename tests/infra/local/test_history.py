"""A year of history: complete, consistent across levels, and the planet's own figures."""

from datetime import UTC, datetime, timedelta

import numpy as np

from cloudping import planet, runs
from cloudping.distribution import merge
from cloudping.figures import figures
from cloudping.periods import DAY, HOUR, MONTH, floor
from infra.local import history

END = datetime(2026, 11, 20, 6, tzinfo=UTC)
TARGETS = ("eu-west-1", "us-east-1")


def test_days_hold_what_the_planet_says() -> None:
    days = list(history.past_days("us-east-1", TARGETS, END, days=3))
    assert [start.isoformat()[:10] for start, _ in days] == [
        "2026-11-17",
        "2026-11-18",
        "2026-11-19",
        "2026-11-20",
    ]
    start, distribution = days[1]
    minutes = int(start.timestamp()) // 60 + 60 * np.arange(24)
    expected = planet.latencies_ms("us-east-1", "eu-west-1", minutes, history.ATTEMPTS)
    part = distribution.only("eu-west-1")
    np.testing.assert_array_equal(
        np.repeat(part.units, part.counts),
        np.sort(np.rint(expected[~np.isnan(expected)] * 100)).astype(int),
    )
    assert part.failures.sum() == np.isnan(expected).sum()
    assert days[-1][1].runs == 6  # the last day is as long as it has been


def test_months_days_and_hours_agree() -> None:
    days = list(history.past_days("us-east-1", TARGETS, END, days=80))
    buckets = list(history._buckets("us-east-1", TARGETS, days, END))
    by_level = {
        level: {b.start: b for b in buckets if b.level == level} for level in (HOUR, DAY, MONTH)
    }
    november = by_level[MONTH][datetime(2026, 11, 1, tzinfo=UTC)]
    of_november = [b for start, b in by_level[DAY].items() if start >= november.start]
    assert figures([november]) == figures(of_november)
    day = by_level[DAY][floor(DAY, END) - timedelta(days=1)]
    hours = [b for start, b in by_level[HOUR].items() if floor(DAY, start) == day.start]
    assert len(hours) == 24
    whole = merge(b.distribution for b in hours)
    np.testing.assert_array_equal(whole.units, day.distribution.units)
    np.testing.assert_array_equal(whole.counts, day.distribution.counts)


def test_the_first_month_has_its_days_since_a_year_begins_in_it() -> None:
    days = list(history.past_days("us-east-1", TARGETS, END))
    buckets = list(history._buckets("us-east-1", TARGETS, days, END))
    starts = {b.start for b in buckets if b.level == DAY}
    first = days[0][0]
    assert first <= END - timedelta(days=365)
    day = first
    while day.month == first.month:
        assert day in starts
        day += timedelta(days=1)


def test_raw_runs_are_runs_of_the_simulated_network() -> None:
    made = list(history.raw_runs("us-east-1", TARGETS, END - timedelta(hours=2), END))
    assert [r.timestamp for r in made] == [END - timedelta(hours=k) for k in (2, 1)]
    for run in made:
        assert runs.from_item(runs.to_item(run)) == run
        assert run.network == "simulated"
        assert run.expires_at is not None


def test_history_and_the_probes_that_run_on_join_without_a_seam() -> None:
    """The same runs make the same day, and a denser schedule sees the same network."""
    (start, from_history), *_ = history.past_days("us-east-1", TARGETS, END, days=1)
    made = list(history.raw_runs("us-east-1", TARGETS, start, start + timedelta(days=1)))
    for target in TARGETS:
        part = from_history.only(target)
        latencies = [s.latency_ms for run in made for s in runs.samples(run, target)]
        measured = np.array([value for value in latencies if value is not None])
        np.testing.assert_array_equal(
            np.repeat(part.units, part.counts), np.sort(np.rint(measured * 100)).astype(int)
        )
        assert part.failures.sum() == latencies.count(None)
        minutes = int(start.timestamp()) // 60 + np.arange(1440)
        dense = np.nanmedian(planet.latencies_ms("us-east-1", target, minutes, history.ATTEMPTS))
        assert abs(np.median(measured) / dense - 1) < 0.01
