"""What verify finds that is not as meant: each check with what is right and with what is not."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, Attempt, Run, RunTable, TargetResult
from infra.aws import functions, roles, stacks
from infra.aws.account import Account
from infra.aws.installation import APPS, Installation
from infra.commands import verify
from infra.commands.verify import Finding, Scope
from tests.conftest import HOME_REGION

NOW = datetime(2026, 11, 20, 12, 3, tzinfo=UTC)
HERE = Account(Installation(), "123456789012", "aws", HOME_REGION)
SOURCE = RegionState(CATALOGUE[HOME_REGION], True, True, 300, source_since=NOW - timedelta(hours=1))
SCOPE = Scope(HERE, [SOURCE], NOW)


def found(check: verify.Check, scope: Scope = SCOPE) -> list[tuple[bool | None, str]]:
    return [(finding.is_well, finding.said) for finding in check(scope)]


def test_a_line_begins_with_its_verdict() -> None:
    assert str(Finding("site", True, "answers")) == "ok  site: answers"
    assert str(Finding("site", False, "does not")) == "NOT site: does not"
    assert str(Finding("cost", None, "denied")) == "?   cost: denied"


@pytest.fixture
def iam() -> Iterator[Any]:
    with mock_aws():
        for app in APPS.values():
            roles.make(HERE, app, HOME_REGION, None)
            name = HERE.installation.role_name(app, HOME_REGION)
            allow = {"Effect": "Allow", "Action": "dynamodb:Query", "Resource": "*"}
            boto3.client("iam").put_role_policy(
                RoleName=name,
                PolicyName=name,
                PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
            )
        yield boto3.client("iam")


def test_roles_as_deployed(iam: Any) -> None:
    assert found(verify._roles) == [(True, "3 as meant, no boundary")]


def test_a_role_with_more_than_its_own_policy_or_other_trust(iam: Any) -> None:
    probe, watch = (
        f"cloudping-{n}" for n in (f"probes-{HOME_REGION}-probe", f"watch-{HOME_REGION}-regions")
    )
    iam.attach_role_policy(RoleName=probe, PolicyArn=_policy(iam, "more"))
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "ec2.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    iam.update_assume_role_policy(
        RoleName=watch, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    assert sorted(found(verify._roles)) == [
        (False, "has further policies"),
        (False, "may be assumed by others than Lambda"),
    ]


def test_roles_that_are_older_than_the_boundary(iam: Any) -> None:
    _policy(iam, "cloudping-boundary")
    assert found(verify._roles) == [(False, "lacks the boundary")] * 3


def _policy(iam: Any, name: str) -> str:
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    return str(iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"])


def test_functions_that_are_not_there() -> None:
    with mock_aws():
        answers = found(verify._functions)
    assert len(answers) == 3
    assert all(is_well is False and "not deployed" in said for is_well, said in answers)


def test_what_aws_refuses_is_a_question_mark_and_ends_no_other_check(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise stacks.StackError("AccessDenied")

    monkeypatch.setattr(functions, "differences", refuse)
    RegionTable(dynamodb).put(SOURCE)
    said = list(verify.verify(HERE, [], NOW, (verify._functions, verify._stalls)))
    assert [finding.is_well for finding in said] == [None, None, None, True]


def write(dynamodb: Any, count: int) -> None:
    """So many runs of the last hour, the newest first."""
    table = RunTable(dynamodb)
    result = TargetResult(
        CATALOGUE["eu-west-1"].endpoint, ("192.0.2.1",), 1.0, (Attempt(80.0, 80.1),)
    )
    run = Run(HOME_REGION, NOW, "aws", 300, 1, METHOD_KERNEL, ORIGIN_AWS, {"eu-west-1": result})
    for number in range(count):
        at = NOW.replace(minute=0) - timedelta(minutes=5 * number)
        table.put_once(replace(run, timestamp=at, written_at=at + timedelta(seconds=3)))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (12, (True, "12 runs in the last day, none missing")),
        (11, (True, "11 runs in the last day, none missing")),
        (8, (False, "8 runs written of 11 due")),
    ],
)
def test_schedules_that_fired(dynamodb: Any, runs: int, expected: tuple[bool, str]) -> None:
    """A source since an hour owes 11 runs: what is due in the last two minutes may be under way."""
    write(dynamodb, runs)
    assert found(verify._schedules) == [expected]


def test_without_sources_nothing_is_deployed(dynamodb: Any) -> None:
    (answer,) = found(verify._schedules, Scope(HERE, [], NOW))
    assert answer == (False, "no region is a source: nothing is deployed")


def test_stalls_are_a_fact_and_not_a_fault(dynamodb: Any) -> None:
    write(dynamodb, 12)
    ((is_well, said),) = found(verify._stalls)
    assert is_well
    assert said.startswith("0 of 12 connects met one")


@contextmanager
def site(status: int) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def with_outputs(monkeypatch: pytest.MonkeyPatch, **outputs: str) -> None:
    stack = {"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()]}
    monkeypatch.setattr(stacks, "describe", lambda *_: stack)


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False)])
def test_the_site_answers_or_not(
    monkeypatch: pytest.MonkeyPatch, status: int, is_well: bool
) -> None:
    with site(status) as url:
        with_outputs(monkeypatch, Url=url)
        assert found(verify._site) == [(is_well, f"{url}readyz answers {status}")]
    ((is_well_now, _),) = found(verify._site)  # nobody listens any more
    assert not is_well_now


def test_without_a_site_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "describe", lambda *_: None)
    assert found(verify._site) == []


NOBODY = "nobody hears the alarms; "


@pytest.mark.parametrize(
    ("arns", "expected"),
    [
        (["arn:aws:sns:us-east-2:1:t:6b0"], (True, "1 subscription")),
        (["PendingConfirmation"], (False, f"{NOBODY}not confirmed yet: see the mail from AWS")),
        ([], (False, f"{NOBODY}run deploy --alarm-email")),
    ],
)  # fmt: skip
def test_somebody_has_to_hear_the_alarms(
    monkeypatch: pytest.MonkeyPatch, arns: list[str], expected: tuple[bool, str]
) -> None:
    class Sns:
        def list_subscriptions_by_topic(self, **_: Any) -> dict[str, Any]:
            return {"Subscriptions": [{"SubscriptionArn": arn} for arn in arns]}

    with_outputs(monkeypatch, TopicArn="arn:aws:sns:us-east-2:1:t")
    monkeypatch.setattr(Account, "client", lambda *_: Sns())
    assert found(verify._listeners) == [expected]


class Bill:
    """Cost Explorer, with one figure."""

    def __init__(self, usd: float) -> None:
        self.usd = usd

    def get_cost_and_usage(self, **request: Any) -> dict[str, Any]:
        assert request["TimePeriod"] == {"Start": "2026-11-01", "End": "2026-11-20"}
        return {"ResultsByTime": [{"Total": {"UnblendedCost": {"Amount": str(self.usd)}}}]}


@pytest.mark.parametrize(("usd", "is_well"), [(0.5, True), (400.0, False), (0.0, None)])
def test_the_cost_is_held_against_what_was_computed(
    monkeypatch: pytest.MonkeyPatch, usd: float, is_well: bool | None
) -> None:
    monkeypatch.setattr(stacks, "describe", lambda *_: None)

    class Session:
        def client(self, *_: str, **__: str) -> Bill:
            return Bill(usd)

    monkeypatch.setattr(verify, "session", Session)
    ((answer, said),) = found(verify._cost)
    assert answer is is_well
    assert ("activate it" in said) is (usd == 0)


def test_a_month_that_has_just_begun_has_no_cost_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    first = replace(SCOPE, now=datetime(2026, 12, 1, 8, tzinfo=UTC))
    monkeypatch.setattr(verify, "session", lambda: boto3)
    ((is_well, said),) = found(verify._cost, first)
    assert is_well
    assert "just begun" in said
