"""CloudFormation stacks: create, update or delete one, say which it was, read its outputs."""

import time
from pathlib import Path
from typing import Any

from cloudping.errors import CloudPingError


class StackError(CloudPingError):
    """A stack could not be brought to its template; says which resource failed and why."""


def _request(name: str, template: Path, parameters: dict[str, str]) -> dict[str, Any]:
    return {
        "StackName": name,
        "TemplateBody": template.read_text(),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": [{"Key": "Project", "Value": "cloudping"}],
    }


def plan(client: Any, name: str, template: Path, parameters: dict[str, str]) -> str:
    """What `apply` would do: `create`, `update` or `nothing`."""
    if describe(client, name) is None:
        return "create"
    is_current = _is_current(client, name, _request(name, template, parameters))
    return "nothing" if is_current else "update"


def apply(client: Any, name: str, template: Path, parameters: dict[str, str]) -> str:
    """Brings the stack to its template; returns `created`, `updated` or `unchanged`.

    A stack whose creation failed is deleted first: CloudFormation does nothing else with it.
    """
    from botocore.exceptions import ClientError, WaiterError

    request = _request(name, template, parameters)
    stack = _settled(client, name)
    if stack is not None and stack["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        delete(client, name)
        stack = None
    exists = stack is not None
    try:
        if exists:
            if _is_current(client, name, request):
                return "unchanged"
            client.update_stack(**request)
        else:
            client.create_stack(**request)
        outcome = "update" if exists else "create"
        client.get_waiter(f"stack_{outcome}_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1800}
        )
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return "unchanged"
        raise StackError(f"stack {name}: {error}") from error
    except WaiterError as error:
        raise StackError(f"stack {name}: {_first_failure(client, name)}") from error
    return f"{outcome}d"


def _settled(client: Any, name: str) -> dict[str, Any] | None:
    """The stack once nothing is in progress: a deployment that was killed leaves it running."""
    while (stack := describe(client, name)) and stack["StackStatus"].endswith("IN_PROGRESS"):
        time.sleep(2)
    return stack


def describe(client: Any, name: str) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None when there is none."""
    from botocore.exceptions import ClientError

    try:
        stack: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise StackError(f"stack {name}: {error}") from error
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def outputs(stack: dict[str, Any]) -> dict[str, str]:
    return {found["OutputKey"]: found["OutputValue"] for found in stack.get("Outputs", ())}


def delete(client: Any, name: str) -> bool:
    """Deletes the stack; False when there was none."""
    from botocore.exceptions import ClientError, WaiterError

    if describe(client, name) is None:
        return False
    try:
        client.delete_stack(StackName=name)
        client.get_waiter("stack_delete_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1800}
        )
    except ClientError as error:
        raise StackError(f"stack {name}: {error}") from error
    except WaiterError as error:
        raise StackError(f"stack {name}: {_first_failure(client, name)}") from error
    return True


def _is_current(client: Any, name: str, request: dict[str, Any]) -> bool:
    """True when the deployed template and parameters are the wanted ones.

    CloudFormation would find that by itself; asking first keeps an unchanged stack out of
    UPDATE_IN_PROGRESS, and the local AWS has no such check.
    """
    stack = client.describe_stacks(StackName=name)["Stacks"][0]
    if not stack["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in stack["StackStatus"]:
        return False
    deployed = {p["ParameterKey"]: p["ParameterValue"] for p in stack.get("Parameters", ())}
    wanted = {p["ParameterKey"]: p["ParameterValue"] for p in request["Parameters"]}
    if any(deployed.get(key) != value for key, value in wanted.items()):
        return False
    body = client.get_template(StackName=name)["TemplateBody"]
    return bool(body == request["TemplateBody"])


def _first_failure(client: Any, name: str) -> str:
    events = client.describe_stack_events(StackName=name)["StackEvents"]
    for event in reversed(events):
        if event["ResourceStatus"].endswith("FAILED"):
            reason = event.get("ResourceStatusReason", "no reason given")
            return f"{event['LogicalResourceId']}: {reason}"
    return "did not complete, and no resource says why"
