"""No run, source or item stops the others, or costs more than itself."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from math import inf
from typing import Any

import numpy as np
import pytest
from chalicelib import aggregate, metrics
from chalicelib.pending import MAX_LATENESS
from chalicelib.reader import RunReader
from chalicelib.tables import Tables, tables

from cloudping import dynamo, runs
from cloudping.regions import CATALOGUE, RegionState
from tests.aggregator.conftest import KEPT, SOURCE, START, Installation, a_run

MINUTE, HOURS, DAYS = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OTHERS = ("ap-south-1", "sa-east-1", "us-east-1")  # before and after eu-west-1 in the alphabet
NEXT = START + 30 * HOURS + 3 * MINUTE  # the hourly run that everything is about


class Counting:
    """A client that counts its requests, and raises what it is told to."""

    def __init__(self, client: Any, most: float = inf) -> None:
        self._client, self._most = client, most
        self.requests: Counter[str] = Counter()
        self.faults: dict[str, Callable[[dict[str, Any]], None]] = {}

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def counted(**request: Any) -> Any:
            self.requests[name] += 1
            if self.requests.total() > self._most:
                raise TimeoutError
            if name in self.faults:
                self.faults[name](request)
            return call(**request)

        counted.__name__ = name
        return counted


STORED = ("PingTest", "cloudping_regions", *KEPT)
Items = dict[str, list[dict[str, Any]]]


def items_of(world: Installation) -> Items:
    return {name: world.client.scan(TableName=name)["Items"] for name in STORED}


def put_back(world: Installation, stored: Items) -> None:
    for name, items in stored.items():
        dynamo.write_batches(world.client, name, map(dynamo.from_wire, items))


@pytest.fixture(scope="module")
def made() -> list[Items]:
    """What `world` begins with, made once."""
    return []


@pytest.fixture
def world(install: Installation, made: list[Items]) -> Installation:
    """Four sources with 30 hours of runs, all of them up to date but for the last hour."""
    if made:
        put_back(install, made[0])
        return install
    for code in OTHERS:
        install.tables.regions.put(RegionState(CATALOGUE[code], True, True, 900))
    install.tables.regions.put(RegionState(CATALOGUE[SOURCE], True, True, 900))
    for code in (SOURCE, *OTHERS):
        install.add(
            *(
                a_run(START + 15 * k * MINUTE, [70.0 + k / 8], region=code, interval_s=900)
                for k in range(116)
            )
        )
    assert not install.aggregate(NEXT - HOURS)["failed"]
    for code in (SOURCE, *OTHERS):
        install.add(
            *(
                a_run(START + 15 * k * MINUTE, [70.0 + k / 8], region=code, interval_s=900)
                for k in range(116, 121)
            )
        )
    made.append(items_of(install))
    return install


def next_run(world: Installation, now: datetime = NEXT) -> tuple[dict[str, Any], int]:
    """What a new Lambda reports, and the requests that it took."""
    client = Counting(world.client)
    of = tables(client, "")
    report = aggregate.run(of, RunReader(of.runs), clock=lambda: now)
    return report, client.requests.total()


def is_right(of: Tables, code: str, now: datetime = NEXT) -> bool:
    """Whether the source's row is numpy's over its raw samples, until now."""
    (cell,) = [c for c in of.summaries.of_source("1D", code) if c.region_to == "us-east-1"]
    batch = of.runs.between(code, cell.window_start, now)
    truth = [
        s.latency_ms
        for run in batch
        for s in runs.samples(run, "us-east-1")
        if s.latency_ms is not None and s.timestamp <= now
    ]
    figures = cell.figures
    return (
        figures.samples == len(truth)
        and now - cell.window_end < HOURS
        and all(
            abs(value - np.percentile(truth, p)) < 0.011 for p, value in figures.percentiles.items()
        )
    )


@pytest.fixture(scope="module")
def counted() -> list[int]:
    """What `usual` is, counted once."""
    return []


@pytest.fixture
def usual(world: Installation, counted: list[int]) -> int:
    """The requests of this run without the fault; its writes are undone."""
    if counted:
        return counted[0]
    kept = items_of(world)
    report, requests = next_run(world)
    assert (report["sources"], report["failed"], report["bad_items"]) == (4, {}, 0)
    assert all(is_right(world.tables, code) for code in (SOURCE, *OTHERS))
    world.clear()
    put_back(world, kept)
    counted.append(requests)
    return requests


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), "expected a time from 2000"),
        (NEXT - 400 * DAYS, "at most 15 days before"),
        (NEXT - MAX_LATENESS - HOURS, "at most 15 days before"),
        (NEXT + 400 * DAYS, "expected a time that has come"),
    ],
)
def test_a_run_of_a_wrong_time_costs_itself_and_is_named(
    world: Installation, usual: int, at: datetime, why: str
) -> None:
    item = runs.to_item(a_run(at, written_at=NEXT - 10 * MINUTE))
    world.client.put_item(TableName="PingTest", Item=dynamo.to_wire(item))
    report, requests = next_run(world)
    assert (report["sources"], report["failed"], report["bad_items"]) == (4, {}, 1)
    assert why in report["bad_first"][0]
    assert all(is_right(world.tables, code) for code in (SOURCE, *OTHERS))
    assert requests <= 1.2 * usual
    kept = world.tables.distributions.checkpoint(SOURCE)
    assert kept is not None and kept.refused_runs == 1 and why in next(iter(kept.refused.values()))
    (state,) = [s for s in world.tables.regions.all() if s.region.code == SOURCE]
    assert state.earliest_data == START
    next_run(world, NEXT + MINUTE)
    again = world.tables.distributions.checkpoint(SOURCE)
    assert again is not None and again.refused_runs == 1  # once, however often it is met


def test_a_late_run_within_the_bound_is_counted(world: Installation) -> None:
    at = NEXT.replace(minute=0) - MAX_LATENESS + 10 * MINUTE
    world.add(a_run(at, [70.0], interval_s=900, written_at=NEXT - 5 * MINUTE))
    report, _ = next_run(world)
    assert (report["failed"], report["bad_items"]) == ({}, 0)
    (cell, _) = world.tables.summaries.of_source("1M", SOURCE)
    assert cell.figures.first_sample == at


def test_silence_costs_no_more_each_hour(world: Installation, usual: int) -> None:
    """Two days without any run, as long as the sources are young, and what follows."""
    first = [next_run(world, NEXT + k * HOURS) for k in range(4)]
    next_run(world, NEXT + 47 * HOURS)
    later = [next_run(world, NEXT + k * HOURS) for k in range(48, 51)]
    assert all(report["failed"] == {} for report, _ in first + later)
    assert all(report["runs_read"] == 0 for report, _ in first[2:] + later)
    assert max(requests for _, requests in first + later) <= usual
    # Nothing of 1M and 1Y is made anew before the next UTC day.
    assert max(requests for _, requests in later) < min(requests for _, requests in first)
    (cell,) = [
        c for c in world.tables.summaries.of_source("1W", SOURCE) if c.region_to == "us-east-1"
    ]
    due = 121 + 4 * 50  # to the last one that is overdue at the end
    assert cell.figures.coverage_pct == pytest.approx(100 * 121 / due, abs=0.5)


def test_the_hour_after_ninety_days_of_silence_is_as_any_other(
    world: Installation, usual: int
) -> None:
    """The aggregator ran meanwhile; of what it left, the last day and the checkpoints matter."""
    next_run(world)
    later = NEXT + 90 * DAYS
    table = world.tables.distributions
    for code in (SOURCE, *OTHERS):
        kept = table.checkpoint(code)
        assert kept is not None
        table.move(replace(kept, rolled_until=later - DAYS), kept, later - DAYS)
    next_run(world, later - HOURS)
    for code in (SOURCE, *OTHERS):
        found = [
            a_run(later - k * 15 * MINUTE, [80.0], region=code, interval_s=900) for k in (1, 0)
        ]
        world.add(*found)
    report, requests = next_run(world, later)
    assert (report["sources"], report["failed"], report["unfinished"]) == (4, {}, [])
    assert all(is_right(world.tables, code, later) for code in (SOURCE, *OTHERS))
    assert requests <= 1.2 * usual


def far_behind(world: Installation) -> None:
    """A source with a week of runs that nobody has looked at."""
    world.tables.regions.put(RegionState(CATALOGUE["af-south-1"], True, True, 3600))
    begin = NEXT.replace(minute=0) - 7 * DAYS
    world.add(
        *(
            a_run(begin + k * HOURS, [70.0], region="af-south-1", interval_s=3600)
            for k in range(168)
        )
    )


def done_until(world: Installation) -> datetime | None:
    """The hour that the source far behind has come to, while it is unfinished."""
    kept = world.tables.distributions.checkpoint("af-south-1")
    return None if kept is None or kept.unfinished is None else kept.unfinished.done


def test_a_source_far_behind_lets_the_others_have_their_turn(world: Installation) -> None:
    far_behind(world)
    left = chain([1000.0] * 150, repeat(0.0))  # for the others, and some days of it
    report = aggregate.run(
        world.tables,
        RunReader(world.tables.runs),
        clock=lambda: NEXT,
        remaining_s=lambda: next(left),
    )
    assert (report["sources"], report["unfinished"], report["failed"]) == (4, ["af-south-1"], {})
    assert all(is_right(world.tables, code) for code in (SOURCE, *OTHERS))


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_each_run_that_is_cut_off_gets_further(world: Installation, how: str) -> None:
    """Out of time after some hours, or ended without a word, as Lambda does; in the end all is as
    if nothing had been."""
    far_behind(world)
    moved: list[datetime] = []
    for _ in range(30):
        of = tables(Counting(world.client, most=130 if how == "killed" else inf), "")
        left = chain([1000.0] * 60, repeat(10.0)) if how == "stopped" else repeat(1000.0)
        report = aggregate.run(
            of,
            RunReader(of.runs),
            clock=lambda: NEXT,
            remaining_s=lambda left=left: next(left),  # type: ignore[misc]
        )
        if not report["failed"] and not report["unfinished"]:
            break
        if (end := done_until(world)) is not None:
            moved.append(end)
    assert (report["failed"], report["unfinished"], done_until(world)) == ({}, [], None)
    assert len(set(moved)) >= 2 and moved == sorted(moved)
    found = world.dump()
    world.clear()
    next_run(world)
    assert found == world.dump()


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "run": ("PingTest", runs.to_item(a_run(NEXT - 8 * MINUTE)) | {"attempts": 10**20}),
    "huge latency": ("PingTest", runs.to_item(a_run(NEXT - 8 * MINUTE, [1e15]))),
    "region": ("cloudping_regions", {"region": "eu-west-9", "active_from": "True"}),
    "hour": ("cloudping_distributions", {"region": SOURCE, "bucket": "H#2026-11-20T03"}),
    "day": ("cloudping_distributions", {"region": SOURCE, "bucket": "D#2026-11-19"}),
    "checkpoint": ("cloudping_distributions", {"region": SOURCE, "bucket": "state"}),
    "cell": ("cloudping_stored_avgs", {"timeframe": "1D", "index": f"{SOURCE}_us-east-1_1D"}),
    "history": ("cloudping_history", {"pair": f"{SOURCE}#us-east-1", "month": "2026-11"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_item_of_any_table_costs_itself(
    world: Installation, usual: int, name: str
) -> None:
    table, item = BROKEN[name]
    world.client.put_item(TableName=table, Item=dynamo.to_wire(item))
    report, requests = next_run(world)
    assert report["failed"].keys() <= {"eu-west-9"}
    assert all(is_right(world.tables, code) for code in (SOURCE, *OTHERS))
    if name != "checkpoint":  # which is begun anew, as after the loss of the table
        assert requests <= 1.2 * usual
    health = metrics.measure(world.tables, NEXT)
    assert health.failed_runs == 0
    if table == "cloudping_distributions":  # made anew, from what it is made of
        level, start = name[0].upper(), START + 24 * HOURS
        assert (
            name == "checkpoint"
            or not world.tables.distributions.between(
                SOURCE, level, START - 2 * DAYS, start + 2 * DAYS
            ).bad
        )
        assert world.tables.distributions.checkpoint(SOURCE) is not None


def test_whatever_one_source_raises_the_others_are_done(world: Installation) -> None:
    """Also where it is no error of ours, and also while its checkpoint is read."""
    for operation, wanted in (("get_item", "Key"), ("query", "ExpressionAttributeValues")):

        def fail(request: dict[str, Any], wanted: str = wanted) -> None:
            if SOURCE in str(request[wanted]):
                raise ZeroDivisionError("of all things")

        client = Counting(world.client)
        client.faults[operation] = fail
        of = tables(client, "")
        report = aggregate.run(of, RunReader(of.runs), clock=lambda: NEXT)
        assert "of all things" in report["failed"].pop(SOURCE)
        assert (report["failed"], report["sources"]) == ({}, 3)
        assert all(is_right(world.tables, code) for code in OTHERS)
