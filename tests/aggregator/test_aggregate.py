"""The aggregator on tables: what it finds, writes, leaves alone, and how it recovers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import aggregate
from chalicelib.reader import RunReader
from chalicelib.tables import tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudping import dynamo, runs
from cloudping.errors import UnknownRegionError
from cloudping.periods import DAY, HOUR, MONTH
from cloudping.regions import CATALOGUE, RegionState
from cloudping.runs import ORIGIN_SIMULATED, Run
from cloudping.summaries import Figures
from cloudping.times import to_iso
from tests.aggregator.conftest import SOURCE, START, TARGETS, Installation, a_run

Fill = Callable[[datetime, datetime], Installation]
MINUTE, HOURS, DAYS = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PAIR = (SOURCE, "us-east-1")


def test_every_timeframe_equals_numpy_over_the_raw_samples(steady: Fill) -> None:
    now = START + 27 * HOURS + 3 * MINUTE
    world = steady(START, START + 27 * HOURS + 15 * MINUTE)
    report = world.aggregate(now)
    assert (report["sources"], report["runs_read"], report["failed"]) == (1, 109, {})
    for timeframe in ("1D", "1W", "1M", "1Y"):
        for target, cell in world.cells(timeframe).items():
            truth = world.truth(target, cell.window_start, cell.window_end)
            figures = cell.figures
            assert figures.samples == len(truth)
            assert set(figures.percentiles) == {10, 25, 50, 75, 90, 95, 98, 99}
            for p, value in figures.percentiles.items():
                assert value == pytest.approx(np.percentile(truth, p), abs=0.0006)
            assert figures.mean == pytest.approx(truth.mean(), abs=0.0006)
            assert (figures.min, figures.max) == (truth.min(), truth.max())
            assert (figures.coverage_pct, figures.loss_pct) == (100, 0)
            assert cell.window_end == START + 27 * HOURS
            assert cell.origin == "aws"
    assert world.cells("1D")["us-east-1"].window_start == START + 3 * HOURS
    days = world.tables.history.between(*PAIR, START.date(), now.date())
    assert [(day.day.day, day.figures.samples) for day in days] == [(18, 40), (19, 480)]
    (source,) = [s for s in world.tables.regions.all() if s.region.code == SOURCE]
    assert (source.earliest_data, source.latest_data) == (START, START + 27 * HOURS)


def test_figures_equal_numpy_with_late_repeated_missing_and_bad_runs(
    install: Installation,
) -> None:
    rng = np.random.default_rng(1)
    arrivals: list[tuple[datetime, Run]] = []
    for number in range(160):
        at, fate = START + 15 * number * MINUTE, rng.random()
        if fate < 0.05:
            continue  # missing
        late = int(rng.integers(20, 900)) * MINUTE if fate < 0.25 else timedelta(seconds=3)
        for written in (at + late, *([at + late + 50 * MINUTE] if fate > 0.85 else [])):
            latencies = [
                "timeout" if rng.random() < 0.05 else 70 + round(extra, 3)
                for extra in rng.exponential(1, 5).tolist()
            ]
            arrivals.append((written, a_run(at, latencies, interval_s=900, written_at=written)))
    arrivals.sort(key=lambda arrival: arrival[0])
    kept: dict[datetime, Run] = {}
    bad, repeated, late_ones, done = set(), 0, 0, START
    for now in (START + k * 4 * HOURS + 3 * MINUTE for k in range(1, 11)):
        for written, run in arrivals:
            if not done < written <= now:
                continue
            is_new = install.tables.runs.put_once(run)
            assert is_new == (run.timestamp not in kept)
            repeated += not is_new
            late_ones += is_new and run.timestamp < done
            kept.setdefault(run.timestamp, run)
            if len(kept) % 20 == 0:  # beside it one that cannot be read
                broken = runs.to_item(run) | {"results": "none"}
                broken["timestamp"] = to_iso(run.timestamp + MINUTE)
                dynamo.put(install.client, "PingTest", broken)
                bad.add(broken["timestamp"])
        report = install.aggregate(now)
        assert report["failed"] == {}
        done = now
    assert repeated > 5 and late_ones > 5 and len(bad) > 3

    def raw(target: str, start: datetime, end: datetime) -> list[float | None]:
        found = [run for at, run in kept.items() if start <= at < end]
        return [a.latency_ms for run in found for a in run.results[target].attempts]

    def check(figures: Figures, values: list[float | None]) -> None:
        truth = np.rint(np.array([v for v in values if v is not None]) * 100) / 100
        assert figures.samples == len(truth) > 0
        for p, value in figures.percentiles.items():
            assert value == pytest.approx(np.percentile(truth, p), abs=0.0006)
        assert figures.mean == pytest.approx(truth.mean(), abs=0.0006)
        assert (figures.min, figures.max) == (truth.min(), truth.max())
        assert figures.loss_pct == pytest.approx(100 * values.count(None) / len(values), abs=1e-5)

    for timeframe in ("1D", "1W", "1M", "1Y"):
        cells = install.cells(timeframe)
        assert set(cells) == set(TARGETS)
        for target, cell in cells.items():
            check(cell.figures, raw(target, cell.window_start, done))
    # Of the days that are over: the first has two hours, the second all.
    days = install.tables.history.between(*PAIR, START.date(), done.date())
    assert len(days) == 2
    for day in days:
        midnight = datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC)
        check(day.figures, raw("us-east-1", midnight, midnight + DAYS))


def test_nothing_new_writes_nothing(steady: Fill) -> None:
    now = START + 3 * HOURS + 3 * MINUTE
    world = steady(START, now)
    world.aggregate(now)
    before = world.dump()
    for reader in (world.reader, RunReader(world.tables.runs)):  # warm, and started anew
        world.reader = reader
        report = world.aggregate(now + timedelta(seconds=30))
        written = ("buckets_written", "summaries_written", "summaries_deleted", "days_written")
        assert {name: report[name] for name in written} == dict.fromkeys(written, 0)
    assert world.dump() == before


def test_a_source_without_runs_can_be_looked_at_again(install: Installation) -> None:
    """The state that is written for it is one that is read: it is there before the first run."""
    for minute in range(2):
        report = install.aggregate(START + minute * MINUTE)
        assert (report["sources"], report["failed"]) == (1, {})
    install.add(a_run(START))
    assert install.aggregate(START + 2 * MINUTE)["runs_read"] == 1


def test_a_warm_aggregator_reads_only_what_is_new(install: Installation) -> None:
    for minute in range(30):
        at = START + minute * MINUTE
        install.add(a_run(at, interval_s=60))
        assert install.aggregate(at + timedelta(seconds=20))["runs_read"] == 1
    assert install.cells()["us-east-1"].figures.samples == 60
    # Another process moved on meanwhile, so what this one remembers is not all there is.
    other = RunReader(install.tables.runs)
    install.add(a_run(START + 30 * MINUTE, interval_s=60))
    install.reader, mine = other, install.reader
    install.aggregate(START + 31 * MINUTE)
    install.reader = mine
    install.add(a_run(START + 40 * MINUTE, interval_s=60))
    assert install.aggregate(START + 41 * MINUTE)["runs_read"] == 32
    assert install.cells()["us-east-1"].figures.samples == 64


def test_a_late_run_changes_its_hour_and_all_above_it_and_nothing_else(steady: Fill) -> None:
    now = START + 30 * HOURS + 3 * MINUTE
    world = steady(START, now)
    world.aggregate(now)
    before = world.dump()
    later = now + timedelta(hours=1)
    world.add(a_run(START + 8 * HOURS + MINUTE, [500.0], written_at=now + 20 * MINUTE))
    world.aggregate(later)
    after = world.dump()
    changed = {key[1:] for key in after if after[key] != before.get(key)}
    buckets = {key[1] for key in changed if key[0] == SOURCE}
    assert buckets == {
        "H#2026-11-19T06",
        "D#2026-11-19",
        "H#2026-11-20T04",  # nothing came for an hour: what was due is counted
    }
    days = world.tables.history.between(*PAIR, START.date(), now.date())
    assert [day.figures.max == 500 for day in days] == [False, True]
    assert world.cells("1Y")["us-east-1"].figures.max == 500
    (source,) = world.tables.regions.sources()
    assert source.latest_data == now - 18 * MINUTE


def test_a_probe_that_was_down_for_a_day_comes_back_and_delivers_late(steady: Fill) -> None:
    now = START + 3 * HOURS
    world = steady(START, now)
    world.aggregate(now)
    away = now + DAYS
    world.aggregate(away)
    cell = world.cells()["us-east-1"]
    assert (cell.figures.samples, cell.figures.coverage_pct) == (0, 0)
    assert cell.figures.percentiles == {}
    assert cell.window_end == away - 15 * MINUTE  # the last run that is overdue
    # It had measured all the time, and could not write.
    delivered = [
        a_run(now + 15 * k * MINUTE, written_at=away + MINUTE, interval_s=900) for k in range(96)
    ]
    world.add(*delivered)
    world.aggregate(away + 9 * MINUTE)
    figures = world.cells()["us-east-1"].figures
    assert figures.samples == 96 * 2
    assert figures.coverage_pct == 100
    clean = world.dump()
    world.clear()
    world.reader = RunReader(world.tables.runs)
    world.aggregate(away + 9 * MINUTE)
    assert world.dump() == clean


def test_a_source_that_is_switched_off_is_not_expected_and_disappears(steady: Fill) -> None:
    now = START + 3 * HOURS
    world = steady(START, now)
    world.aggregate(now)
    world.tables.regions.put(RegionState(CATALOGUE[SOURCE], False, True))
    world.aggregate(now + 5 * HOURS)
    assert world.cells()["us-east-1"].figures.coverage_pct == 100
    world.aggregate(now + 2 * DAYS)
    assert world.cells() == {}
    assert world.cells("1W")["us-east-1"].figures.samples == 60
    world.aggregate(now + 400 * DAYS)
    assert [world.cells(timeframe) for timeframe in ("1W", "1M", "1Y")] == [{}, {}, {}]


def test_a_target_that_is_measured_no_more_disappears_with_its_window(
    install: Installation,
) -> None:
    both = [a_run(START + k * HOURS, interval_s=3600) for k in range(4)]
    one = [
        a_run(START + k * HOURS, interval_s=3600, results={SOURCE: both[0].results[SOURCE]})
        for k in range(4, 40)
    ]
    install.add(*both)
    install.aggregate(START + 3 * HOURS + MINUTE)
    assert set(install.cells()) == set(TARGETS)
    install.add(*one)
    install.aggregate(START + 39 * HOURS + MINUTE)
    assert set(install.cells()) == {SOURCE}
    assert set(install.cells("1W")) == set(TARGETS)


def test_long_windows_are_renewed_once_a_day(steady: Fill) -> None:
    world = steady(START, START + 3 * HOURS)
    world.aggregate(START + 3 * HOURS)
    old = START + 3 * DAYS  # no longer young: two days after the first data
    ends = []
    for hours in (0, 1, 2, 3):
        at = old + hours * HOURS  # 22:00, 23:00, 0:00, 1:00
        world.add(a_run(at, interval_s=3600))
        world.aggregate(at + MINUTE)
        ends.append([world.cells(t)["us-east-1"].window_end.hour for t in ("1W", "1Y")])
    assert ends == [[22, 22], [23, 22], [0, 0], [1, 0]]


def test_simulated_and_imported_data_are_marked(install: Installation) -> None:
    install.add(
        a_run(START, origin=ORIGIN_SIMULATED),
        a_run(START + 30 * MINUTE, [80.0], method="original-1", origin=ORIGIN_SIMULATED),
    )
    install.aggregate(START + HOURS)
    cell = install.cells()["us-east-1"]
    assert cell.origin == "simulated"
    assert cell.figures.methods == ("kernel-1", "original-1")
    assert cell.figures.samples == 3
    keys = {
        item["bucket"]["S"]
        for item in install.client.scan(TableName="cloudping_distributions")["Items"]
    }
    assert keys == {
        "state", "H#2026-11-18T22#simulated", "H#2026-11-18T22#original-1#simulated",
    }  # fmt: skip


def bad_items() -> Iterator[tuple[str, dict[str, Any]]]:
    good = runs.to_item(a_run(START + MINUTE))
    for number, (attribute, value) in enumerate(
        [("results", "none"), ("interval_s", "often"), ("attempts", -5), ("method", None)]
    ):
        at = START + (number + 1) * MINUTE
        bad = good | {"timestamp": at.isoformat().replace("+00:00", ".000Z"), attribute: value}
        yield attribute, {k: v for k, v in bad.items() if v is not None}
    for number, value in enumerate(["NaN", -1, True], 10):
        item = runs.to_item(a_run(START + number * MINUTE))
        item["results"]["us-east-1"]["ms"][0] = value
        yield "ms", item
    future = replace(a_run(START + 400 * DAYS), written_at=START + MINUTE)
    yield "timestamp", runs.to_item(future)
    yield "timestamp", good | {"timestamp": "noon"}


def test_bad_items_are_counted_reported_and_left(install: Installation) -> None:
    install.add(a_run(START))
    bad = list(bad_items())
    for _, item in bad:
        install.client.put_item(TableName="PingTest", Item=dynamo.to_wire(item))
    report = install.aggregate(START + 20 * MINUTE)
    assert report["bad_items"] == len(bad)
    assert len(report["bad_first"]) == 5
    assert any("results is 'none', expected a map" in text for text in report["bad_first"])
    assert install.cells()["us-east-1"].figures.samples == 2
    assert install.client.scan(TableName="PingTest")["Count"] == len(bad) + 1


def test_a_region_whose_item_is_broken_fails_alone(install: Installation) -> None:
    install.add(a_run(START))
    broken = {"region": {"S": "eu-west-9"}, "active_from": {"S": "True"}}
    install.client.put_item(TableName="cloudping_regions", Item=broken)
    report = install.aggregate(START + 20 * MINUTE)
    assert list(report["failed"]) == ["eu-west-9"]
    assert "region_name is None" in report["failed"]["eu-west-9"]
    assert install.cells()["us-east-1"].figures.samples == 2
    one = install.aggregate(START + 21 * MINUTE, sources=[SOURCE])
    assert one["failed"] == {}


def test_a_bucket_outlives_its_raw_runs(steady: Fill) -> None:
    now = START + 3 * HOURS
    world = steady(START, now)
    world.aggregate(now)
    before = world.dump()
    for item in world.client.scan(TableName="PingTest")["Items"]:
        key = {name: item[name] for name in ("region", "timestamp")}
        world.client.delete_item(TableName="PingTest", Key=key)
    # A straggler makes the aggregator look at an hour of which only that one run is left.
    world.add(a_run(START + MINUTE, written_at=now))
    report = world.aggregate(now + MINUTE)
    assert report["buckets_kept"] == 1
    assert {k: v for k, v in world.dump().items() if v != before[k]} == {}


def test_sources_can_be_named(steady: Fill) -> None:
    now = START + 30 * HOURS
    world = steady(START, now)
    world.tables.regions.put(RegionState(CATALOGUE["us-east-1"], True, True, 300))
    world.add(a_run(START, region="us-east-1"))
    assert world.aggregate(now, sources=["us-east-1"])["sources"] == 1
    assert world.cells() == {}
    with pytest.raises(UnknownRegionError, match=r"unknown region 'us-est-1'; did you mean"):
        world.aggregate(now, sources=["us-est-1"])
    with pytest.raises(UnknownRegionError, match=r"unknown region 'x-9'$"):
        world.aggregate(now, sources=["x-9"])


def test_one_source_that_fails_does_not_keep_the_others(
    install: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.tables.regions.put(RegionState(CATALOGUE["us-east-1"], True, True, 300))
    install.add(a_run(START), a_run(START, region="us-east-1"))
    bucket = {"region": {"S": SOURCE}, "bucket": {"S": "H#2026-11-18T22"}, "version": {"N": "9"}}
    install.client.put_item(TableName="cloudping_distributions", Item=bucket)
    report = install.aggregate(START + MINUTE)
    assert "version 1; a newer CloudPing wrote it" in report["failed"][SOURCE]
    assert report["sources"] == 1
    assert len(install.tables.summaries.of_source("1D", "us-east-1")) == 2


def test_a_long_way_behind_is_done_in_parts(steady: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    now = START + 5 * HOURS
    world = steady(START, now)
    world.aggregate(now)
    whole = world.dump()
    world.clear()
    monkeypatch.setattr(aggregate, "STRETCH_BUSY", 1)
    world.reader = RunReader(world.tables.runs)
    world.aggregate(now)
    assert world.dump() == whole


class Killed(BaseException):
    """The process ends here; nothing of it runs any more."""


class Mortal:
    """A client of a process that does something else before its n-th write: to die, say."""

    WRITES = ("put_item", "update_item", "batch_write_item")

    def __init__(self, client: Any, number: int, instead: Callable[[], None]) -> None:
        self._client, self._left, self._instead = client, number, instead

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in self.WRITES:
            return call

        def write(**request: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self._instead()
            return call(**request)

        return write


def die() -> None:
    raise Killed


@pytest.fixture
def behind(steady: Fill) -> tuple[Installation, datetime, list[dict[str, Any]]]:
    """An installation with a day's end, a month's end and a late run before it; what it keeps."""
    start = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
    world = steady(start, start + HOURS)
    world.add(a_run(start - 23 * HOURS, interval_s=21600))
    world.aggregate(start + HOURS + MINUTE)
    world.add(*(a_run(start + (60 + 15 * k) * MINUTE, interval_s=900) for k in range(5)))
    late = start + 80 * MINUTE
    world.add(a_run(start - 29 * HOURS, [99.0], interval_s=21600, written_at=late))
    kept = [
        {"table": name, "item": item}
        for name in ("cloudping_distributions", "cloudping_stored_avgs", "cloudping_history")
        for item in world.client.scan(TableName=name)["Items"]
    ]
    return world, start + 2 * HOURS + 13 * MINUTE, kept


def restore(world: Installation, kept: list[dict[str, Any]]) -> None:
    world.clear()
    for entry in kept:
        world.client.put_item(TableName=entry["table"], Item=entry["item"])
    world.reader = RunReader(world.tables.runs)


def test_a_kill_before_any_write_is_repaired_by_the_next_run(
    behind: tuple[Installation, datetime, list[dict[str, Any]]],
) -> None:
    world, now, kept = behind
    world.aggregate(now)
    expected = world.dump()
    levels = {key[2][0] for key in expected if key[0] == "cloudping_distributions"}
    assert levels == {HOUR, DAY, MONTH}
    for number in range(1, 100):
        restore(world, kept)
        mortal = tables(Mortal(world.client, number, die), "")
        try:
            aggregate.run(mortal, RunReader(mortal.runs), clock=lambda: now)
        except Killed:
            world.aggregate(now)
            assert world.dump() == expected, f"killed before write {number}"
        else:
            break
    assert number > 12  # every write was met, from the first bucket to the state


def test_two_runs_at_once_are_put_right_by_the_next(
    behind: tuple[Installation, datetime, list[dict[str, Any]]],
) -> None:
    world, now, kept = behind
    late = [
        a_run(now.replace(minute=12, second=0), [75.0]),
        a_run(now - 49 * HOURS - 13 * MINUTE, [98.0], interval_s=21600, written_at=now),
    ]
    for number in range(1, 100, 3):
        restore(world, kept)
        for run in late:
            key = {"region": run.region, "timestamp": run.timestamp.isoformat()[:19] + ".000Z"}
            world.client.delete_item(TableName="PingTest", Key=dynamo.to_wire(key))
        met: list[dict[str, Any]] = []

        def meanwhile(met: list[dict[str, Any]] = met) -> None:
            world.add(*late)
            met.append(world.aggregate(now + timedelta(seconds=1)))

        mortal = tables(Mortal(world.client, number, meanwhile), "")
        aggregate.run(mortal, RunReader(mortal.runs), clock=lambda: now)
        if not met:
            break
        final = now + timedelta(seconds=2)
        world.reader = RunReader(world.tables.runs)
        assert not world.aggregate(final)["failed"]
        repaired = world.dump()
        world.clear()
        world.reader = RunReader(world.tables.runs)
        world.aggregate(final)
        fresh = world.dump()
        assert repaired == fresh, f"the other ran before write {number}"
    assert number > 15


@settings(
    deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_order_of_arrival_gives_the_same_tables(
    install: Installation, random: Any, parts: int
) -> None:
    install.clear()
    for item in install.client.scan(TableName="PingTest")["Items"]:
        key = {name: item[name] for name in ("region", "timestamp")}
        install.client.delete_item(TableName="PingTest", Key=key)
    now = START + 4 * HOURS
    made = [a_run(START + 5 * k * MINUTE, [70 + k / 8]) for k in range(36)]
    random.shuffle(made)
    for part in range(parts):
        written = now + part * MINUTE
        install.add(*(replace(run, written_at=written) for run in made[part::parts]))
        install.aggregate(written + MINUTE / 2)
    install.aggregate(now + 10 * MINUTE)
    arrived = install.dump()
    install.clear()
    install.reader = RunReader(install.tables.runs)
    install.aggregate(now + 10 * MINUTE)
    assert install.dump() == arrived


def test_a_run_written_twice_changes_nothing(install: Installation) -> None:
    install.add(a_run(START))
    install.aggregate(START + MINUTE)
    before = install.dump()
    assert not install.tables.runs.put_once(a_run(START, [1.0], written_at=START + MINUTE))
    install.aggregate(START + 2 * MINUTE)
    assert install.dump() == before
