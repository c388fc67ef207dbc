"""One home an installation: a second is refused before anything is planned or removed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from infra.aws import functions, home
from infra.aws.account import Account
from infra.aws.home import OtherHomeError
from infra.aws.installation import Installation
from infra.aws.stacks import NotOursError
from infra.aws.tables import STACK
from tests.conftest import HOME_REGION

OTHER = "eu-west-1"
STATUS = {HOME_REGION: "ENABLED_BY_DEFAULT", OTHER: "ENABLED_BY_DEFAULT", "af-south-1": "DISABLED"}
TOPIC = '{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}'


def at(region: str, prefix: str = "") -> Account:
    return Account(Installation(prefix=prefix, home_region=region), "123456789012", "aws", region)


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        yield


def make_home(account: Account, tags: dict[str, str] | None = None) -> None:
    tags = account.installation.tags if tags is None else tags
    account.client("cloudformation").create_stack(
        StackName=account.installation.stack_name(STACK),
        TemplateBody=TOPIC,
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )


def test_an_installation_may_begin_anywhere_and_go_on_at_home() -> None:
    home.check(at(HOME_REGION), STATUS)
    make_home(at(HOME_REGION))
    home.check(at(HOME_REGION), STATUS)


def test_a_second_home_is_refused_with_the_first_ones_name() -> None:
    make_home(at(OTHER))
    with pytest.raises(
        OtherHomeError, match=r"at home in eu-west-1, not in us-east-2: say CLOUDPING_HOME_REGION="
    ):
        home.check(at(HOME_REGION), STATUS)


def test_other_installations_and_other_peoples_stacks_are_no_home_of_ours() -> None:
    make_home(at(OTHER, prefix="blue-"))
    make_home(at(OTHER), tags={"Project": "latency"})
    home.check(at(HOME_REGION), STATUS)


def test_in_another_partition_there_is_no_home_to_look_for() -> None:
    china = replace(at(HOME_REGION), partition="aws-cn", asked="cn-north-1")
    home.check(china, {"cn-north-1": "ENABLED_BY_DEFAULT"})


class Answers:
    """An AWS that has nothing at home and answers elsewhere as it is told."""

    def __init__(self, code: str, region: str) -> None:
        self.code = "ValidationError" if region == HOME_REGION else code

    def describe_stacks(self, **_: Any) -> None:
        message = "Stack does not exist" if self.code == "ValidationError" else "no"
        raise ClientError({"Error": {"Code": self.code, "Message": message}}, "DescribeStacks")

    def get_function_configuration(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetFunction")


def test_a_region_that_an_organisation_denies_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Account, "client", lambda self, _, code=HOME_REGION: Answers("AccessDenied", code)
    )
    home.check(at(HOME_REGION), STATUS)


def test_a_region_that_does_not_answer_might_be_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Account, "client", lambda self, _, code=HOME_REGION: Answers("Throttling", code)
    )
    with pytest.raises(OtherHomeError, match=r"is in eu-west-1 is not known: .*Throttling"):
        home.check(at(HOME_REGION), STATUS)


def test_an_aggregator_without_its_tables_is_a_home_too() -> None:
    role = boto3.client("iam", region_name=OTHER).create_role(
        RoleName="r", AssumeRolePolicyDocument="{}"
    )["Role"]["Arn"]
    boto3.client("lambda", region_name=OTHER).create_function(
        FunctionName="cloudping-aggregator-eu-west-1-aggregate",
        Role=role,
        Runtime="python3.13",
        Handler="app.aggregate",
        Code={"ZipFile": b"zip"},
    )
    with pytest.raises(OtherHomeError, match="at home in eu-west-1"):
        home.check(at(HOME_REGION), STATUS)


def test_a_function_that_writes_to_another_home_is_left() -> None:
    configuration = {
        "FunctionName": "cloudping-probes-eu-west-1-probe",
        "Environment": {"Variables": {"CLOUDPING_HOME_REGION": OTHER}},
    }
    functions.check_home(configuration, Installation(home_region=OTHER))
    with pytest.raises(NotOursError, match=r"home in eu-west-1, not in us-east-2"):
        functions.check_home(configuration, Installation(home_region=HOME_REGION))
