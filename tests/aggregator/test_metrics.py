"""The health line: what the alarms see of silent, failing, late and lossy sources."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import metrics, trigger
from chalicelib.metrics import Health

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


def add_hour(dynamodb: Any, code: str, runs: int, scheduled: int, lost: int) -> None:
    """An hour with five attempts a run at one target, some of them lost."""
    latency = np.full(5 * runs, 80.0)
    distribution = from_attempts(
        ("eu-west-1",),
        np.zeros(latency.size, dtype=np.int64),
        latency,
        np.full(latency.size, int(LAST_HOUR.timestamp())),
        runs=runs,
    )
    failures = distribution.failures.copy()
    failures[0, REASONS.index("timeout")] = lost
    changed = type(distribution)(
        **{
            name: getattr(distribution, name)
            for name in distribution.__dataclass_fields__
            if name not in ("failures", "scheduled_runs")
        },
        failures=failures,
        scheduled_runs=scheduled,
    )
    bucket = Bucket(code, HOUR, LAST_HOUR, METHOD_KERNEL, ORIGIN_AWS, changed)
    DistributionTable(dynamodb).write([bucket], NOW)


def test_health_of_three_sources(dynamodb: Any) -> None:
    add_source(dynamodb, "us-east-1", NOW - timedelta(minutes=7))  # two minutes behind
    add_source(dynamodb, "eu-west-1", NOW - timedelta(minutes=18))  # more than three intervals
    add_source(dynamodb, "sa-east-1", None)  # never wrote
    add_hour(dynamodb, "us-east-1", runs=12, scheduled=12, lost=0)
    add_hour(dynamodb, "eu-west-1", runs=4, scheduled=12, lost=20)
    health = metrics.measure(trigger.tables(dynamodb, ""), NOW)
    assert health == Health(
        sources=3, silent_sources=2, failed_runs=8, lateness_s=120.0, loss_pct=20.0
    )


def test_a_slow_schedule_is_not_silent_between_its_runs(dynamodb: Any) -> None:
    add_source(dynamodb, "us-east-1", NOW - timedelta(hours=5), interval_s=6 * 3600)
    health = metrics.measure(trigger.tables(dynamodb, ""), NOW)
    assert (health.silent_sources, health.lateness_s, health.loss_pct) == (0, 0.0, None)


def test_a_source_whose_item_is_broken_counts_as_silent(dynamodb: Any) -> None:
    add_source(dynamodb, "us-east-1", NOW - timedelta(minutes=5))
    broken = {"region": {"S": "eu-west-9"}, "active_from": {"S": "True"}}
    dynamodb.put_item(TableName="cloudping_regions", Item=broken)
    health = metrics.measure(trigger.tables(dynamodb, ""), NOW)
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
    assert named == expected | ({} if loss_pct is None else {"LossPercent": "Percent"})
    assert all(isinstance(said[name], int | float) for name in named)
