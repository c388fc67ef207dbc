"""An installation: its configuration, its names, and the least that each function may do."""

import json
from typing import Any

import pytest

from cloudping.errors import SettingError
from cloudping.regions import CATALOGUE
from infra.aws import installation
from infra.aws.installation import APPS, PROBES, App, Installation

DEFAULT = Installation()


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_committed_config_is_the_generated_one(app: App) -> None:
    committed = json.loads((app.folder / ".chalice" / "config.json").read_text())
    assert committed == installation.config(app, DEFAULT, DEFAULT.stages(app))


def test_every_region_of_the_catalogue_is_a_stage_named_after_it() -> None:
    stages = installation.config(PROBES, DEFAULT, CATALOGUE)["stages"]
    assert {s: c["environment_variables"]["PROBE_REGION"] for s, c in stages.items()} == {
        code: code for code in CATALOGUE
    }


def test_the_committed_policies_are_what_the_generator_gives() -> None:
    folder = PROBES.folder / ".chalice" / "policies"
    assert {file.stem for file in folder.iterdir()} == set(CATALOGUE)
    for code in CATALOGUE:
        committed = json.loads((folder / f"{code}.json").read_text())
        assert committed == installation.policy(PROBES, DEFAULT, code)


def statements(app: App) -> list[dict[str, Any]]:
    policy = json.loads((app.folder / ".chalice" / "policy.json").read_text())
    return list(policy["Statement"])


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_nothing_may_do_everything_or_touch_every_table(app: App) -> None:
    for statement in statements(app):
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        resources = statement["Resource"]
        resources = [resources] if isinstance(resources, str) else resources
        assert not [action for action in actions if "*" in action]
        if any(action.startswith("dynamodb:") for action in actions):
            for resource in resources:
                assert ":table/" in resource
                assert "*" not in resource.split(":table/")[1]


def test_a_probe_may_only_write_runs_and_read_the_targets() -> None:
    data = {
        (statement["Action"], statement["Resource"].split(":table/")[1])
        for statement in statements(PROBES)
        if str(statement["Action"]).startswith("dynamodb")
    }
    assert data == {
        ("dynamodb:PutItem", "PingTest"),
        ("dynamodb:Query", "cloudping_regions/index/active_to-region-index"),
    }


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_every_log_is_kept_for_so_long_and_no_concurrency_is_reserved(app: App) -> None:
    config = installation.config(app, DEFAULT, DEFAULT.stages(app))
    assert config["log_retention_in_days"] == installation.LOG_RETENTION_DAYS
    assert "reserved_concurrency" not in json.dumps(config)  # a new account has few to give


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_no_function_may_make_roles_functions_rules_or_log_groups(app: App) -> None:
    actions = {
        action
        for statement in statements(app)
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }
    services = {action.split(":")[0] for action in actions}
    assert not services & {"iam", "lambda", "events", "cloudformation", "sts"}
    actions -= {"logs:CreateLogStream"}
    assert not [a for a in actions if a.split(":")[1].startswith(("Create", "Enable"))]


def test_a_prefix_that_makes_names_too_long_is_refused() -> None:
    Installation(prefix="a" * 17 + "-").check_names()
    with pytest.raises(SettingError, match="at most 18 characters here"):
        Installation(prefix="a" * 19 + "-").check_names()


def test_only_another_partitions_probe_reads_a_secret() -> None:
    foreign = Installation(home_credentials="cloudping/home")
    wanted = installation.policy(PROBES, foreign, "cn-north-1")["Statement"][-1]
    assert wanted["Action"] == "secretsmanager:GetSecretValue"
    assert wanted["Resource"].endswith(":secret:cloudping/home-??????")
    environment = installation.config(PROBES, foreign, ["cn-north-1"])["environment_variables"]
    assert environment["CLOUDPING_HOME_CREDENTIALS"] == "cloudping/home"
    for app in APPS.values():
        assert "secretsmanager" not in json.dumps(
            installation.policy(app, DEFAULT, DEFAULT.home_region)
        )
