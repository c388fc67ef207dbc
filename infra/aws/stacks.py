"""CloudFormation stacks: create, update or delete one, say which it was, read its outputs.

Only a stack that carries our tags is ever changed or deleted: a name alone may be anybody's.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from cloudping.errors import CloudPingError

TAGS: Final = {"Project": "cloudping"}
PATIENCE_S: Final = 1800  # the longest that anything of ours takes is a service that rolls back
_POLL_S: Final = 1
# Made by no operation that succeeded, so CloudFormation does nothing with them but to delete them:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html.
# REVIEW_IN_PROGRESS has a change set that nobody has executed, and no resources.
_NEVER_MADE: Final = frozenset(
    {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"}
)
_STUCK: Final = {
    "UPDATE_ROLLBACK_FAILED": "aws cloudformation continue-update-rollback --stack-name {name}",
    "IMPORT_ROLLBACK_FAILED": "aws cloudformation delete-stack --stack-name {name}",
}


class NotOursError(CloudPingError):
    """Something bears the name of ours and is somebody else's."""


class StackError(CloudPingError):
    """A stack could not be brought to its template; says which resource failed and why."""


def plan(
    client: Any,
    name: str,
    template: Path,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] = TAGS,
) -> str:
    """What `apply` would do: `create`, `update` or `nothing`."""
    stack = _owned(client, name, tags)
    if stack is None or stack["StackStatus"] in _NEVER_MADE:
        return "create"
    is_current = _is_current(client, stack, _request(name, template, parameters, tags))
    return "nothing" if is_current else "update"


def apply(
    client: Any,
    name: str,
    template: Path,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] = TAGS,
) -> str:
    """Brings the stack to its template; returns `created`, `updated` or `unchanged`.

    Waits for what is in progress: a deployment that was killed leaves it running. A stack whose
    creation failed is deleted first. Raises NotOursError where it is somebody else's, StackError
    where it is stuck or fails.
    """
    request = _request(name, template, parameters, tags)
    _owned(client, name, tags)
    stack = _settled(client, name)
    if stack is not None and stack["StackStatus"] in _NEVER_MADE:
        delete(client, name, tags)
        stack = None
    if stack is None:
        _change(client, name, "create_stack", request)
        _expect(client, name, "CREATE_COMPLETE")
        return "created"
    if mending := _STUCK.get(stack["StackStatus"]):
        raise StackError(
            f"stack {name} is {stack['StackStatus']} ({_reason(client, name)}); nothing can be "
            f"done to it before `{mending.format(name=name)}` has succeeded"
        )
    if _is_current(client, stack, request) or not _change(client, name, "update_stack", request):
        return "unchanged"
    _expect(client, name, "UPDATE_COMPLETE")
    return "updated"


def delete(client: Any, name: str, tags: Mapping[str, str] = TAGS) -> bool:
    """Deletes the stack; False when there was none."""
    if _owned(client, name, tags) is None or _settled(client, name) is None:
        return False
    _change(client, name, "delete_stack", {"StackName": name})
    _expect(client, name, "DELETE_COMPLETE")
    return True


def kept(client: Any, name: str, template: Path) -> dict[str, str]:
    """The deployed values of the parameters that the template has: what it dropped is not sent."""
    declared = _declared(template.read_text())
    return {
        key: value
        for key, value in deployed(describe(client, name) or {}).items()
        if key in declared
    }


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


def outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {found["OutputKey"]: found["OutputValue"] for found in stack.get("Outputs", ())}


def deployed(stack: Mapping[str, Any]) -> dict[str, str]:
    """The parameters with which the stack was deployed."""
    return {found["ParameterKey"]: found["ParameterValue"] for found in stack.get("Parameters", ())}


def is_ours(found: Sequence[Mapping[str, str]], tags: Mapping[str, str]) -> bool:
    """True for AWS's tags of a thing that is the project's, and of no other installation."""
    has = {tag["Key"]: tag["Value"] for tag in found}
    return "Project" in has and all(has.get(key, value) == value for key, value in tags.items())


def _owned(client: Any, name: str, tags: Mapping[str, str]) -> dict[str, Any] | None:
    """The stack; None when there is none. Raises NotOursError for one that is somebody else's."""
    stack = describe(client, name)
    if stack is not None and not is_ours(stack.get("Tags", ()), tags):
        said = ", ".join(f"{key}={value}" for key, value in tags.items())
        raise NotOursError(
            f"stack {name} is somebody else's: its tags are not {said}; nothing was done to it"
        )
    return stack


def _request(
    name: str, template: Path, parameters: Mapping[str, str], tags: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "StackName": name,
        "TemplateBody": template.read_text(),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }


def _change(client: Any, name: str, operation: str, request: Mapping[str, Any]) -> bool:
    """Asks for an operation; False when CloudFormation sees nothing to do."""
    from botocore.exceptions import ClientError

    try:
        getattr(client, operation)(**request)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return False
        raise StackError(f"stack {name}: {error}") from error
    return True


def _settled(client: Any, name: str) -> dict[str, Any] | None:
    """The stack once nothing is in progress; raises StackError when that takes too long."""
    until = time.monotonic() + PATIENCE_S
    while (stack := describe(client, name)) and _is_in_progress(stack):
        if time.monotonic() > until:
            raise StackError(
                f"stack {name} is {stack['StackStatus']} for {PATIENCE_S // 60} minutes already; "
                "CloudFormation's events say what it waits for. Run the same again when it has "
                f"ended, or end it: aws cloudformation cancel-update-stack --stack-name {name}"
            )
        time.sleep(_POLL_S)
    return stack


def _is_in_progress(stack: Mapping[str, Any]) -> bool:
    status = stack["StackStatus"]
    return bool(status.endswith("IN_PROGRESS") and status not in _NEVER_MADE)


def _expect(client: Any, name: str, status: str) -> None:
    """Waits for the end of an operation; raises StackError unless it is the expected one."""
    stack = _settled(client, name)
    ended = "DELETE_COMPLETE" if stack is None else stack["StackStatus"]
    if ended != status:
        raise StackError(f"stack {name} ended as {ended}: {_reason(client, name)}")


def _is_current(client: Any, stack: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """True when the deployed template, parameters and tags are the wanted ones.

    CloudFormation would find that by itself; asking first keeps an unchanged stack out of
    UPDATE_IN_PROGRESS, and the local AWS has no such check.
    """
    if not stack["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in stack["StackStatus"]:
        return False
    wanted = {p["ParameterKey"]: p["ParameterValue"] for p in request["Parameters"]}
    if not wanted.items() <= deployed(stack).items():
        return False
    if any(tag not in stack.get("Tags", ()) for tag in request["Tags"]):
        return False
    body = client.get_template(StackName=request["StackName"])["TemplateBody"]
    return bool(body == request["TemplateBody"])


def _reason(client: Any, name: str) -> str:
    """What failed first in the stack's newest operation; everything after is its consequence."""
    first = None
    for event in _newest_operation(client, name):
        reason = event.get("ResourceStatusReason", "no reason given")
        if event["ResourceStatus"].endswith("FAILED") and "cancelled" not in reason:
            first = f"{event['LogicalResourceId']}: {reason}"
    return first or "no resource says why"


def _newest_operation(client: Any, name: str) -> Iterator[dict[str, Any]]:
    """The events of the newest operation, newest first as CloudFormation gives them."""
    for page in client.get_paginator("describe_stack_events").paginate(StackName=name):
        for event in page["StackEvents"]:
            yield event
            is_stack = event["PhysicalResourceId"] == event["StackId"]
            if is_stack and event["ResourceStatus"] in (
                "CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS",
                "IMPORT_IN_PROGRESS",
            ):  # fmt: skip
                return


class _Loader(yaml.SafeLoader):
    """Reads past the short forms of intrinsic functions, of which parameters have none."""


_Loader.add_multi_constructor("!", lambda loader, tag, node: None)


def _declared(template: str) -> set[str]:
    loaded = yaml.load(template, _Loader)  # noqa: S506 - a SafeLoader
    return set(loaded.get("Parameters", ()))
