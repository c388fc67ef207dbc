"""A table emptied by mistake comes back: figures from the raw runs, raw runs from the logs."""

from datetime import UTC, datetime, timedelta

import pytest
from chalicelib.tables import tables

from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import RunTable
from cloudping.times import floor_hour, utc_now
from infra.commands import backfill
from infra.commands.recover import put_missing
from tests.aggregator.conftest import KEYS
from tests.reliability import verify
from tests.reliability.conftest import TARGETS, Pipeline

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NOW = utc_now()  # for all of a test: what is expected to be there grows with time
WHEN = floor_hour(NOW) - 30 * HOUR
NAMES = ("cloudping_distributions", "cloudping_stored_avgs", "cloudping_history")

Items = dict[tuple[str, ...], object]


@pytest.fixture
def running(pipeline: Pipeline) -> Pipeline:
    """An installation with a day that is over and one that is not."""
    for k in range(16):
        pipeline.probe(WHEN + 110 * k * MINUTE)
    pipeline.aggregate(NOW)
    return pipeline


def held(pipeline: Pipeline, name: str) -> Items:
    """A table's items by key, less what says when they were written."""
    found: Items = {}
    for item in pipeline.wire.client.scan(TableName=name)["Items"]:
        if item.get("bucket", {}).get("S") != "state":
            item.pop("updated_at", None)
            found[tuple(item[k]["S"] for k in KEYS if k in item)] = item
    return found


def empty(pipeline: Pipeline, name: str, keys: tuple[str, ...]) -> None:
    for item in pipeline.wire.client.scan(TableName=name)["Items"]:
        key = {k: item[k] for k in keys if k in item}
        pipeline.wire.client.delete_item(TableName=name, Key=key)
    assert pipeline.wire.client.scan(TableName=name)["Items"] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_emptied_table_of_figures_comes_back_by_backfill(running: Pipeline, name: str) -> None:
    before = {one: held(running, one) for one in NAMES}
    empty(running, name, KEYS)
    hours = [WHEN + k * HOUR for k in range((NOW - WHEN) // HOUR + 1)]
    installed = tables(running.wire.client, "")
    backfill.recompute(installed, dict.fromkeys(TARGETS[:1], hours), NOW, lambda _: None)
    running.aggregate(NOW)
    assert {one: held(running, one) for one in NAMES} == before
    report = verify.compare(running.wire.client, verify.logged_runs(running.log))
    assert report.is_clean, report


def test_emptied_buckets_come_back_by_themselves(running: Pipeline) -> None:
    """The aggregator's state is in the same table: without it, it begins at the beginning."""
    before = held(running, "cloudping_distributions")
    empty(running, "cloudping_distributions", KEYS)
    running.aggregate(NOW)
    assert held(running, "cloudping_distributions") == before


def test_emptied_raw_runs_come_back_from_the_logs(running: Pipeline) -> None:
    """Those of the logs' retention; older ones only by DynamoDB's point-in-time recovery."""
    empty(running, "PingTest", ("region", "timestamp"))
    table, long_ago = RunTable(running.wire.client), datetime(2000, 1, 1, tzinfo=UTC)
    assert put_missing(table, running.log, long_ago, NOW).put == 16
    running.aggregate(NOW)
    report = verify.compare(running.wire.client, verify.logged_runs(running.log))
    assert report.is_clean, report
    assert report.events == 16


def test_emptied_raw_runs_take_no_figure_with_them(running: Pipeline) -> None:
    before = {one: held(running, one) for one in NAMES}
    empty(running, "PingTest", ("region", "timestamp"))
    running.aggregate(NOW)
    after = {one: held(running, one) for one in NAMES}
    assert set(after["cloudping_stored_avgs"]) == set(before["cloudping_stored_avgs"])
    assert after["cloudping_history"] == before["cloudping_history"]


def test_an_emptied_catalogue_stops_no_probe_and_comes_back(running: Pipeline) -> None:
    empty(running, "cloudping_regions", ("region",))
    running.probe(WHEN + 5 * MINUTE)
    assert running.aggregate(NOW)["sources"] == 0
    for code in TARGETS:  # what `infra deploy` does
        RegionTable(running.wire.client).put(RegionState(CATALOGUE[code], True, True, 300))
    running.aggregate(NOW)
    report = verify.compare(running.wire.client, verify.logged_runs(running.log))
    assert report.is_clean, report
    assert report.events == 17
