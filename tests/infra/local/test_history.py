"""A year of history: complete, consistent across levels, and what the pipeline would have made."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import aggregate
from chalicelib.reader import RunReader
from chalicelib.rows import renew
from chalicelib.tables import Counts, Pass, Tables, tables

from cloudping import dynamo, planet, runs
from cloudping.distribution import merge
from cloudping.figures import figures
from cloudping.periods import DAY
from cloudping.regions import CATALOGUE, RegionState
from cloudping.summaries import TIMEFRAMES, Figures
from infra.local import history

NOW = datetime(2026, 11, 20, 6, 40, tzinfo=UTC)
HOUR_NOW = datetime(2026, 11, 20, 6, tzinfo=UTC)
SOURCE = "us-east-1"
TARGETS = ("eu-west-1", "us-east-1")


@pytest.fixture
def installed(dynamodb: Any) -> Tables:
    made = tables(dynamodb, "")
    made.regions.put(RegionState(CATALOGUE[SOURCE], True, True, 60))
    return made


def aggregated(installed: Tables, now: datetime) -> dict[str, Any]:
    return aggregate.run(installed, RunReader(installed.runs), clock=lambda: now)


def row(installed: Tables, timeframe: str) -> dict[str, Figures]:
    """The source's figures; which of two kinds of loss an attempt was, arrays do not say."""
    found = installed.summaries.of_source(timeframe, SOURCE)
    return {
        cell.region_to: replace(
            cell.figures, failures={"lost": sum(cell.figures.failures.values())}
        )
        for cell in found
    }


def test_the_last_day_is_what_the_aggregator_makes_of_its_runs(
    dynamodb: Any, installed: Tables
) -> None:
    history.day_of(dynamodb, SOURCE, TARGETS, NOW)
    aggregated(installed, NOW)
    seeded = row(installed, "1D")
    assert set(seeded) == set(TARGETS)
    assert seeded["eu-west-1"].samples > 24 * history.ATTEMPTS  # the run of this hour as well

    everything = history.raw_runs(SOURCE, TARGETS, HOUR_NOW - timedelta(days=1), NOW)
    dynamo.write_batches(dynamodb, "PingTest", map(runs.to_item, everything))
    for name, keys in (("cloudping_distributions", ("region", "bucket")),
                       ("cloudping_stored_avgs", ("timeframe", "index"))):  # fmt: skip
        for item in dynamodb.scan(TableName=name)["Items"]:
            dynamodb.delete_item(TableName=name, Key={key: item[key] for key in keys})
    assert row(installed, "1D") == {}
    report = aggregated(installed, NOW)
    assert report["runs_read"] == 25 and not report["failed"]
    assert row(installed, "1D") == seeded


def test_all_timeframes_rest_on_the_buckets_as_the_aggregator_reads_them(
    dynamodb: Any, installed: Tables
) -> None:
    history.day_of(dynamodb, SOURCE, TARGETS, NOW)
    assert {name: len(row(installed, name)) for name in TIMEFRAMES} == {
        "1D": 2, "1W": 0, "1M": 0, "1Y": 0,
    }  # fmt: skip
    history.year_of(dynamodb, SOURCE, TARGETS, NOW)
    seeded = {name: row(installed, name) for name in TIMEFRAMES}
    state = installed.distributions.checkpoint(SOURCE)
    assert state is not None and set(state.written) == set(TIMEFRAMES)
    # From what the tables hold, and not from what it had in hand, it comes to the same.
    of = Pass(installed, RegionState(CATALOGUE[SOURCE], True, True), NOW)
    again = renew(of, RunReader(installed.runs), TIMEFRAMES, {}, Counts())
    assert again == state.written
    assert {name: row(installed, name) for name in TIMEFRAMES} == seeded
    n = {name: seeded[name]["eu-west-1"].samples for name in TIMEFRAMES}
    attempts = {"1D": 24, "1W": 7 * 24 + 6, "1M": 30 * 24 + 6, "1Y": 365 * 24 + 6}
    for name, hours in attempts.items():
        figures = seeded[name]["eu-west-1"]
        assert figures.coverage_pct == 100
        assert n[name] + figures.failures["lost"] == hours * history.ATTEMPTS, name


def test_the_aggregator_goes_on_from_there(dynamodb: Any, installed: Tables) -> None:
    history.day_of(dynamodb, SOURCE, TARGETS, NOW)
    history.year_of(dynamodb, SOURCE, TARGETS, NOW)
    report = aggregated(installed, NOW + timedelta(minutes=2))
    assert not report["failed"]
    assert report["runs_read"] == 1  # that of the full hour
    assert report["buckets_written"] == 1
    region = {state.region.code: state for state in installed.regions.all()}[SOURCE]
    assert region.earliest_data == datetime(2025, 11, 19, tzinfo=UTC)
    assert region.latest_data == HOUR_NOW


def test_daily_figures_are_those_of_the_days(dynamodb: Any, installed: Tables) -> None:
    history.day_of(dynamodb, SOURCE, TARGETS, NOW)
    history.year_of(dynamodb, SOURCE, TARGETS, NOW)
    history.days_of(dynamodb, SOURCE, TARGETS, NOW)
    days = installed.history.between(
        SOURCE, "eu-west-1", NOW.date() - timedelta(days=400), NOW.date()
    )
    assert len(days) == history.DAYS  # every day that is over, and not today
    assert days[-1].day == NOW.date() - timedelta(days=1)
    yesterday = datetime(2026, 11, 19, tzinfo=UTC)
    (bucket,) = installed.distributions.between(SOURCE, DAY, yesterday, yesterday)
    made = figures([bucket])["eu-west-1"]
    assert days[-1].figures.samples == made.samples
    assert days[-1].figures.percentiles[50] == pytest.approx(made.percentiles[50], abs=0.001)


def stretch(days: int) -> history._Stretch:
    begin = HOUR_NOW.replace(hour=0) - timedelta(days=days)
    return history._stretch(SOURCE, TARGETS, begin, HOUR_NOW)


def test_days_hold_what_the_planet_says() -> None:
    days = list(history._days(SOURCE, stretch(3)))
    assert [day.start.isoformat()[:10] for day in days] == [
        "2026-11-17",
        "2026-11-18",
        "2026-11-19",
    ]
    day = days[1]
    minutes = int(day.start.timestamp()) // 60 + 60 * np.arange(24)
    expected = planet.latencies_ms(SOURCE, "eu-west-1", minutes, history.ATTEMPTS)
    part = day.distribution.only("eu-west-1")
    np.testing.assert_array_equal(
        np.repeat(part.units, part.counts),
        np.sort(np.rint(expected[~np.isnan(expected)] * 100)).astype(int),
    )
    assert part.failures.sum() == np.isnan(expected).sum()


def test_months_days_and_hours_agree() -> None:
    whole = stretch(80)
    days = list(history._days(SOURCE, whole))
    (october,) = (b for b in history._months(SOURCE, days, NOW) if b.start.month == 10)
    assert figures([october]) == figures([day for day in days if day.start.month == 10])
    hours = list(history._hours(SOURCE, whole, since=days[-1].start))
    assert len(hours) == 24 + 6  # of yesterday, and of today until now
    merged = merge(bucket.distribution for bucket in hours[:24])
    np.testing.assert_array_equal(merged.units, days[-1].distribution.units)
    np.testing.assert_array_equal(merged.counts, days[-1].distribution.counts)


def test_what_is_not_over_has_no_bucket_yet() -> None:
    days = list(history._days(SOURCE, stretch(80)))
    assert days[-1].start == datetime(2026, 11, 19, tzinfo=UTC)
    assert max(month.start for month in history._months(SOURCE, days, NOW)).month == 10


def test_the_first_month_has_its_days_since_a_year_begins_in_it() -> None:
    days = list(history._days(SOURCE, stretch(history.DAYS)))
    kept = {day.start for day in history._kept(days, NOW)}
    assert days[0].start <= NOW - timedelta(days=365)
    assert {day.start for day in days if day.start < datetime(2025, 12, 1, tzinfo=UTC)} < kept


def test_raw_runs_are_runs_of_the_simulated_network() -> None:
    made = list(history.raw_runs(SOURCE, TARGETS, HOUR_NOW - timedelta(hours=2), HOUR_NOW))
    assert [r.timestamp for r in made] == [HOUR_NOW - timedelta(hours=k) for k in (2, 1)]
    for run in made:
        assert runs.from_item(runs.to_item(run)) == run
        assert run.origin == "simulated"


def test_history_and_the_probes_that_run_on_join_without_a_seam() -> None:
    """The same runs make the same day, and a denser schedule sees the same network."""
    (day,) = history._days(SOURCE, stretch(1))
    start = day.start
    made = list(history.raw_runs(SOURCE, TARGETS, start, start + timedelta(days=1)))
    for target in TARGETS:
        part = day.distribution.only(target)
        latencies = [s.latency_ms for run in made for s in runs.samples(run, target)]
        measured = np.array([value for value in latencies if value is not None])
        np.testing.assert_array_equal(
            np.repeat(part.units, part.counts), np.sort(np.rint(measured * 100)).astype(int)
        )
        assert part.failures.sum() == latencies.count(None)
        minutes = int(start.timestamp()) // 60 + np.arange(1440)
        dense = np.nanmedian(planet.latencies_ms(SOURCE, target, minutes, history.ATTEMPTS))
        assert abs(np.median(measured) / dense - 1) < 0.01
