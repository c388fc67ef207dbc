"""What all tests share: credentials that open nothing, and the tables on moto."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from moto import mock_aws

ROOT = Path(__file__).resolve().parent.parent
HOME_REGION = "us-east-2"


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can reach an account of the developer: credentials open nothing, no profile."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", HOME_REGION)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, kept as {tag: value}."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if tag == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        raise TypeError(f"!{tag} on {node}")
    return {name: value}


TemplateLoader.add_multi_constructor("!", _short_form)


def load_template(name: str) -> dict[str, Any]:
    """A template of infra/templates/ as a dictionary."""
    text = (ROOT / "infra" / "templates" / name).read_text()
    loaded: dict[str, Any] = yaml.load(text, TemplateLoader)  # noqa: S506 - a SafeLoader
    return loaded


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    """A DynamoDB client on moto with the tables of infra/templates/tables.yaml."""
    import boto3

    with mock_aws():
        boto3.client("cloudformation", region_name=HOME_REGION).create_stack(
            StackName="cloudping-tables",
            TemplateBody=(ROOT / "infra" / "templates" / "tables.yaml").read_text(),
            Parameters=[{"ParameterKey": "DeletionProtection", "ParameterValue": "false"}],
        )
        yield boto3.client("dynamodb", region_name=HOME_REGION)


def scheduled_event(region: str, moment: datetime, detail: Mapping[str, Any]) -> dict[str, Any]:
    """What EventBridge sends for a schedule, for invoking a function by hand."""
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": [],
        "detail": dict(detail),
    }
