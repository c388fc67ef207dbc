"""What status makes of a source: fresh, silent, never seen, switched off; text, JSON, exit code."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudping.buckets import Checkpoint, DistributionTable
from cloudping.regions import CATALOGUE, RegionState
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, Attempt, Run, TargetResult
from infra.commands import status
from infra.commands.status import Function, Site, Status

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STATE = RegionState(CATALOGUE["eu-west-1"], True, True, 300, "ENABLED")
PROBE = Function("cloudping-probes-eu-west-1-probe", "eu-west-1", "abcd1234", "-", "cron(…)", 0)


def run_at(minutes_ago: float, *attempts: Attempt) -> Run:
    result = TargetResult("host", ("192.0.2.1",), 1.0, attempts or (Attempt(80.0, 80.1),))
    return Run(
        region="eu-west-1",
        timestamp=NOW - timedelta(minutes=minutes_ago),
        partition="aws",
        interval_s=300,
        attempts_per_target=len(result.attempts),
        method=METHOD_KERNEL,
        origin=ORIGIN_AWS,
        results={"us-east-1": result},
    )


@pytest.mark.parametrize(
    ("minutes_ago", "problem"),
    [(4, None), (17, None), (18, "silent since 2026-11-20T11:42:00.000Z (18 min)")],
)
def test_a_source_is_silent_after_three_intervals(minutes_ago: float, problem: str | None) -> None:
    found = status.source(STATE, PROBE, run_at(minutes_ago), NOW)
    assert found.problem == problem or (problem and str(found.problem).startswith(problem))


def test_a_source_that_never_ran_says_when_it_is_due() -> None:
    found = status.source(STATE, PROBE, None, NOW)
    assert found.problem == "no run yet; the first is due within 5 minutes of deploying"


def test_what_is_wrong_with_the_function_comes_before_what_follows_from_it() -> None:
    broken = Function("f", "eu-west-1", problem="its rule is disabled; run deploy")
    assert status.source(STATE, broken, None, NOW).problem == "its rule is disabled; run deploy"


def test_loss_is_counted_and_a_run_that_measured_nothing_is_a_problem() -> None:
    lossy = run_at(1, Attempt(None, reason="timeout"), Attempt(80.0, 80.1))
    found = status.source(STATE, None, lossy, NOW)
    assert (found.attempts, found.lost, found.not_measured, found.problem) == (2, 1, 0, None)
    blind = run_at(1, Attempt(None, reason="local_error"), Attempt(None, reason="not_tried"))
    assert "could not measure at all" in str(status.source(STATE, None, blind, NOW).problem)


def whole(*problems: str) -> Status:
    return Status(
        at=NOW,
        account="123456789012",
        installation="default",
        sources=[status.source(STATE, PROBE, run_at(2), NOW)],
        functions=[PROBE],
        counted_until=NOW,
        site=Site("http://site/", 1, 1),
        problems=problems,
    )


def test_text_ends_with_what_is_wrong() -> None:
    assert status.as_text(whole()).endswith("\nall is well")
    assert status.as_text(whole("eu-west-1: silent")).endswith("1 problem:\neu-west-1: silent")
    assert "2 min ago" in status.as_text(whole())
    assert "stalls: 0 of 0 connects met one (none); too few" in status.as_text(whole())


def test_what_was_refused_is_named_and_is_no_problem() -> None:
    found = replace(whole(), refused=["PingTest item eu-west-1/1970: too old"], refused_count=7)
    said = status.as_text(found)
    assert "7 items refused by the aggregator, the last of them:\nPingTest item eu-west-1" in said
    assert said.endswith("\nall is well")
    assert status.as_json(found)["refused_count"] == 7


def test_a_checkpoint_that_cannot_be_read_hides_no_other(dynamodb: Any) -> None:
    table = DistributionTable(dynamodb)
    table.move(Checkpoint("us-east-1", NOW, NOW, refused={"a": "why"}, refused_runs=3), None, NOW)
    broken = {"region": {"S": "eu-west-1"}, "bucket": {"S": "state"}}
    dynamodb.put_item(TableName=table.name, Item=broken)
    found, errors = status._checkpoints(table, ["eu-west-1", "sa-east-1", "us-east-1"])
    assert [(one.region, one.refused_runs) for one in found] == [("us-east-1", 3)]
    assert "eu-west-1/state: watermark is None" in str(errors[0])


def test_json_is_json_with_the_verdict() -> None:
    said = json.loads(json.dumps(status.as_json(whole("one"))))
    assert said["healthy"] is False
    assert said["stalls"]["marked"] == 0
    assert said["at"] == "2026-11-20T12:00:00.000Z"
    assert said["sources"][0]["last_run"] == "2026-11-20T11:58:00.000Z"
    assert said["sources"][0]["function"]["version"] == "abcd1234"
