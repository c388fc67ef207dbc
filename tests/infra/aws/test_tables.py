"""The tables: only ours go, and what a restored one lacks is noticed."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra import TEMPLATES
from infra.aws import tables
from infra.aws.account import Account
from infra.aws.installation import Installation
from tests.conftest import HOME_REGION

ACCOUNT = Account(Installation(), "123456789012", "aws", HOME_REGION)
ALL = {
    "PingTest", "cloudping_regions", "cloudping_distributions", "cloudping_stored_avgs",
    "cloudping_history",
    "cloudping_changes",
}  # fmt: skip
KEY: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "region", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "region", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("dynamodb", region_name=HOME_REGION)


def create_stack(name: str = "cloudping-tables", tags: dict[str, str] | None = None) -> None:
    tags = ACCOUNT.installation.tags if tags is None else tags
    boto3.client("cloudformation", region_name=HOME_REGION).create_stack(
        StackName=name,
        TemplateBody=(TEMPLATES / "tables.yaml").read_text(),
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )


def tag(dynamodb: Any, name: str, **tags: str) -> None:
    arn = dynamodb.describe_table(TableName=name)["Table"]["TableArn"]
    dynamodb.tag_resource(
        ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )


def test_a_foreign_pingtest_is_not_ours(dynamodb: Any) -> None:
    """The original CloudPing's table has the same name."""
    dynamodb.create_table(TableName="PingTest", DeletionProtectionEnabled=True, **KEY)
    tag(dynamodb, "PingTest", Owner="somebody", Project="latency")
    found = tables.existing(ACCOUNT)
    assert found.ours == []
    assert set(found.others) == {"PingTest"}


def test_another_installations_table_is_not_ours(dynamodb: Any) -> None:
    dynamodb.create_table(TableName="PingTest", **KEY)
    tag(dynamodb, "PingTest", Project="cloudping", Installation="blue-")
    assert tables.existing(ACCOUNT).ours == []


def test_a_table_is_ours_by_tag(dynamodb: Any) -> None:
    dynamodb.create_table(TableName="PingTest", **KEY)
    tag(dynamodb, "PingTest", **ACCOUNT.installation.tags)
    assert tables.existing(ACCOUNT).ours == ["PingTest"]


def test_a_table_is_ours_by_its_stack_though_it_was_restored(dynamodb: Any) -> None:
    create_stack()
    tables.delete(ACCOUNT, "PingTest")
    dynamodb.create_table(TableName="PingTest", **KEY)  # as a restored one: without tags
    found = tables.existing(ACCOUNT)
    assert set(found.ours) == ALL
    assert not found.others


def test_a_foreign_stack_of_the_same_name_makes_no_table_ours(dynamodb: Any) -> None:
    create_stack(tags={"Project": "latency"})
    found = tables.existing(ACCOUNT)
    assert not found.ours
    assert set(found.others) == ALL


def test_deleting_takes_the_protection_off_first(dynamodb: Any) -> None:
    create_stack()
    for name in tables.existing(ACCOUNT).ours:
        tables.delete(ACCOUNT, name)
        tables.delete(ACCOUNT, name)  # gone meanwhile
    assert dynamodb.list_tables()["TableNames"] == []


def lacks(name: str = "PingTest") -> str:
    return "".join(fault for fault in tables.faults(ACCOUNT) if fault.startswith(f"table {name}:"))


def test_what_a_restored_table_lacks_is_noticed_and_the_runbooks_commands_mend_it(
    dynamodb: Any,
) -> None:
    create_stack()
    for name in ALL:  # moto's CloudFormation ignores recovery and tags
        dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        tag(dynamodb, name, **ACCOUNT.installation.tags)
    dynamodb.update_time_to_live(
        TableName="PingTest",
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"},
    )
    assert list(tables.faults(ACCOUNT)) == []

    tables.delete(ACCOUNT, "PingTest")
    assert "is not there" in lacks()
    dynamodb.create_table(TableName="PingTest", **KEY)
    for lacking in (
        "is not protected from deletion",
        "has no point-in-time recovery",
        "lets no run expire",
        "lacks the tags Project=cloudping, Installation=default",
    ):
        assert lacking in lacks()
    assert "docs/runbook.md#a-table-was-deleted-or-spoilt" in lacks()
    dynamodb.update_table(TableName="PingTest", DeletionProtectionEnabled=True)
    assert "protected" not in lacks()
    dynamodb.update_time_to_live(
        TableName="PingTest", TimeToLiveSpecification={"Enabled": True, "AttributeName": "other"}
    )
    assert "lets no run expire" in lacks()
