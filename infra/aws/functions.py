"""The deployed functions: whether each is what its installation wants."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from infra.aws.installation import (
    LOG_RETENTION_DAYS,
    App,
    Installation,
    config,
    policy,
    schedule_expression,
)

NOT_FOUND = frozenset({"ResourceNotFoundException", "NoSuchEntity"})  # Lambda, EventBridge, IAM


def is_current(
    app: App, installation: Installation, stage: str, zip_file: Path, session: Any
) -> bool:
    """True when the stage runs this zip with this configuration, schedule, policy and log group.

    Lets a second deployment leave alone what has not changed. `session` is a boto3 session, best
    one for all stages: it keeps the service models that every client needs.
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
        rule_name = installation.rule_name(app, stage)
        rule = client("events").describe_rule(Name=rule_name)
        targets = client("events").list_targets_by_rule(Rule=rule_name)["Targets"]
        callers = client("lambda").get_policy(FunctionName=name)["Policy"]
        allowed = client("iam").get_role_policy(RoleName=role, PolicyName=role)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return False
        raise
    group = installation.log_group(app, stage)
    groups = client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    retention = {found["logGroupName"]: found.get("retentionInDays") for found in groups}
    return bool(
        deployed["CodeSha256"] == b64encode(sha256(zip_file.read_bytes()).digest()).decode()
        and deployed["MemorySize"] == app.memory_mb
        and deployed["Timeout"] == app.timeout_s
        and deployed.get("Environment", {}).get("Variables") == environment
        and rule["State"] == "ENABLED"
        and rule["ScheduleExpression"] == schedule_expression(app, installation, stage)
        and [target["Arn"] for target in targets] == [deployed["FunctionArn"]]
        and rule["Arn"] in callers
        and allowed["PolicyDocument"] == policy(app, installation, stage)
        and retention.get(group) == LOG_RETENTION_DAYS
    )
