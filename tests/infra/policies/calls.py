"""Recorded calls to AWS, and the IAM actions and resources that each of them needs.

The action is the operation's name under the service's prefix, as the service authorization
reference has it; the tables below hold what differs from that and how a resource's ARN is made.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.infra.policies.cfn import ACCOUNT
from tests.infra.policies.iam import Request

PLUGIN = Path(__file__).with_name("plugin")
KEYS = {  # the partition key of each table, by its name without a prefix
    "PingTest": "region",
    "cloudping_regions": "region",
    "cloudping_distributions": "region",
    "cloudping_stored_avgs": "timeframe",
    "cloudping_history": "pair",
    "cloudping_changes": "year",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call as botocore was asked for it."""

    service: str
    operation: str
    region: str
    params: Mapping[str, Any]


def recording(file: Path) -> dict[str, str]:
    """What the environment of a process needs for its calls to be written into a file."""
    return {
        "BOTOCORE_EXPERIMENTAL__PLUGINS": "recorder=call_recorder",
        "CALL_RECORDER_FILE": str(file),
        "PYTHONPATH": str(PLUGIN),
    }


def recorded(file: Path) -> list[Call]:
    """The calls of a file, each of a kind once."""
    lines = dict.fromkeys(file.read_text().splitlines()) if file.exists() else {}
    return [Call(**json.loads(line)) for line in lines]


@contextmanager
def recorded_here(file: Path, monkeypatch: Any) -> Iterator[None]:
    """Records the calls of clients that are made in this process meanwhile."""
    with monkeypatch.context() as patch:
        for name, value in recording(file).items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(PLUGIN))
        yield


def requests(made: Iterable[Call]) -> Iterator[Request]:
    """What IAM is asked for these calls, in their order."""
    bounded: dict[str, str] = {}  # role name -> boundary, which is asked for at each later change
    for call in made:
        role = call.params.get("RoleName") if call.service == "iam" else None
        if role and "PermissionsBoundary" in call.params:
            bounded[role] = call.params["PermissionsBoundary"]
        asks = role in bounded and call.operation in ("PutRolePolicy", "DeleteRolePolicy")
        known = {"PermissionsBoundary": bounded[role]} if role and asks else {}
        yield from _requests_of(replace(call, params={**call.params, **known}))


def _requests_of(call: Call) -> Iterator[Request]:
    key = (call.service, call.operation)
    if key == ("sts", "GetCallerIdentity"):  # "no permissions are required", API reference
        return
    prefix = {"monitoring": "cloudwatch"}.get(call.service, call.service)
    action = f"{prefix}:{_ACTIONS.get(key, call.operation)}"
    context = {"aws:requestedregion": (call.region,)}
    for resource in _resources(call):
        yield Request(action, resource, context | _context(call))
    for further in _FURTHER.get(key, lambda _: ())(call):
        yield replace(further, context={**context, **further.context})


_ACTIONS = {("lambda", "Invoke"): "InvokeFunction"}


def _arn(service: str, resource: str, region: str = "", account: str = ACCOUNT) -> str:
    return f"arn:aws:{service}:{region}:{account}:{resource}"


def _resources(call: Call) -> list[str]:
    return _RESOURCES[call.service](call)


def _functions(call: Call) -> list[str]:
    named = call.params.get("FunctionName") or call.params.get("Resource")
    if named is None:
        return ["*"]
    name = str(named).rpartition(":function:")[2]
    return [_arn("lambda", f"function:{name}", call.region)]


def _rules(call: Call) -> list[str]:
    name = call.params.get("Rule") or call.params.get("Name")
    return [_arn("events", f"rule/{name}", call.region)] if name else ["*"]


def _iam(call: Call) -> list[str]:
    if "PolicyArn" in call.params:
        return [call.params["PolicyArn"]]
    for kind in ("Role", "User"):
        if name := call.params.get(f"{kind}Name"):
            return [_arn("iam", f"{kind.lower()}/{name}")]
    return ["*"]


def _log_groups(call: Call) -> list[str]:
    """CloudWatch Logs asks with the stream's part even where an operation has none."""
    group = call.params.get("logGroupName")
    if group is None and "resourceArn" in call.params:
        group = call.params["resourceArn"].split(":log-group:")[1].removesuffix(":*")
    stream = call.params.get("logStreamName", "")
    return [_arn("logs", f"log-group:{group or ''}:log-stream:{stream}", call.region)]


def _stacks(call: Call) -> list[str]:
    name = call.params.get("StackName")
    if name is None:
        return ["*"]
    if name.startswith("arn:"):
        return [name]
    return [_arn("cloudformation", f"stack/{name}/6b0a2f80", call.region)]


def _tables(call: Call) -> list[str]:
    if call.operation == "ListTables":
        return ["*"]
    if "RequestItems" in call.params:
        return [_table_arn(name, call.region) for name in call.params["RequestItems"]]
    if "ResourceArn" in call.params:
        return [call.params["ResourceArn"]]
    index = call.params.get("IndexName")
    arn = _table_arn(call.params["TableName"], call.region)
    return [f"{arn}/index/{index}" if index else arn]


def _table_arn(name: str, region: str) -> str:
    return _arn("dynamodb", f"table/{name}", region)


def _services(call: Call) -> list[str]:
    cluster = str(call.params["cluster"]).rpartition("/")[2]
    return [
        _arn("ecs", f"service/{cluster}/{str(name).rpartition('/')[2]}", call.region)
        for name in call.params["services"]
    ]


def _parameters(call: Call) -> list[str]:
    """AWS's own public parameters belong to no account."""
    names = call.params.get("Names") or [call.params["Name"]]
    return [
        _arn("ssm", f"parameter/{n.removeprefix('/')}", call.region, "" if _public(n) else ACCOUNT)
        for n in names
    ]


def _public(name: str) -> bool:
    return name.startswith("/aws/service/")


def _topics(call: Call) -> list[str]:
    return [call.params.get("TopicArn", "*")]


def _alarms(call: Call) -> list[str]:
    if call.operation == "DescribeAlarms":
        return [_arn("cloudwatch", "alarm:*", call.region)]
    return ["*"]


_RESOURCES: Mapping[str, Callable[[Call], list[str]]] = {
    "lambda": _functions,
    "events": _rules,
    "iam": _iam,
    "logs": _log_groups,
    "cloudformation": _stacks,
    "dynamodb": _tables,
    "ecs": _services,
    "ssm": _parameters,
    "sns": _topics,
    "monitoring": _alarms,
    "account": lambda _: [_arn("account", "account")],
    "secretsmanager": lambda call: [
        _arn("secretsmanager", f"secret:{call.params['SecretId']}-a1b2c3", call.region)
    ],
    "ecr": lambda call: (
        [_arn("ecr", f"repository/{call.params['repositoryName']}", call.region)]
        if "repositoryName" in call.params
        else ["*"]
    ),
    "ec2": lambda _: ["*"],
    "ce": lambda _: ["*"],
    "tagging": lambda _: ["*"],
}


def _context(call: Call) -> dict[str, tuple[str, ...]]:
    if call.service == "iam" and "PermissionsBoundary" in call.params:
        return {"iam:permissionsboundary": (call.params["PermissionsBoundary"],)}
    if call.service == "dynamodb" and (keys := _leading_keys(call)):
        return {"dynamodb:leadingkeys": keys}
    return {}


def _leading_keys(call: Call) -> tuple[str, ...]:
    """The partition keys that an item operation names."""
    params = call.params
    name = next((n for n in KEYS if str(params.get("TableName", "")).endswith(n)), None)
    if name is None:
        return ()
    if item := params.get("Item") or params.get("Key"):
        return (_text(item[KEYS[name]]),)
    if call.operation == "Query":  # an index's leading key is its own; the values name it
        return tuple(_text(value) for value in params["ExpressionAttributeValues"].values())[:1]
    return ()


def _text(value: Any) -> str:
    return str(value["S"] if isinstance(value, dict) else value)


def _passes_role(call: Call) -> Iterator[Request]:
    if "Role" in call.params:
        service = {"iam:passedtoservice": ("lambda.amazonaws.com",)}
        yield Request("iam:PassRole", call.params["Role"], service)


def _tags(action: str) -> Callable[[Call], Iterator[Request]]:
    """A creation with tags asks for the right to tag as well."""

    def further(call: Call) -> Iterator[Request]:
        if call.params.get("Tags") or call.params.get("tags"):
            for resource in _resources(call):
                yield Request(action, resource)

    return further


def _creates_function(call: Call) -> Iterator[Request]:
    yield from _passes_role(call)
    yield from _tags("lambda:TagResource")(call)


_FURTHER: Mapping[tuple[str, str], Callable[[Call], Iterator[Request]]] = {
    ("lambda", "CreateFunction"): _creates_function,
    ("lambda", "UpdateFunctionConfiguration"): _passes_role,
    ("iam", "CreateRole"): _tags("iam:TagRole"),
    ("events", "PutRule"): _tags("events:TagResource"),
    ("logs", "CreateLogGroup"): _tags("logs:TagResource"),
}
