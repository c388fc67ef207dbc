"""The alarms over time: what rings, when, how often; the first six hours ring nothing."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from chalicelib import metrics
from chalicelib.tables import tables

from cloudping.regions import CATALOGUE, RegionState, RegionTable
from tests.aggregator.test_metrics import add_hour
from tests.infra.alarms.cloudwatch import ALARM, OK, UNKNOWN, Alarm, Message, judge
from tests.infra.policies.cfn import Stack

START = datetime(2026, 11, 20, 6, 20, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SOURCES = ("us-east-1", "eu-west-1", "sa-east-1")
OPERATIONS = Stack("operations.yaml").of_type("AWS::CloudWatch::Alarm")
SITE = Stack("frontend.yaml", Image="x", TopicArn="t").of_type("AWS::CloudWatch::Alarm")
OWN = {p["MetricName"]: p for p in OPERATIONS.values() if p["Namespace"] == "CloudPing"}


@pytest.mark.parametrize(
    ("points", "missing", "ignore", "breaching", "not_breaching"),
    [  # the guide's own table, for three of three and a range of five
        ("0-X-X", OK, OK, OK, OK),
        ("----0", OK, OK, OK, OK),
        ("-----", UNKNOWN, "kept", ALARM, OK),
        ("0XX-X", ALARM, ALARM, ALARM, ALARM),
        ("--X--", ALARM, "kept", ALARM, OK),
    ],
)
def test_missing_data_are_treated_as_the_guide_says(
    points: str, missing: str, ignore: str, breaching: str, not_breaching: str
) -> None:
    values = [{"0": 0.0, "X": 9.0, "-": None}[point] for point in points]
    alarm = {
        "EvaluationPeriods": 3, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    }  # fmt: skip
    states = {"missing": missing, "ignore": ignore} | {
        "breaching": breaching, "notBreaching": not_breaching,
    }  # fmt: skip
    for treatment, expected in states.items():
        assert judge(alarm | {"TreatMissingData": treatment}, values, "kept") == expected, treatment


def test_m_of_n() -> None:
    alarm = {
        "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    }  # fmt: skip
    assert judge(alarm, [0, 9, 9, 0, 0, 9, 0], OK) == OK  # two of the last five
    assert judge(alarm, [0, 9, 9, 0, 9, 9, 0], OK) == ALARM


class Installation:
    """Three sources on moto, the aggregator's health line each hour, the alarms each minute."""

    def __init__(self, dynamodb: Any) -> None:
        self.dynamodb, self.table = dynamodb, RegionTable(dynamodb)
        self.alarms = [Alarm(properties, START) for properties in OPERATIONS.values()]
        for code in SOURCES:
            self.table.put(RegionState(CATALOGUE[code], True, True, 300, source_since=START))

    def run(
        self,
        hours: int,
        writes: Callable[[str, datetime], bool] = lambda *_: True,
        dead: Callable[[datetime], str] = lambda _: "",
        aggregates: Callable[[datetime], bool] = lambda _: True,
    ) -> list[Message]:
        """Everything that the topic gets; the sources measure from the first minutes on."""
        messages = []
        for minute in range(hours * 60):
            now = START + minute * MINUTE
            if now.minute == 3 and aggregates(now):
                self._aggregate(now, writes, dead)
            messages += [m for alarm in self.alarms if (m := alarm.evaluate(now))]
        return messages

    def _aggregate(
        self,
        now: datetime,
        writes: Callable[[str, datetime], bool],
        dead: Callable[[datetime], str],
    ) -> None:
        hour = now.replace(minute=0) - HOUR
        for code in SOURCES:
            if writes(code, hour):
                runs = 12 if hour > START else 8
                add_hour(self.dynamodb, code, runs, runs, lost=0, dead=dead(hour), hour=hour)
                self.table.note_data(code, START, now - 4 * MINUTE)
        health = metrics.measure(tables(self.dynamodb, ""), now)
        given = {
            "SilentSources": health.silent_sources,
            "FailedRuns": health.failed_runs,
            "LatenessSeconds": health.lateness_s,
            "LossPercent": health.loss_pct,
            "NewlyDeadTargets": len(health.newly_dead),
        }
        assert given.keys() == OWN.keys()
        for alarm in self.alarms:
            value = given.get(alarm.properties["MetricName"])
            if alarm.properties["Namespace"] == "CloudPing" and value is not None:
                alarm.points.append((now, float(value)))


@pytest.fixture
def installation(dynamodb: Any) -> Iterator[Installation]:
    yield Installation(dynamodb)


def rings(messages: list[Message]) -> list[tuple[str, str]]:
    """Without what says that all is well: AWS sends that for each new alarm."""
    return [(m.alarm.removeprefix("cloudping-"), m.state) for m in messages if m.state != OK]


def test_the_first_six_hours_of_an_installation_ring_nothing(installation: Installation) -> None:
    assert rings(installation.run(6)) == []
    assert {alarm.state for alarm in installation.alarms} == {OK}


def test_a_silent_source_rings_once_and_ends(installation: Installation) -> None:
    def writes(code: str, hour: datetime) -> bool:
        return code != "eu-west-1" or not START + 2 * HOUR < hour < START + 5 * HOUR

    messages = installation.run(9, writes=writes)
    assert rings(messages) == [("silent-source", ALARM)]
    said = [m.at for m in messages if m.alarm == "cloudping-silent-source"]
    assert timedelta(hours=3) < said[1] - START < timedelta(hours=6)
    assert installation.alarms[0].state == OK


@pytest.mark.parametrize("since", [timedelta(hours=-1), timedelta(hours=2)])
def test_a_dead_target_is_one_message_and_no_permanent_alarm(
    installation: Installation, since: timedelta
) -> None:
    def dead(hour: datetime) -> str:
        return "me-south-1" if hour >= START + since else ""

    assert rings(installation.run(9, dead=dead)) == [("dead-target", ALARM)]
    assert {alarm.state for alarm in installation.alarms} == {OK}


def test_an_aggregator_that_stops_is_told_of_once(installation: Installation) -> None:
    messages = installation.run(12, aggregates=lambda now: now < START + 3 * HOUR)
    assert rings(messages) == [("late-aggregator", UNKNOWN)]
    (said,) = [m.at for m in messages if m.state == UNKNOWN]
    assert said - (START + 3 * HOUR) < timedelta(hours=5)


def test_an_aggregator_that_never_ran_does_not_ring_but_shows() -> None:
    alarm = Alarm(OWN["LatenessSeconds"], START)
    assert [alarm.evaluate(START + minute * MINUTE) for minute in range(600)] == [None] * 600
    assert alarm.state == UNKNOWN


def test_no_healthy_task_rings_in_five_minutes_and_not_before_there_was_one() -> None:
    """It is made after the service, which CloudFormation waits for: one task is ready by then."""
    site = Stack("frontend.yaml", Image="x", TopicArn="t")
    assert site.resources["NoHealthyTask"]["DependsOn"] == "Service"
    alarm = Alarm(SITE["NoHealthyTask"], START)
    starting = [(START + minute * MINUTE, 0.0) for minute in range(-4, -1)]
    ready = [(START + minute * MINUTE, 1.0) for minute in range(-1, 120)]
    gone = [(START + minute * MINUTE, 0.0) for minute in range(120, 180)]
    alarm.points = [*starting, *ready, *gone]
    told = [m for minute in range(180) if (m := alarm.evaluate(START + minute * MINUTE))]
    assert rings(told) == [("no-healthy-task", ALARM)]
    assert told[-1].at - START == timedelta(minutes=125)
    alarm.points = []
    alarm.state = OK  # nothing at all is no better: the target group is empty
    assert alarm.evaluate(START + 180 * MINUTE) == Message(
        START + 180 * MINUTE, "cloudping-no-healthy-task", ALARM
    )
