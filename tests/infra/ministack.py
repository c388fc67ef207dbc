"""A local AWS of its own for each test module that deploys, and what is left in it afterwards."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloudping.regions import CATALOGUE
from cloudping.runs import RunTable
from infra.aws.tables import TABLES
from infra.local.server import HOST, start_ministack
from tests.conftest import HOME_REGION, ROOT

FAST = {
    "PROBE_NETWORK": "simulated",
    "PROBE_INTERVAL_MINUTES": "1",
    "AGGREGATOR_INTERVAL_MINUTES": "1",
    "AGGREGATOR_GRACE_MINUTES": "0",
}


@contextmanager
def local_aws(folder: Path) -> Iterator[dict[str, str]]:
    """MiniStack in a folder; yields the environment with which commands reach it."""
    environment = ROOT / ".local" / "aws-venv"
    if not (environment / "bin" / "ministack").exists():
        pytest.fail("the embedded local AWS is missing; `make test` installs it")
    (folder / "aws-venv").symlink_to(environment)
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    aws = start_ministack(folder, port, HOME_REGION)
    try:
        yield {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CLOUDPING_"))},
            "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
            "AWS_ACCESS_KEY_ID": "111111111111",  # MiniStack's account of this number
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": HOME_REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
    finally:
        aws.stop(5)
        shutil.rmtree(folder / "state", ignore_errors=True)


def session(environment: dict[str, str]) -> Any:
    return boto3.Session(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def client(environment: dict[str, str], service: str, region: str = HOME_REGION) -> Any:
    return session(environment).client(
        service, region_name=region, endpoint_url=environment["AWS_ENDPOINT_URL"]
    )


def everything(environment: dict[str, str], prefix: str = "") -> dict[str, list[str]]:
    """All that an installation can leave, listed in every region of the catalogue by kind.

    Only log groups with a retention, as deploy makes them: MiniStack makes one without whenever a
    run ends whose group is gone. In AWS it needs a permission that no function has, as
    test_no_function_may_make_roles_functions_rules_or_log_groups holds.
    """
    found: dict[str, list[str]] = {"functions": [], "rules": [], "log groups": []}
    keep = session(environment)

    def of(service: str, region: str) -> Any:
        return keep.client(
            service, region_name=region, endpoint_url=environment["AWS_ENDPOINT_URL"]
        )

    for code in CATALOGUE:
        listed = of("lambda", code).list_functions(MaxItems=1000)["Functions"]
        found["functions"] += [f"{code} {entry['FunctionName']}" for entry in listed]
        rules = of("events", code).list_rules()["Rules"]
        found["rules"] += [f"{code} {entry['Name']}" for entry in rules]
        groups = of("logs", code).describe_log_groups()["logGroups"]
        found["log groups"] += [
            f"{code} {entry['logGroupName']}" for entry in groups if "retentionInDays" in entry
        ]
    roles = of("iam", HOME_REGION).list_roles(MaxItems=1000)["Roles"]
    found["roles"] = [entry["RoleName"] for entry in roles]
    stacks = of("cloudformation", HOME_REGION).describe_stacks()["Stacks"]
    found["stacks"] = [
        entry["StackName"] for entry in stacks if entry["StackStatus"] != "DELETE_COMPLETE"
    ]
    found["tables"] = of("dynamodb", HOME_REGION).list_tables()["TableNames"]
    return {
        kind: [name for name in names if f"{prefix}cloudping" in name.lower() or kind == "tables"]
        for kind, names in found.items()
    }


def put_right(environment: dict[str, str], prefix: str = "") -> None:
    """What docs/runbook.md says of a restored table, for tables as MiniStack's stack makes them.

    Its CloudFormation ignores time to live and recovery; its DynamoDB does not.
    """
    dynamodb = client(environment, "dynamodb")
    for table in TABLES:
        name = prefix + table.NAME
        dynamodb.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
    dynamodb.update_time_to_live(
        TableName=prefix + RunTable.NAME,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"},
    )
