"""Events that come twice, late or in two regions at once, and clocks that jump."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from chalicelib import probe_run
from chalicelib.probe_run import EventTimeError
from chalicelib.reader import RunReader

from cloudping.runs import RunTable
from cloudping.times import floor_hour, floor_minute, to_iso, utc_now
from tests.reliability import verify
from tests.reliability.conftest import TARGETS, Pipeline, settings_of

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
WHEN = floor_hour(utc_now()) - 30 * HOUR


def compare(pipeline: Pipeline) -> verify.Report:
    return verify.compare(pipeline.wire.client, verify.logged_runs(pipeline.log))


def test_an_event_delivered_many_times_at_once_is_one_run(pipeline: Pipeline) -> None:
    settings = settings_of(PROBE_TARGETS=",".join(TARGETS))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: probe_run.run(to_iso(WHEN), settings), range(8)))
    assert [answer["written"] for answer in answers].count(True) == 1
    assert sorted(pipeline.said) == ["discarded"] * 7 + ["run"] * 8
    pipeline.aggregate(utc_now())
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.events == 1


def test_an_event_in_two_regions_at_once_is_a_run_of_each(pipeline: Pipeline) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda region: pipeline.probe(WHEN, region), TARGETS))
    assert all(answer["written"] for answer in answers)
    for region in TARGETS:
        (run,) = pipeline.runs(WHEN, WHEN, region)
        assert run.region == region
    pipeline.aggregate(utc_now())
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.events == 2


def test_a_late_event_is_counted_when_it_was_due_and_says_how_late(pipeline: Pipeline) -> None:
    began = utc_now()
    for k in (0, 1, 3):
        pipeline.probe(WHEN + 5 * k * MINUTE)
    pipeline.aggregate(began)
    pipeline.probe(WHEN + 10 * MINUTE)
    pipeline.aggregate(utc_now() + MINUTE)
    (run,) = pipeline.runs(WHEN + 10 * MINUTE, WHEN + 10 * MINUTE)
    late_ms = (began - run.timestamp) / timedelta(milliseconds=1)
    assert late_ms <= run.lateness_ms < late_ms + 60_000
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.events == 4


@pytest.fixture
def jumped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the probes' wall clock off by some time."""

    def by(off: timedelta) -> None:
        monkeypatch.setattr(probe_run, "utc_now", lambda: utc_now() + off)

    return by


@pytest.mark.parametrize("off", [-40 * MINUTE, 40 * MINUTE, 3 * HOUR, timedelta(days=1)])
def test_a_probes_clock_that_jumps_hides_no_run_and_changes_no_latency(
    pipeline: Pipeline, jumped: Any, off: timedelta
) -> None:
    now = floor_minute(utc_now())
    made = [now - 5 * k * MINUTE for k in (3, 2)]
    for moment in made:
        pipeline.probe(moment)
    pipeline.aggregate(now)
    jumped(off)
    answer = pipeline.probe(now - MINUTE)
    assert answer["latencies"] == 10
    assert not pipeline.aggregate(now + MINUTE)["failed"]
    jumped(timedelta())
    pipeline.probe(now)
    pipeline.aggregate(now + 2 * MINUTE)
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.events == 4


@pytest.mark.parametrize("off", [timedelta(days=-400), timedelta(days=400)])
def test_a_probe_that_cannot_know_the_time_measures_again_once_it_does(
    pipeline: Pipeline, jumped: Any, off: timedelta
) -> None:
    now = floor_minute(utc_now())
    jumped(off)
    with pytest.raises(EventTimeError):
        pipeline.probe(now - 5 * MINUTE)
    assert pipeline.said == ["event_refused"]
    jumped(timedelta())
    assert pipeline.probe(now - 5 * MINUTE)["written"]  # the event, delivered again
    pipeline.aggregate(now + MINUTE)
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.events == 1


@pytest.mark.parametrize("off", [-2 * HOUR, 2 * HOUR, timedelta(days=2)])
def test_an_aggregators_clock_that_jumps_loses_no_run(pipeline: Pipeline, off: timedelta) -> None:
    now = floor_minute(utc_now())
    pipeline.probe(now - 15 * MINUTE)
    pipeline.aggregate(utc_now() + off)
    for k in (2, 1):
        pipeline.probe(now - 5 * k * MINUTE)
        pipeline.reader = RunReader(RunTable(pipeline.wire.client))  # a new Lambda
        assert not pipeline.aggregate(utc_now())["failed"]
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.events == 3
