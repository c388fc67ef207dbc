"""Settings: kept with the installation, and what each deployment makes of them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cloudping.errors import CloudPingError, SettingError
from cloudping.settings import TABLE
from infra.aws import settings
from infra.aws.account import Account
from infra.aws.installation import KEPT, PROBES, Installation, config, said
from tests.conftest import HOME_REGION, load_template

HERE = Account(Installation(), "123456789012", "aws", HOME_REGION)


def saying(**environment: str) -> Account:
    return replace(HERE, installation=Installation(environment=said(environment)))


@pytest.fixture
def formation() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("cloudformation", region_name=HOME_REGION)


def keep(formation: Any, text: str) -> None:
    """A stack with that parameter; moto makes no alarms, so not the whole of operations.yaml."""
    template = {
        "Parameters": {"Settings": load_template("operations.yaml")["Parameters"]["Settings"]},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    }
    formation.create_stack(
        StackName="cloudping-operations",
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": "Settings", "ParameterValue": text}],
    )


def test_nothing_is_kept_before_the_first_deployment(formation: Any) -> None:
    assert settings.stored(HERE) == {}
    assert settings.settled(HERE, {}).installation.environment == {}


def test_what_was_said_once_is_there_for_the_next(formation: Any) -> None:
    first = settings.settled(saying(PROBE_INTERVAL_MINUTES="15", PROBE_ATTEMPTS="3"), {})
    keep(formation, settings.text(first.installation.environment))
    before = settings.stored(HERE)
    assert before == {"PROBE_INTERVAL_MINUTES": "15", "PROBE_ATTEMPTS": "3"}
    then = settings.settled(saying(PROBE_ATTEMPTS="7", PROBE_TARGETS=" "), before)
    assert then.installation.environment == {"PROBE_INTERVAL_MINUTES": "15", "PROBE_ATTEMPTS": "7"}
    assert then.installation.settings.probe_interval_minutes == 15
    assert settings.differences(before, then.installation.environment) == [
        "setting PROBE_INTERVAL_MINUTES=15",
        "setting PROBE_ATTEMPTS: 3 -> 7",
    ]


def test_the_default_and_a_reset_end_a_setting() -> None:
    before = {"PROBE_ATTEMPTS": "3", "PROBE_TARGETS": "eu-west-1"}
    by_default = settings.settled(saying(PROBE_ATTEMPTS="5"), before)
    assert by_default.installation.environment == {"PROBE_TARGETS": "eu-west-1"}
    by_reset = settings.settled(HERE, before, ["PROBE_TARGETS"])
    assert by_reset.installation.environment == {"PROBE_ATTEMPTS": "3"}
    assert settings.differences(before, {}) == [
        "setting PROBE_ATTEMPTS: 3 -> 5",
        "setting PROBE_TARGETS: eu-west-1 -> none",
    ]
    with pytest.raises(SettingError, match="--reset"):
        settings.settled(HERE, before, ["PROBE_REGION"])


def test_what_cannot_be_is_refused_with_its_name(formation: Any) -> None:
    with pytest.raises(SettingError, match="PROBE_ATTEMPTS"):
        settings.settled(saying(PROBE_ATTEMPTS="many"), {})
    keep(formation, "PROBE_ATTEMPTS=3")
    with pytest.raises(CloudPingError, match="parameter Settings of stack cloudping-operations"):
        settings.stored(HERE)


def test_a_setting_that_this_version_does_not_know_is_left_out(formation: Any) -> None:
    keep(formation, json.dumps({"PROBE_ATTEMPTS": "3", "PROBE_OF_TOMORROW": "1"}))
    assert settings.stored(HERE) == {"PROBE_ATTEMPTS": "3"}


def test_another_partition_keeps_nothing() -> None:
    """Its credentials do not open the home region: asking there would fail."""
    assert settings.stored(Account(Installation(), "1", "aws-cn", "cn-north-1")) == {}


def test_every_setting_is_kept_but_those_that_are_a_stages_or_a_stacks_own() -> None:
    left = {setting.env for setting in TABLE} - KEPT.keys()
    assert left == {
        "CLOUDPING_HOME_REGION", "CLOUDPING_PREFIX", "CLOUDPING_HOME_CREDENTIALS",
        "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "PROBE_REGION", "FRONTEND_PROXIES",
    }  # fmt: skip


def test_each_reader_gets_its_own_settings() -> None:
    environment = {
        "PROBE_ATTEMPTS": "3", "FRONTEND_REFRESH_SECONDS": "30", "CLOUDPING_EXCLUDE": "me-south-1",
        "AGGREGATOR_INTERVAL_MINUTES": "360",
    }  # fmt: skip
    installation = Installation(environment=environment)
    functions = config(PROBES, installation, ["eu-west-1"])["environment_variables"]
    assert functions == {
        "CLOUDPING_HOME_REGION": "us-east-2",
        "PROBE_ATTEMPTS": "3",
        "AGGREGATOR_INTERVAL_MINUTES": "360",
    }
    assert settings.site_parameters(environment) == {
        "AggregatorIntervalMinutes": "360",
        "FrontendRefreshSeconds": "30",
        "FrontendRequestsPerMinute": "600",
        "FrontendGigabytesPerDay": "100",
        "FrontendUrl": "",
    }


def test_the_site_takes_every_setting_that_it_reads() -> None:
    template = load_template("frontend.yaml")
    (container,) = template["Resources"]["Task"]["Properties"]["ContainerDefinitions"]
    given = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    for name in KEPT:
        if name.startswith("FRONTEND_") or name == "AGGREGATOR_INTERVAL_MINUTES":
            parameter = name.title().replace("_", "")
            assert given[name] == {"Ref": parameter}
            assert str(template["Parameters"][parameter]["Default"]) == KEPT[name]
