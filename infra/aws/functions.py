"""The deployed functions: whether each is what its installation wants, and their end."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from infra.aws import stacks
from infra.aws.installation import (
    LOG_RETENTION_DAYS,
    App,
    Installation,
    config,
    policy,
    schedule_expression,
)
from infra.aws.stacks import NotOursError

NOT_FOUND = frozenset({"ResourceNotFoundException", "NoSuchEntity"})  # Lambda, EventBridge, IAM


def is_current(
    app: App, installation: Installation, stage: str, zip_file: Path, session: Any
) -> bool:
    """True when the stage runs this zip with this configuration, schedule, policy and log group.

    Lets a second deployment leave alone what has not changed. `session` is a boto3 session, best
    one for all stages: it keeps the service models that every client needs.
    """
    code = b64encode(sha256(zip_file.read_bytes()).digest()).decode()
    return not differences(app, installation, stage, session, code)


def differences(
    app: App, installation: Installation, stage: str, session: Any, code: str | None = None
) -> list[str]:
    """What of a stage is not as the installation wants it; `code` is the zip's digest, if known.

    Raises NotOursError for a function that writes to another home.
    """
    from botocore.exceptions import ClientError

    wanted = config(app, installation, [stage])
    environment = {
        **wanted["environment_variables"],
        **wanted["stages"][stage].get("environment_variables", {}),
    }
    name = installation.function_name(app, stage)
    role = installation.role_name(app, stage)

    def client(service: str) -> Any:
        return session.client(service, region_name=stage)

    try:
        deployed = client("lambda").get_function_configuration(FunctionName=name)
        check_home(deployed, installation)
        rule_name = installation.rule_name(app, stage)
        rule = client("events").describe_rule(Name=rule_name)
        targets = client("events").list_targets_by_rule(Rule=rule_name)["Targets"]
        callers = client("lambda").get_policy(FunctionName=name)["Policy"]
        allowed = client("iam").get_role_policy(RoleName=role, PolicyName=role)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return [f"not deployed: {error.response['Error'].get('Message', error)}"]
        raise
    group = installation.log_group(app, stage)
    groups = client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    retention = {found["logGroupName"]: found.get("retentionInDays") for found in groups}
    is_as_wanted = {
        "code": code in (None, deployed["CodeSha256"]),
        "memory": deployed["MemorySize"] == app.memory_mb,
        "timeout": deployed["Timeout"] == app.timeout_s,
        "settings": deployed.get("Environment", {}).get("Variables") == environment,
        "rule is not enabled": rule["State"] == "ENABLED",
        "schedule": rule["ScheduleExpression"] == schedule_expression(app, installation, stage),
        "the rule's target": [t["Arn"] for t in targets] == [deployed["FunctionArn"]],
        "who may call it": rule["Arn"] in callers,
        "policy": allowed["PolicyDocument"] == policy(app, installation, stage),
        "log retention": retention.get(group) == LOG_RETENTION_DAYS,
    }
    return [what for what, is_so in is_as_wanted.items() if not is_so]


def check_owner(app: App, installation: Installation, stage: str, lambda_client: Any) -> bool:
    """Whether the function is there; raises NotOursError where it is another installation's."""
    from botocore.exceptions import ClientError

    name = installation.function_name(app, stage)
    try:
        found = lambda_client.get_function(FunctionName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return False
        raise
    tags = [{"Key": key, "Value": value} for key, value in found.get("Tags", {}).items()]
    if not stacks.is_ours(tags, installation.tags):
        raise NotOursError(f"{name} lacks the tag Project=cloudping")
    check_home(found["Configuration"], installation)
    return True


def check_home(configuration: Mapping[str, Any], installation: Installation) -> None:
    """Raises NotOursError for a function that writes to another home."""
    variables = configuration.get("Environment", {}).get("Variables", {})
    home = variables.get("CLOUDPING_HOME_REGION", installation.home_region)
    if home != installation.home_region:
        raise NotOursError(
            f"{configuration['FunctionName']} has its home in {home}, not in "
            f"{installation.home_region}: say CLOUDPING_HOME_REGION={home}, or move the home "
            "(docs/deploying.md#moving-the-home)"
        )


def remove(app: App, installation: Installation, stage: str, session: Any) -> list[str]:
    """Removes a stage's rule, function, role and log group; returns the kind of each removed.

    Raises NotOursError, before anything is removed, where the function is somebody else's; a rule
    or a role that is left of an interrupted removal goes by its target, its tags or its function.
    """

    def client(service: str) -> Any:
        return session.client(service, region_name=stage)

    name, group = installation.function_name(app, stage), installation.log_group(app, stage)
    is_there = check_owner(app, installation, stage, client("lambda"))
    # The function goes before its log group, to which its last run writes.
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("rule", lambda: _remove_rule(client("events"), installation.rule_name(app, stage), name)),
        ("function", lambda: client("lambda").delete_function(FunctionName=name)),
        (
            "role",
            lambda: _remove_role(
                client("iam"), installation.role_name(app, stage), installation.tags, is_there
            ),
        ),
        ("log group", lambda: client("logs").delete_log_group(logGroupName=group)),
    ]
    return [kind for kind, step in steps if _was_there(step)]


def _was_there(step: Callable[[], Any]) -> bool:
    from botocore.exceptions import ClientError

    try:
        step()
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise
        return False
    return True


def _remove_rule(events: Any, name: str, function: str) -> None:
    targets = events.list_targets_by_rule(Rule=name)["Targets"]
    if any(not target["Arn"].endswith(f":function:{function}") for target in targets):
        raise NotOursError(f"rule {name} has targets of somebody else")
    if targets:
        events.remove_targets(Rule=name, Ids=[found["Id"] for found in targets])
    events.describe_rule(Name=name)  # delete_rule is silent about one that is not there
    events.delete_rule(Name=name)


def _remove_role(iam: Any, name: str, tags: Mapping[str, str], had_function: bool) -> None:
    """Plain Chalice tags no role: one without tags is ours when its function was."""
    has = iam.list_role_tags(RoleName=name)["Tags"]
    is_tagged = any(tag["Key"] == "Project" for tag in has)
    if not (stacks.is_ours(has, tags) or (had_function and not is_tagged)):
        raise NotOursError(f"role {name} lacks the tag Project=cloudping")
    for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=inline)
    iam.delete_role(RoleName=name)
