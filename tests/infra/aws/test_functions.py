"""Removing a stage: everything of ours by its name, nothing of anybody else's."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.aws import functions
from infra.aws.installation import PROBES, Installation
from infra.aws.stacks import NotOursError

INSTALLATION = Installation()
REGION = "eu-west-1"
NAME = "cloudping-probes-eu-west-1-probe"
RULE = f"{NAME}-event"


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        yield


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


def make_role(**tags: str) -> str:
    arn: str = client("iam").create_role(
        RoleName=NAME,
        AssumeRolePolicyDocument="{}",
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )["Role"]["Arn"]
    allow = {"Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    client("iam").put_role_policy(RoleName=NAME, PolicyName=NAME, PolicyDocument=policy)
    return arn


def make_function(role: str, home: str = "us-east-2", **tags: str) -> str:
    arn: str = client("lambda").create_function(
        FunctionName=NAME,
        Role=role,
        Runtime="python3.13",
        Handler="app.probe",
        Code={"ZipFile": b"zip"},
        Tags=tags,
        Environment={"Variables": {"CLOUDPING_HOME_REGION": home}},
    )["FunctionArn"]
    client("logs").create_log_group(logGroupName=f"/aws/lambda/{NAME}")
    return arn


def make_rule(target: str = "") -> None:
    client("events").put_rule(Name=RULE, ScheduleExpression="rate(5 minutes)")
    if target:
        client("events").put_targets(Rule=RULE, Targets=[{"Id": "1", "Arn": target}])


def remove() -> list[str]:
    return functions.remove(PROBES, INSTALLATION, REGION, boto3.Session())


def left() -> set[str]:
    names = {entry["FunctionName"] for entry in client("lambda").list_functions()["Functions"]}
    names |= {entry["Name"] for entry in client("events").list_rules()["Rules"]}
    names |= {f"role {entry['RoleName']}" for entry in client("iam").list_roles()["Roles"]}
    groups = client("logs").describe_log_groups()["logGroups"]
    return names | {entry["logGroupName"] for entry in groups}


def test_a_stage_of_ours_goes_whole_and_once() -> None:
    make_rule(make_function(make_role(**INSTALLATION.tags), **INSTALLATION.tags))
    assert remove() == ["rule", "function", "role", "log group"]
    assert left() == set()
    assert remove() == []


def test_what_plain_chalice_made_goes_too() -> None:
    """It tags the function, not the role."""
    make_rule(make_function(make_role(), **INSTALLATION.tags))
    assert remove() == ["rule", "function", "role", "log group"]


def test_what_an_interrupted_removal_left_goes() -> None:
    make_role(**INSTALLATION.tags)
    make_rule()
    assert remove() == ["rule", "role"]


@pytest.mark.parametrize(
    "tags",
    [{}, {"Project": "latency"}, {"Project": "cloudping", "Installation": "blue-"}],
    ids=["untagged", "another project", "another installation"],
)
def test_a_function_of_somebody_else_stays_with_all_that_is_its(tags: dict[str, str]) -> None:
    make_rule(make_function(make_role(), **tags))
    before = left()
    assert len(before) == 4
    with pytest.raises(NotOursError, match=f"{NAME} lacks the tag"):
        remove()
    assert left() == before


def test_a_probe_with_another_home_stays() -> None:
    make_rule(make_function(make_role(), home="ap-south-1", **INSTALLATION.tags))
    with pytest.raises(NotOursError, match="has its home in ap-south-1, not in us-east-2"):
        remove()
    assert len(left()) == 4


def test_a_rule_that_starts_something_else_stays() -> None:
    make_rule("arn:aws:lambda:eu-west-1:123456789012:function:theirs")
    with pytest.raises(NotOursError, match="targets of somebody else"):
        remove()
    assert left() == {RULE}


@pytest.mark.parametrize("tags", [{}, {"Project": "latency"}])
def test_a_role_that_nothing_shows_to_be_ours_stays(tags: dict[str, str]) -> None:
    make_role(**tags)
    with pytest.raises(NotOursError, match="lacks the tag"):
        remove()
    assert left() == {f"role {NAME}"}


def test_a_tagged_role_of_somebody_else_stays_though_the_function_is_ours() -> None:
    make_function(make_role(Project="latency"), **INSTALLATION.tags)
    with pytest.raises(NotOursError, match=r"role .* lacks the tag"):
        remove()
    assert f"role {NAME}" in left()
