"""No run, source or item stops the others, or costs more than itself."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import aggregate, metrics
from chalicelib.pending import MAX_LATENESS
from chalicelib.reader import RunReader
from chalicelib.tables import Tables, tables

from cloudping import dynamo, runs
from cloudping.regions import CATALOGUE, RegionState
from tests.aggregator.conftest import SOURCE, START, Installation, a_run

MINUTE, HOURS, DAYS = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OTHERS = ("ap-south-1", "sa-east-1", "us-east-1")  # before and after eu-west-1 in the alphabet
NEXT = START + 30 * HOURS + 3 * MINUTE  # the hourly run that everything is about


class Counting:
    """A client that counts its requests, and raises what it is told to."""

    def __init__(self, client: Any, most: float = float("inf")) -> None:
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


@pytest.fixture
def world(install: Installation) -> Installation:
    """Four sources with 30 hours of runs, all of them up to date but for the last hour."""
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


def undisturbed(world: Installation) -> int:
    """The requests of this run without the fault; its writes are undone."""
    kept = {
        name: world.client.scan(TableName=name)["Items"]
        for name in (
            "cloudping_distributions", "cloudping_stored_avgs", "cloudping_history",
            "cloudping_regions",
        )
    }  # fmt: skip
    report, requests = next_run(world)
    assert (report["sources"], report["failed"], report["bad_items"]) == (4, {}, 0)
    assert all(is_right(world.tables, code) for code in (SOURCE, *OTHERS))
    world.clear()
    for name, items in kept.items():
        for item in items:
            world.client.put_item(TableName=name, Item=item)
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
    world: Installation, at: datetime, why: str
) -> None:
    usual = undisturbed(world)
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
def test_a_broken_item_of_any_table_costs_itself(world: Installation, name: str) -> None:
    usual = undisturbed(world)
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
