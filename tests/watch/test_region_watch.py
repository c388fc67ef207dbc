"""New regions: found, made targets at once, told of; the rest of the catalogue stays as it is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from chalicelib import region_watch
from chalicelib.region_watch import WatchError, foreign, message, note_if_it_writes, topic_arn

from cloudping import account
from cloudping.regions import CATALOGUE, RegionState, RegionTable, provisional
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, Run, RunTable
from cloudping.settings import load
from cloudping.times import utc_now
from tests.conftest import HOME_REGION

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FUNCTION = f"arn:aws:lambda:{HOME_REGION}:123456789012:function:cloudping-watch-us-east-2-regions"
SETTINGS = load({"AWS_DEFAULT_REGION": HOME_REGION})
STATUS = {
    code: "ENABLED_BY_DEFAULT" for code, place in CATALOGUE.items() if place.partition == "aws"
}


@pytest.fixture
def table(dynamodb: Any) -> RegionTable:
    return RegionTable(dynamodb)


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the account says of its regions; moto has no `account:ListRegions`."""
    said = dict(STATUS)
    monkeypatch.setattr(region_watch, "region_status", lambda *_: said)
    return said


@pytest.fixture
def inbox(dynamodb: Any) -> Iterator[Any]:
    """A function that returns the messages which the topic has delivered."""
    topic = boto3.client("sns", region_name=HOME_REGION).create_topic(Name="cloudping-alarms")
    sqs = boto3.client("sqs", region_name=HOME_REGION)
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    boto3.client("sns", region_name=HOME_REGION).subscribe(
        TopicArn=topic["TopicArn"], Protocol="sqs", Endpoint=arn["QueueArn"]
    )

    def messages() -> list[str]:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        return [json.loads(entry["Body"])["Message"] for entry in answer.get("Messages", ())]

    yield messages


def run(account_id: str = "123456789012") -> dict[str, Any]:
    return region_watch.run(FUNCTION.replace("123456789012", account_id), SETTINGS)


def test_a_new_region_is_a_target_at_once_and_told_of_once(
    table: RegionTable, status: dict[str, str], inbox: Any
) -> None:
    run()
    inbox()
    status["sa-west-1"] = "DISABLED"
    assert run()["targets_added"] == ["sa-west-1"]
    added = {state.region.code: state for state in table.targets()}["sa-west-1"]
    assert not added.is_source
    assert added.region.endpoint == "dynamodb.sa-west-1.amazonaws.com"
    (said,) = inbox()
    assert said.startswith("sa-west-1")
    assert "enable the region" in said
    assert "add it to cloudping/regions.py" in said
    assert run()["targets_added"] == []
    assert inbox() == []


def test_what_is_known_of_a_region_stays(table: RegionTable, status: dict[str, str]) -> None:
    before = RegionState(
        CATALOGUE["eu-west-1"], True, True, 300, "ENABLED", NOW - timedelta(days=9), NOW
    )
    table.put(before)
    account.register(table, boto3, HOME_REGION, status | {"eu-west-1": "DISABLING"})
    after = {state.region.code: state for state in table.all()}["eu-west-1"]
    assert after == replace(before, opt_in_status="DISABLING")


def test_a_region_that_the_catalogue_learns_gets_its_place(table: RegionTable) -> None:
    guessed = provisional("ap-east-2", "Taipei")
    assert guessed.place == "not known yet"
    table.put(RegionState(guessed, True, True, 300, "ENABLED"))
    account.register(table, boto3, HOME_REGION, {"ap-east-2": "ENABLED"})
    after = {state.region.code: state for state in table.all()}["ap-east-2"]
    assert after == RegionState(CATALOGUE["ap-east-2"], True, True, 300, "ENABLED")


def test_a_message_that_the_topic_did_not_take_is_sent_by_the_next_run(
    table: RegionTable, status: dict[str, str], inbox: Any
) -> None:
    run()
    inbox()
    status["sa-west-1"] = "ENABLED"
    for _ in range(2):
        with pytest.raises(WatchError, match=r"the notification: .*NotFound"):
            run(account_id="999999999999")
        assert "sa-west-1" in {state.region.code for state in table.targets()}
    assert run()["announced"] == ["sa-west-1"]
    (said,) = inbox()
    assert said.startswith("sa-west-1")
    assert run()["announced"] == []
    assert inbox() == []


def test_a_broken_item_stops_nothing_stays_as_it_is_and_is_named(
    dynamodb: Any, table: RegionTable, status: dict[str, str], inbox: Any
) -> None:
    run()
    inbox()
    broken = {"region": {"S": "eu-west-1"}, "active_from": {"S": "True"}}
    dynamodb.put_item(TableName=table.name, Item=broken)
    status["sa-west-1"] = "ENABLED"
    with pytest.raises(WatchError, match="cloudping_regions item eu-west-1: region_name is None"):
        run()
    assert "sa-west-1" in {state.region.code for state in table.targets()}
    assert len(inbox()) == 1
    key = {"region": {"S": "eu-west-1"}}
    assert dynamodb.get_item(TableName=table.name, Key=key)["Item"] == broken
    assert [error.key for error in account.register(table, boto3, HOME_REGION, status).bad] == [
        "eu-west-1"
    ]


def test_each_step_is_done_whatever_becomes_of_the_others(
    dynamodb: Any,
    table: RegionTable,
    status: dict[str, str],
    inbox: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run()
    inbox()
    status["sa-west-1"] = "ENABLED"
    with pytest.raises(WatchError):
        run(account_id="999999999999")
    RunTable(dynamodb).put_once(a_run("cn-north-1", utc_now() - timedelta(minutes=10)))
    latest = RunTable.latest

    def failing(self: RunTable, region: str, before: datetime) -> Run | None:
        if region == "cn-northwest-1":
            raise OverflowError("10**20 attempts")
        return latest(self, region, before)

    monkeypatch.setattr(RunTable, "latest", failing)
    monkeypatch.setattr(region_watch, "region_status", lambda *_: 1 / 0)
    capsys.readouterr()
    with pytest.raises(WatchError) as caught:
        run()
    report = json.loads(capsys.readouterr().out)
    assert report["sources_added"] == ["cn-north-1"]
    assert report["announced"] == ["sa-west-1"]
    assert report["failed"] == [
        "the account's regions: division by zero",
        "cn-northwest-1: 10**20 attempts",
    ]
    assert str(caught.value) == "; ".join(report["failed"])
    assert len(inbox()) == 1


def a_run(code: str, moment: datetime) -> Run:
    return Run(
        region=code,
        timestamp=moment,
        partition=CATALOGUE[code].partition,
        interval_s=600,
        attempts_per_target=5,
        method=METHOD_KERNEL,
        origin=ORIGIN_AWS,
        results={},
    )


def test_another_partition_becomes_a_source_when_it_writes(dynamodb: Any) -> None:
    table, runs = RegionTable(dynamodb), RunTable(dynamodb)
    for code in ("cn-north-1", "us-gov-east-1", "us-east-1"):
        table.put(RegionState(CATALOGUE[code], is_source=False, is_target=True))
        moment = NOW - (timedelta(days=3) if code.startswith("us-gov") else timedelta(minutes=10))
        runs.put_once(a_run(code, moment))

    def note() -> list[str]:
        candidates = foreign(table.all(), HOME_REGION)
        return [s.region.code for s in candidates if note_if_it_writes(s, table, runs, NOW)]

    assert note() == ["cn-north-1"]
    assert [(s.region.code, s.interval_s) for s in table.sources()] == [("cn-north-1", 600)]
    assert note() == []


def test_an_enabled_region_waits_for_the_next_deployment() -> None:
    state = RegionState(CATALOGUE["ap-east-2"], False, True, opt_in_status="ENABLED")
    assert message(state) == (
        "ap-east-2 (Asia Pacific (Taipei)) is new and is measured as a target from now on.\n"
        "The next `python -m infra deploy` puts a probe there."
    )


def test_the_topic_is_the_installations_own() -> None:
    settings = load({"CLOUDPING_PREFIX": "blue-"})
    assert (
        topic_arn(FUNCTION, settings) == "arn:aws:sns:us-east-2:123456789012:blue-cloudping-alarms"
    )


def test_the_account_says_which_regions_it_has_page_by_page() -> None:
    class Session:
        """boto3 as far as it is asked here."""

        def client(self, service: str, region_name: str, config: Any) -> "Session":
            assert (service, region_name) == ("account", HOME_REGION)
            assert config.read_timeout * config.retries["total_max_attempts"] < 30
            return self

        def get_paginator(self, operation: str) -> "Session":
            assert operation == "list_regions"
            return self

        def paginate(self) -> list[dict[str, Any]]:
            return [
                {"Regions": [{"RegionName": "us-east-1", "RegionOptStatus": "ENABLED_BY_DEFAULT"}]},
                {"Regions": [{"RegionName": "me-south-1", "RegionOptStatus": "DISABLED"}]},
            ]

    assert account.region_status(Session(), HOME_REGION) == {
        "us-east-1": "ENABLED_BY_DEFAULT",
        "me-south-1": "DISABLED",
    }
