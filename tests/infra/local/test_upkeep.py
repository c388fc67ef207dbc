"""The local AWS keeps what its pages show, and no more, however long it runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from cloudping import dynamo, runs
from cloudping.buckets import Bucket, Checkpoint, DistributionTable
from cloudping.distribution import from_attempts
from cloudping.periods import DAY, HOUR, MONTH
from cloudping.regions import CATALOGUE
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, ORIGIN_SIMULATED, RunTable
from cloudping.summaries import Day, Figures, HistoryTable
from infra.local import history, upkeep
from tests.conftest import HOME_REGION

NOW = datetime(2026, 11, 20, 0, 40, tzinfo=UTC)
SOURCE, TARGET = CATALOGUE["eu-west-1"], CATALOGUE["us-east-1"]


@pytest.fixture
def session(dynamodb: Any) -> Any:
    return boto3.Session()


def tidy(session: Any, now: datetime = NOW) -> dict[str, int]:
    return upkeep.tidy(session, HOME_REGION, [SOURCE], [SOURCE, TARGET], now)


def test_raw_runs_of_the_hour_that_is_still_rolled_up_stay(session: Any, dynamodb: Any) -> None:
    made = history.raw_runs(SOURCE.code, (TARGET.code,), NOW - timedelta(hours=5, minutes=40), NOW)
    dynamo.write_batches(dynamodb, "PingTest", map(runs.to_item, made))

    def hours_left() -> list[int]:
        left = RunTable(dynamodb).between(SOURCE.code, NOW - timedelta(days=9), NOW)
        return [run.timestamp.hour for run in left]

    assert tidy(session, NOW - timedelta(minutes=25))["runs"] == 4
    assert hours_left() == [23, 0]  # at a quarter past
    assert tidy(session)["runs"] == 1
    assert hours_left() == [0]
    assert tidy(session)["runs"] == 0


def test_buckets_stay_as_long_as_a_window_or_a_graph_needs_them(
    session: Any, dynamodb: Any
) -> None:
    table = DistributionTable(dynamodb)
    some = from_attempts([TARGET.code], [0], [70.0], [int(NOW.timestamp())], runs=1)
    kept = [(HOUR, 0, ORIGIN_SIMULATED), (HOUR, 8, ORIGIN_AWS), (DAY, 1, ORIGIN_SIMULATED),
            (DAY, 396, ORIGIN_AWS), (MONTH, 30, ORIGIN_SIMULATED)]  # fmt: skip
    gone = [(HOUR, 10, ORIGIN_AWS), (HOUR, 100, ORIGIN_SIMULATED), (DAY, 402, ORIGIN_SIMULATED),
            (MONTH, 450, ORIGIN_SIMULATED)]  # fmt: skip

    def bucket(level: str, days: int, origin: str) -> Bucket:
        start = NOW.replace(minute=0) - timedelta(days=days)
        return Bucket(SOURCE.code, level, start, METHOD_KERNEL, origin, some)

    table.write([bucket(*each) for each in (*kept, *gone)], NOW)
    table.move(Checkpoint(SOURCE.code, NOW, NOW), None, NOW)
    assert tidy(session)["buckets"] == len(gone)
    early = NOW - timedelta(days=500)
    left = [
        b for level in (HOUR, DAY, MONTH) for b in table.between(SOURCE.code, level, early, NOW)
    ]
    assert sorted((b.level, b.origin) for b in left) == sorted((a, c) for a, _, c in kept)
    assert table.checkpoint(SOURCE.code) is not None


def test_daily_figures_older_than_a_year_of_graphs_go(session: Any, dynamodb: Any) -> None:
    table = HistoryTable(dynamodb)
    days = [NOW.date() - timedelta(days=back) for back in (1, 366, 431)]
    figures = Figures(samples=0)
    table.replace(Day(SOURCE.code, TARGET.code, day, figures, ORIGIN_SIMULATED) for day in days)
    tidy(session)
    left = table.between(SOURCE.code, TARGET.code, days[-1], days[0])
    assert [day.day for day in left] == [days[1], days[0]]


def test_log_streams_of_the_last_hour_stay_and_their_group(session: Any, dynamodb: Any) -> None:
    logs = session.client("logs", region_name=SOURCE.code)
    group = "/aws/lambda/cloudping-probes-eu-west-1-probe"
    logs.create_log_group(logGroupName=group)
    logs.put_retention_policy(logGroupName=group, retentionInDays=14)
    for number in range(60):  # more than one page of them
        logs.create_log_stream(logGroupName=group, logStreamName=f"run {number}")
    now = datetime.now(UTC)
    assert tidy(session, now)["log streams"] == 0
    assert tidy(session, now + timedelta(hours=1, minutes=1))["log streams"] == 60
    (left,) = logs.describe_log_groups()["logGroups"]
    assert left["retentionInDays"] == 14  # or it would be deployed anew at the next start
    assert logs.describe_log_streams(logGroupName=group)["logStreams"] == []
