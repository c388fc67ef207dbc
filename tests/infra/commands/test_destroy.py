"""destroy: what is not ours is listed and left, and "not enabled" is not taken at its word."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from infra import TEMPLATES
from infra.__main__ import main
from infra.aws import functions
from infra.aws.account import Account
from infra.aws.installation import PROBES, App, Installation
from infra.commands import destroy
from tests.conftest import HOME_REGION

ACCOUNT = Account(Installation(), "123456789012", "aws", HOME_REGION)
ENABLED, DISABLED = "af-south-1", "me-south-1"
STATUS = {HOME_REGION: "ENABLED_BY_DEFAULT", ENABLED: "ENABLED", DISABLED: "DISABLED"}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(destroy, "region_status", lambda *_: STATUS)
    with mock_aws():
        yield


def refuse(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """An AWS that answers with an error in the opt-in regions, and has nothing elsewhere."""

    def remove(app: App, installation: Any, stage: str, session: Any) -> list[str]:
        if stage in (ENABLED, DISABLED):
            raise ClientError({"Error": {"Code": code, "Message": "invalid"}}, "GetFunction")
        return []

    monkeypatch.setattr(functions, "remove", remove)


@pytest.mark.parametrize("code", sorted(destroy._NOT_ENABLED))
def test_an_enabled_region_that_says_it_is_not_has_not_lost_its_probe(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 1 tokens of STS answer so in every enabled opt-in region."""
    refuse(monkeypatch, code)
    noted: list[str] = []
    monkeypatch.setattr(destroy, "_note_removed", lambda _, codes: noted.extend(codes))
    done = destroy.remove(ACCOUNT, [], False, STATUS)
    assert set(done.failed) == {f"probes {ENABLED}"}
    assert "regional STS endpoint" in done.failed[f"probes {ENABLED}"]
    assert ENABLED not in noted  # it goes on measuring
    assert DISABLED in noted


def test_a_region_that_answers_another_error_failed_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(monkeypatch, "AccessDenied")
    done = destroy.remove(ACCOUNT, [ENABLED, DISABLED], False, STATUS)
    assert set(done.failed) == {f"probes {ENABLED}", f"probes {DISABLED}"}


def test_foreign_tables_and_functions_are_listed_and_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The original CloudPing's table is PingTest too: protected, with another owner's tag."""
    dynamodb = boto3.client("dynamodb", region_name=HOME_REGION)
    boto3.client("cloudformation", region_name=HOME_REGION).create_stack(
        StackName="cloudping-tables",
        TemplateBody=(TEMPLATES / "tables.yaml").read_text(),
        Parameters=[{"ParameterKey": "Prefix", "ParameterValue": "old-"}],
        Tags=[{"Key": "Project", "Value": "another"}],
    )
    dynamodb.create_table(
        TableName="PingTest",
        KeySchema=[{"AttributeName": "region", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "region", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=True,
        Tags=[{"Key": "Owner", "Value": "somebody"}],
    )
    before = dynamodb.list_tables()["TableNames"]
    role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]
    boto3.client("lambda", region_name=HOME_REGION).create_function(
        FunctionName=Installation().function_name(PROBES, HOME_REGION),
        Role=role["Arn"],
        Runtime="python3.13",
        Handler="app.probe",
        Code={"ZipFile": b"zip"},
    )
    assert main(["destroy", "--yes", "--tables"]) == 0
    said = capsys.readouterr().out
    assert "left: table PingTest: neither the tables' stack nor the tag" in said
    assert f"left: probes {HOME_REGION}: cloudping-probes-us-east-2-probe lacks the tag" in said
    assert "left: stack cloudping-tables: " in said
    assert "nothing was there" not in said
    assert dynamodb.list_tables()["TableNames"] == before
    assert boto3.client("lambda", region_name=HOME_REGION).list_functions()["Functions"]
