"""The soak's own checks find what they are there to find."""

import json
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest

from cloudping import dynamo
from cloudping.buckets import DistributionTable
from cloudping.distribution import merge
from cloudping.periods import HOUR as LEVEL
from cloudping.runs import RunTable
from cloudping.summaries import SummaryTable
from cloudping.times import floor_hour, utc_now
from tests.reliability import proxy, verify
from tests.reliability.conftest import SOURCE, Pipeline

MINUTE = timedelta(minutes=1)
WHEN = floor_hour(utc_now()) - timedelta(hours=3)


@pytest.fixture
def running(pipeline: Pipeline) -> Pipeline:
    for k in range(12):
        pipeline.probe(WHEN + 5 * k * MINUTE)
    pipeline.aggregate(utc_now())
    return pipeline


def compare(pipeline: Pipeline) -> verify.Report:
    return verify.compare(pipeline.wire.client, verify.logged_runs(pipeline.log))


def change(pipeline: Pipeline, table: str, index: int = 0, **values: Any) -> None:
    """Changes attributes of one item of a table, or deletes it."""
    items = [i for i in pipeline.wire.client.scan(TableName=table)["Items"]
             if i.get("bucket", {}).get("S") != "state"]  # fmt: skip
    item = items[index]
    keys = ("region", "timestamp", "timeframe", "index")
    if values:
        pipeline.wire.client.put_item(TableName=table, Item=item | dynamo.to_wire(values))
    else:
        key = {k: item[k] for k in keys if k in item}
        pipeline.wire.client.delete_item(TableName=table, Key=key)


def test_a_pipeline_without_faults_is_clean(running: Pipeline) -> None:
    report = compare(running)
    assert report.is_clean, report
    assert (report.events, report.samples) == (12, 120)
    assert report.buckets >= 1
    assert 0 < report.deviation_ms <= verify.TOLERANCE_MS
    assert "0 lost, 0 doubled, 0 wrong" in str(report)


def test_nothing_compared_is_not_clean(pipeline: Pipeline) -> None:
    assert not compare(pipeline).is_clean


def test_a_lost_run_is_found(running: Pipeline) -> None:
    change(running, "PingTest")
    assert any(what.startswith("run of eu-west-1 at") for what in compare(running).lost)


def test_a_run_that_nobody_logged_is_found(running: Pipeline) -> None:
    moment = WHEN + 3 * MINUTE
    running.probe(moment)
    log = [line for line in running.log if f"{moment:%H:%M}:00.000Z" not in line]
    report = verify.compare(running.wire.client, verify.logged_runs(log))
    assert any(what.endswith("not logged") for what in report.wrong)


def test_a_run_other_than_the_logged_one_is_found(running: Pipeline) -> None:
    change(running, "PingTest", wall_ms=77)
    assert any(what.endswith("not what was logged") for what in compare(running).wrong)


@pytest.mark.parametrize(("times", "kind"), [(0, "lost"), (2, "doubled")])
def test_samples_missing_or_twice_in_a_bucket_are_found(
    running: Pipeline, times: int, kind: str
) -> None:
    table = DistributionTable(running.wire.client)
    (bucket,) = table.between(SOURCE, LEVEL, WHEN, WHEN)
    held = merge([bucket.distribution] * times)
    changed = type(bucket)(SOURCE, LEVEL, WHEN, bucket.method, bucket.origin, held)
    table.write([changed], utc_now())
    report = compare(running)
    assert any("bucket H" in what for what in getattr(report, kind))


def test_a_wrong_percentile_is_found(running: Pipeline) -> None:
    (cell, *_) = SummaryTable(running.wire.client).of_source("1D", SOURCE)
    wrong = round(cell.figures.percentiles[50] + 0.01, 3)
    change(running, "cloudping_stored_avgs", p_50=dynamo.decimal(wrong))
    report = compare(running)
    assert any("p_50" in what for what in report.wrong)


def test_a_missing_cell_is_found(running: Pipeline) -> None:
    change(running, "cloudping_stored_avgs")
    assert any(what.endswith("no cell") for what in compare(running).lost)


@pytest.mark.parametrize(
    ("fault", "passed_on", "answer"),
    [
        (proxy.HEALTHY, 1, 200),
        (proxy.DELAYED, 1, 200),
        (proxy.CUT, 0, None),
        (proxy.ANSWER_LOST, 1, None),
        (proxy.SERVER_ERROR, 0, 500),
        (proxy.THROTTLED, 0, 400),
        (proxy.UNPROCESSED, 1, 200),
        (proxy.KILLED_BEFORE, 0, None),
        (proxy.KILLED_AFTER, 1, None),
    ],
)
def test_the_proxy_does_what_it_says(
    fault: str, passed_on: int, answer: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "DELAY_S", 0.1)
    killed: list[bytes] = []
    body = json.dumps({"RequestItems": {"T": [{"a": 1}, {"b": 2}, {"c": 3}]}}).encode()
    with (
        proxy.FaultProxy(0, lambda _: proxy.SERVER_ERROR) as behind,  # what is passed on gets a 500
        proxy.FaultProxy(behind.port, lambda _: fault, killed.append) as between,
    ):
        connection = HTTPConnection("127.0.0.1", between.port, timeout=10)
        connection.request("POST", "/", body, {"X-Amz-Target": "DynamoDB_20120810.BatchWriteItem"})
        if answer is None:
            with pytest.raises((HTTPException, OSError)):
                connection.getresponse()
        else:
            got = connection.getresponse()
            said = json.loads(got.read())
            assert got.status == (500 if answer == 200 else answer)
            left = said.get("UnprocessedItems")
            assert left == ({"T": [{"c": 3}]} if fault == proxy.UNPROCESSED else None)
        connection.close()
    assert behind.counts.total() == passed_on
    assert between.counts == {fault: 1}
    assert len(killed) == (fault in proxy.KILLED)


def test_the_runs_of_a_log_are_by_event(pipeline: Pipeline) -> None:
    for _ in range(2):
        pipeline.probe(WHEN)
    found = verify.logged_runs(pipeline.log)
    assert list(found) == [(SOURCE, WHEN)]
    assert len(found[SOURCE, WHEN]) == 2
    assert RunTable(pipeline.wire.client).between(SOURCE, WHEN, WHEN) == found[SOURCE, WHEN][:1]
