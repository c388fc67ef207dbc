"""The health line: what the alarms see of silent, failing, late and lossy sources."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import metrics
from chalicelib.metrics import Health
from chalicelib.tables import tables

from cloudping.buckets import Bucket, DistributionTable
from cloudping.distribution import from_attempts
from cloudping.periods import HOUR, floor
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, REASONS

NOW = datetime(2026, 11, 20, 12, 3, tzinfo=UTC)
LAST_HOUR = floor(HOUR, NOW) - timedelta(hours=1)


def add_source(dynamodb: Any, code: str, last: datetime | None, interval_s: int = 300) -> None:
    RegionTable(dynamodb).put(
        RegionState(CATALOGUE[code], True, True, interval_s, latest_data=last)
    )


def add_hour(
    dynamodb: Any,
    code: str,
    runs: int,
    scheduled: int,
    lost: int,
    dead: str = "",
    target: str = "eu-west-1",
    hour: datetime = LAST_HOUR,
) -> None:
    """An hour with five attempts a run at one target, some of them lost; a dead one beside it."""
    latency = np.full(5 * runs, 80.0)
    distribution = from_attempts(
        (target, dead) if dead else (target,),
        np.zeros(latency.size, dtype=np.int64),
        latency,
        np.full(latency.size, int(hour.timestamp())),
        runs=runs,
    )
    failures = distribution.failures.copy()
    failures[0, REASONS.index("timeout")] = lost
    if dead:
        failures[1, REASONS.index("timeout")] = 5 * runs
    changed = type(distribution)(
        **{
            name: getattr(distribution, name)
            for name in distribution.__dataclass_fields__
            if name not in ("failures", "scheduled_runs")
        },
        failures=failures,
        scheduled_runs=scheduled,
    )
    bucket = Bucket(code, HOUR, hour, METHOD_KERNEL, ORIGIN_AWS, changed)
    DistributionTable(dynamodb).write([bucket], NOW)


def test_health_of_three_sources(dynamodb: Any) -> None:
    add_source(dynamodb, "us-east-1", NOW - timedelta(minutes=7))  # two minutes behind
    add_source(dynamodb, "eu-west-1", NOW - timedelta(minutes=18))  # more than three intervals
    add_source(dynamodb, "sa-east-1", None)  # never wrote
    add_hour(dynamodb, "us-east-1", runs=12, scheduled=12, lost=0)
    add_hour(dynamodb, "eu-west-1", runs=4, scheduled=12, lost=20)
    health = metrics.measure(tables(dynamodb, ""), NOW)
    assert health == Health(
        sources=3, silent_sources=2, failed_runs=8, lateness_s=120.0, loss_pct=20.0
    )


def test_a_slow_schedule_is_not_silent_between_its_runs(dynamodb: Any) -> None:
    add_source(dynamodb, "us-east-1", NOW - timedelta(hours=5), interval_s=6 * 3600)
    health = metrics.measure(tables(dynamodb, ""), NOW)
    assert (health.silent_sources, health.lateness_s, health.loss_pct) == (0, 0.0, None)


def test_a_source_is_given_three_intervals_from_when_it_got_its_schedule(dynamodb: Any) -> None:
    """Neither one that has just been deployed is silent, nor one that is to run more often now."""
    add_source(dynamodb, "us-east-1", None)
    add_source(dynamodb, "eu-west-1", NOW - timedelta(hours=5))
    table = RegionTable(dynamodb)
    for code in ("us-east-1", "eu-west-1"):
        table.note_source(code, 300)
    noted = table.sources()[0].source_since
    assert noted is not None
    for age, expected in ((timedelta(minutes=16), 0), (timedelta(minutes=18), 2)):
        health = metrics.measure(tables(dynamodb, ""), noted + age)
        assert health.silent_sources == expected
        assert health.lateness_s < 1800


def test_a_dead_target_is_news_once_and_no_loss_of_the_others(dynamodb: Any) -> None:
    for code in ("us-east-1", "sa-east-1"):
        add_source(dynamodb, code, NOW - timedelta(minutes=5))
        add_hour(dynamodb, code, runs=12, scheduled=12, lost=0, dead="me-south-1")
    first = metrics.measure(tables(dynamodb, ""), NOW)
    assert (first.dead_targets, first.newly_dead, first.loss_pct) == (
        ("me-south-1",), ("me-south-1",), 0.0,
    )  # fmt: skip
    before = LAST_HOUR - timedelta(hours=1)
    add_hour(dynamodb, "us-east-1", runs=12, scheduled=12, lost=0, dead="me-south-1", hour=before)
    later = metrics.measure(tables(dynamodb, ""), NOW)
    assert (later.dead_targets, later.newly_dead, later.loss_pct) == (("me-south-1",), (), 0.0)
    said = json.loads(metrics.line(later, "cloudping", NOW))
    assert (said["dead_targets"], said["NewlyDeadTargets"]) == (["me-south-1"], 0)


def test_a_slow_aggregator_tells_of_all_that_died_since_its_last_run(dynamodb: Any) -> None:
    add_source(dynamodb, "us-east-1", NOW - timedelta(minutes=5))
    for hours in (0, 1, 2):
        hour = LAST_HOUR - timedelta(hours=hours)
        add_hour(dynamodb, "us-east-1", 12, 12, lost=0, dead="me-south-1", hour=hour)
    installed = tables(dynamodb, "")
    assert metrics.measure(installed, NOW).newly_dead == ()
    assert metrics.measure(installed, NOW, timedelta(hours=6)).newly_dead == ("me-south-1",)


def test_a_target_that_one_source_reaches_is_not_dead(dynamodb: Any) -> None:
    for code in ("us-east-1", "sa-east-1"):
        add_source(dynamodb, code, NOW - timedelta(minutes=5))
    add_hour(dynamodb, "us-east-1", runs=12, scheduled=12, lost=0, dead="me-south-1")
    add_hour(dynamodb, "sa-east-1", runs=12, scheduled=12, lost=0, target="me-south-1")
    health = metrics.measure(tables(dynamodb, ""), NOW)
    assert health.dead_targets == ()
    assert health.loss_pct == pytest.approx(100 * 60 / 180, abs=0.001)


def test_a_source_whose_item_is_broken_counts_as_silent(dynamodb: Any) -> None:
    add_source(dynamodb, "us-east-1", NOW - timedelta(minutes=5))
    broken = {"region": {"S": "eu-west-9"}, "active_from": {"S": "True"}}
    dynamodb.put_item(TableName="cloudping_regions", Item=broken)
    health = metrics.measure(tables(dynamodb, ""), NOW)
    assert (health.sources, health.silent_sources) == (2, 1)


@pytest.mark.parametrize("loss_pct", [0.0, None])
def test_the_line_has_the_embedded_metric_format(loss_pct: float | None) -> None:
    """The keys that CloudWatch asks for, and each metric's value at the top."""
    said = json.loads(metrics.line(Health(34, 1, 3, 61.5, loss_pct), "blue-cloudping", NOW))
    (directive,) = said["_aws"]["CloudWatchMetrics"]
    assert said["_aws"]["Timestamp"] == int(NOW.timestamp() * 1000)
    assert directive["Namespace"] == "CloudPing"
    assert directive["Dimensions"] == [["Installation"]]
    assert said["Installation"] == "blue-cloudping"
    named = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    expected = {"SilentSources": "Count", "FailedRuns": "Count", "LatenessSeconds": "Seconds"}
    expected["NewlyDeadTargets"] = "Count"
    assert named == expected | ({} if loss_pct is None else {"LossPercent": "Percent"})
    assert all(isinstance(said[name], int | float) for name in named)
