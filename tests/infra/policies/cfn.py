"""What a template says once its parameters are known: the functions and conditions resolved.

References to resources become their names or ARNs as AWS would give them, so that policies can be
held against requests without deploying anything.
"""

import re
from collections.abc import Mapping
from typing import Any

from tests.conftest import load_template

ACCOUNT = "111111111111"
HOME = "us-east-2"
NO_VALUE = object()
_PSEUDO: Mapping[str, Any] = {
    "AWS::Partition": "aws",
    "AWS::Region": HOME,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": "cloudping",
    "AWS::NoValue": NO_VALUE,
    "AWS::URLSuffix": "amazonaws.com",
}
# The name of a resource by its type's property, and its ARN.
_ARNS = {
    "AWS::DynamoDB::Table": ("TableName", "arn:aws:dynamodb:{region}:{account}:table/{name}"),
    "AWS::SNS::Topic": ("TopicName", "arn:aws:sns:{region}:{account}:{name}"),
    "AWS::CloudWatch::Alarm": (
        "AlarmName", "arn:aws:cloudwatch:{region}:{account}:alarm:{name}",
    ),
    "AWS::CloudWatch::Dashboard": (
        "DashboardName", "arn:aws:cloudwatch::{account}:dashboard/{name}",
    ),
    "AWS::ECR::Repository": (
        "RepositoryName", "arn:aws:ecr:{region}:{account}:repository/{name}",
    ),
    "AWS::Logs::LogGroup": ("LogGroupName", "arn:aws:logs:{region}:{account}:log-group:{name}"),
    "AWS::IAM::Role": ("RoleName", "arn:aws:iam::{account}:role/{name}"),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName", "arn:aws:iam::{account}:policy/{name}"),
    "AWS::ECS::Cluster": ("ClusterName", "arn:aws:ecs:{region}:{account}:cluster/{name}"),
}  # fmt: skip

_PREFIXES = {
    "ApplicationAutoScaling": "application-autoscaling",
    "ElasticLoadBalancingV2": "elasticloadbalancing",
}


class Stack:
    """A template with values for its parameters; `resources` are those whose condition holds."""

    def __init__(self, name: str, **parameters: str) -> None:
        self._template = load_template(name)
        self._values: dict[str, Any] = {}
        for key, parameter in self._template["Parameters"].items():
            value = parameters.get(key, parameter.get("Default"))
            is_list = parameter["Type"] == "CommaDelimitedList"
            self._values[key] = value.split(",") if is_list else value
        self.resources: dict[str, dict[str, Any]] = {
            key: self._resolve(resource)
            for key, resource in self._template["Resources"].items()
            if "Condition" not in resource or self._holds(resource["Condition"])
        }

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a type, by their logical names."""
        return {
            key: resource.get("Properties", {})
            for key, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def arn(self, key: str) -> str:
        """The ARN of a resource; of a type without a name of its own, that of a made-up id."""
        resource = self._template["Resources"][key]
        named = _ARNS.get(resource["Type"])
        if named is None:
            service = resource["Type"].split("::")[1]
            return f"arn:aws:{_PREFIXES.get(service, service.lower())}:{HOME}:{ACCOUNT}:{key}"
        name = self._resolve(resource["Properties"].get(named[0], key))
        return named[1].format(region=HOME, account=ACCOUNT, name=name)

    def _holds(self, condition: str) -> bool:
        return bool(self._resolve(self._template["Conditions"][condition]))

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for entry in node if (value := self._resolve(entry)) is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, argument),) = node.items()
            if key == "Ref" or key.startswith("Fn::"):
                return self._call(key, argument)
            if key == "Condition" and isinstance(argument, str):
                return self._holds(argument)
        return {
            key: value
            for key, entry in node.items()
            if (value := self._resolve(entry)) is not NO_VALUE
        }

    def _call(self, function: str, argument: Any) -> Any:  # noqa: PLR0911, PLR0912 - one a case
        match function:
            case "Ref":
                return self._reference(argument)
            case "Fn::Sub":
                text, more = argument if isinstance(argument, list) else (argument, {})
                return re.sub(
                    r"\$\{([^!}]+)\}",
                    lambda found: str(
                        self._resolve(more[found[1]])
                        if found[1] in more
                        else self._call("Fn::GetAtt", found[1].split(".", 1))
                        if "." in found[1]
                        else self._reference(found[1])
                    ),
                    text,
                ).replace("${!", "${")
            case "Fn::GetAtt":
                key, attribute = argument
                if not attribute.endswith("Arn"):
                    return f"{key}.{attribute}"
                is_log = self._template["Resources"][key]["Type"] == "AWS::Logs::LogGroup"
                return self.arn(key) + (":*" if is_log else "")
            case "Fn::If":
                condition, yes, no = argument
                return self._resolve(yes if self._holds(condition) else no)
            case "Fn::Equals":
                left, right = self._resolve(argument)
                return left == right
            case "Fn::Not":
                return not self._resolve(argument)[0]
            case "Fn::And":
                return all(self._resolve(argument))
            case "Fn::Or":
                return any(self._resolve(argument))
            case "Fn::Join":
                separator, parts = self._resolve(argument)
                return separator.join(map(str, parts))
            case "Fn::Split":
                separator, text = self._resolve(argument)
                return text.split(separator)
            case "Fn::Select":
                at, entries = self._resolve(argument)
                return entries[int(at)] if isinstance(entries, list) else f"{entries}[{at}]"
            case "Fn::Base64":
                return self._resolve(argument)
            case "Fn::GetAZs":
                return [f"{HOME}{zone}" for zone in "abc"]
        raise ValueError(f"{function} is not resolved here")

    def _reference(self, name: str) -> Any:
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self._values:
            return self._values[name]
        kind = self._template["Resources"][name]["Type"]
        if kind in ("AWS::IAM::ManagedPolicy", "AWS::SNS::Topic"):
            return self.arn(name)  # what Ref gives for these
        named = _ARNS.get(kind)
        if named is None:
            return name
        return self._resolve(self._template["Resources"][name]["Properties"].get(named[0], name))
