"""The templates: what a local AWS ignores or lacks, and what an auditor would look for."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudping.runs import RunTable
from infra.aws.installation import AGGREGATOR, WATCH, Installation
from tests.conftest import HOME_REGION, ROOT, load_template

TEMPLATES = ("tables", "operations", "frontend", "github-oidc")
LOADED = {name: load_template(f"{name}.yaml") for name in TEMPLATES}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


def resources(name: str, kind: str = "") -> dict[str, Any]:
    found: dict[str, Any] = LOADED[name]["Resources"]
    return {key: value for key, value in found.items() if kind in value["Type"]}


def statements(name: str, *, boundaries: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, resource in resources(name).items():
        properties = resource.get("Properties", {})
        policies = [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
        if boundaries and "PolicyDocument" in properties:
            policies.append(properties["PolicyDocument"])
        for policy in policies:
            for statement in policy["Statement"]:
                yield key, statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_finds_nothing(name: str) -> None:
    tool = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [tool, ROOT / "infra" / "templates" / f"{name}.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_checkov_finds_nothing_that_is_not_argued() -> None:
    tool = shutil.which("checkov")
    if tool is None:
        pytest.skip(
            "checkov is not installed (too heavy for the lock; CI's job `templates` runs it)"
        )
    done = subprocess.run(
        [tool, "-d", ROOT / "infra", "--framework", "cloudformation", "--compact", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_exception_to_checkov_is_argued(name: str) -> None:
    for key, resource in resources(name).items():
        for skipped in resource.get("Metadata", {}).get("checkov", {}).get("skip", ()):
            assert re.fullmatch(r"CKV2?_AWS_\d+", skipped["id"]), key
            assert len(skipped["comment"].split()) > 5, key


@pytest.mark.parametrize("name", ["tables", "operations", "frontend", "github-oidc"])
def test_every_parameter_says_what_it_is_and_has_a_default(name: str) -> None:
    for key, parameter in LOADED[name]["Parameters"].items():
        assert len(parameter["Description"].split()) > 2, key
        assert "Default" in parameter or key == "Repository", key


def test_the_front_end_may_only_read_data() -> None:
    data = [s for _, s in statements("frontend") if "dynamodb:" in str(s["Action"])]
    assert len(data) == 1
    assert set(data[0]["Action"]) == {"dynamodb:Query", "dynamodb:Scan", "dynamodb:GetItem"}
    for resource in data[0]["Resource"]:
        assert "*" not in resource["Fn::Sub"]
        assert "table/${Prefix}" in resource["Fn::Sub"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_has_every_right_or_every_table(name: str) -> None:
    """A "*" for a resource is for actions that have none to name; never for data."""
    for key, statement in statements(name, boundaries=True):
        if statement["Effect"] == "Deny":
            continue
        actions, where = listed(statement["Action"]), listed(statement["Resource"])
        assert "*" not in actions, key
        if "*" in where:
            assert not [a for a in actions if a.split(":")[0] in ("dynamodb", "iam", "s3")], key
            assert not [a for a in actions if a.endswith(":*")], key


def test_a_foreign_probe_may_write_runs_and_read_targets_only() -> None:
    allowed = {
        (s["Action"], s["Resource"]["Fn::Sub"].rpartition(":table/")[2])
        for key, s in statements("operations")
        if key == "HomeWriter"
    }
    assert allowed == {
        ("dynamodb:PutItem", "${Prefix}" + RunTable.NAME),
        ("dynamodb:Query", "${Prefix}cloudping_regions/index/active_to-region-index"),
    }
    assert LOADED["operations"]["Parameters"]["OtherPartitions"]["Default"] == "false"


def test_github_deploys_without_keys() -> None:
    assert not resources("github-oidc", "AWS::IAM::User")
    for role in resources("github-oidc", "AWS::IAM::Role").values():
        (trust,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"


def test_few_alarms_each_with_an_entry_in_the_runbook() -> None:
    alarms = {
        **resources("operations", "CloudWatch::Alarm"),
        **resources("frontend", "CloudWatch::Alarm"),
    }
    assert (
        1 <= len(alarms) <= 11
    )  # each costs 0.10 USD a month; the first ten of an account are free
    slugs = set()
    for alarm in alarms.values():
        properties = alarm["Properties"]
        slug = properties["AlarmName"]["Fn::Sub"].removeprefix("${Prefix}cloudping-")
        assert properties["AlarmDescription"].endswith(f"docs/runbook.md#{slug}")
        assert properties["AlarmActions"]
        slugs.add(slug)
    headings = set(re.findall(r"^### (\S+)$", RUNBOOK, re.MULTILINE))
    assert headings == slugs


def test_alarms_and_dashboard_watch_metrics_that_are_emitted() -> None:
    emitted = {"SilentSources", "FailedRuns", "LatenessSeconds", "LossPercent", "NewlyDeadTargets"}
    alarms = resources("operations", "CloudWatch::Alarm").values()
    own = [a["Properties"] for a in alarms if a["Properties"]["Namespace"] == "CloudPing"]
    assert {alarm["MetricName"] for alarm in own} == emitted
    for alarm in own:
        assert alarm["Dimensions"] == [
            {"Name": "Installation", "Value": {"Fn::Sub": "${Prefix}cloudping"}}
        ]
    late = next(a for a in own if a["MetricName"] == "LatenessSeconds")
    assert late["InsufficientDataActions"]
    installation = Installation()
    names = [
        dimension["Value"]["Fn::Sub"]
        for alarm in alarms
        for dimension in alarm["Properties"]["Dimensions"]
        if dimension["Name"] == "FunctionName"
    ]
    shown = {n.replace("${Prefix}", "").replace("${AWS::Region}", HOME_REGION) for n in names}
    assert shown == {installation.function_name(app, HOME_REGION) for app in (AGGREGATOR, WATCH)}
    body = resources("operations")["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert all(f'"{name}"' in body for name in emitted)


def test_the_site_rolls_out_with_a_way_back_and_scales() -> None:
    site = resources("frontend")
    service = site["Service"]["Properties"]
    assert service["DeploymentConfiguration"] == {
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
    }
    assert "DesiredCount" not in service  # an update would undo the scaling
    (container,) = site["Task"]["Properties"]["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "10001"
    assert site["Scaling"]["Properties"]["ScalableDimension"] == "ecs:service:DesiredCount"
    scaling = site["ScaleByCpu"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    assert scaling["TargetValue"] == 60
    assert site["Log"]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert "countNumber" in site["Registry"]["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]


def test_only_the_balancer_is_open_and_http_redirects_once_there_is_a_certificate() -> None:
    site = resources("frontend")
    open_to_all = [
        (name, rule["FromPort"])
        for name, group in resources("frontend", "SecurityGroup").items()
        for rule in group["Properties"]["SecurityGroupIngress"]
        if rule.get("CidrIp") == "0.0.0.0/0"
    ]
    assert open_to_all == [("BalancerGroup", 80), ("BalancerGroup", 443)]
    (action,) = site["Http"]["Properties"]["DefaultActions"]
    condition, redirect, _ = action["Fn::If"]
    assert condition == site["Https"]["Condition"] == "HasCertificate"
    assert redirect["RedirectConfig"]["Protocol"] == "HTTPS"


def test_a_service_starts_behind_a_listener_that_forwards_to_it() -> None:
    """With a certificate that is the HTTPS one: ECS refuses a target group without a listener."""
    site = resources("frontend")
    tags = {tag["Key"]: tag["Value"] for tag in site["Service"]["Properties"]["Tags"]}
    assert tags["Listener"] == {"Fn::If": ["HasCertificate", {"Ref": "Https"}, {"Ref": "Http"}]}
    (action,) = site["Https"]["Properties"]["DefaultActions"]
    assert action["Type"] == "forward"


def test_autoscaling_names_no_role_that_a_fresh_account_lacks() -> None:
    assert "RoleARN" not in resources("frontend")["Scaling"]["Properties"]
