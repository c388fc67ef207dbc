"""What CloudFormation asks for in our name: the permissions that its resource handlers declare.

The declarations are those of AWS's own provider schemas, as cfn-lint ships them (its schemas for
us-east-2); nothing of them is copied here. Handlers declare what any template could need, so the
table below takes off what ours cannot cause, each with the property that would.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.infra.policies.cfn import ACCOUNT, HOME, Stack
from tests.infra.policies.iam import Request, matches

VIA = {"aws:calledvia": ("cloudformation.amazonaws.com",), "aws:requestedregion": (HOME,)}
HANDLERS = ("create", "read", "update", "delete")

# Type -> (permission, property that would need it). The property may not be in the template.
UNUSED: Mapping[str, Mapping[str, str]] = {
    "AWS::DynamoDB::Table": {
        "kinesis:*": "KinesisStreamSpecification",
        "dynamodb:EnableKinesisStreamingDestination": "KinesisStreamSpecification",
        "dynamodb:DisableKinesisStreamingDestination": "KinesisStreamSpecification",
        "dynamodb:UpdateKinesisStreamingDestination": "KinesisStreamSpecification",
        "dynamodb:ImportTable": "ImportSourceSpecification",
        "dynamodb:DescribeImport": "ImportSourceSpecification",
        "s3:*": "ImportSourceSpecification",
        "logs:*": "ImportSourceSpecification",
        "dynamodb:UpdateContributorInsights": "ContributorInsightsSpecification",
        "dynamodb:PutResourcePolicy": "ResourcePolicy",
        "dynamodb:DeleteResourcePolicy": "ResourcePolicy",
        # Replicas are those of AWS::DynamoDB::GlobalTable, which shares the handler.
        "dynamodb:*TableReplica": "Replicas",
        "dynamodb:Scan": "Replicas",
        "dynamodb:Query": "Replicas",
        "dynamodb:*Item": "Replicas",
        "iam:CreateServiceLinkedRole": "Replicas",
        # AWS's own key for DynamoDB (ManagedKey) admits the account's principals by its key policy.
        "kms:*": "KMSMasterKeyId",
    },
    "AWS::SNS::Subscription": {"iam:*": "SubscriptionRoleArn"},
    "AWS::SNS::Topic": {"iam:*": "DeliveryStatusLogging"},
    "AWS::Logs::LogGroup": {
        "logs:PutDataProtectionPolicy": "DataProtectionPolicy",
        "logs:DeleteDataProtectionPolicy": "DataProtectionPolicy",
        "logs:CreateLogDelivery": "DataProtectionPolicy",
        "s3:*": "DataProtectionPolicy",
        "firehose:*": "DataProtectionPolicy",
        "logs:PutIndexPolicy": "FieldIndexPolicies",
        "logs:DeleteIndexPolicy": "FieldIndexPolicies",
        "logs:PutResourcePolicy": "ResourcePolicyDocument",
        "logs:DeleteResourcePolicy": "ResourcePolicyDocument",
        "logs:*KmsKey": "KmsKeyId",
        "logs:PutLogGroupDeletionProtection": "DeletionProtectionEnabled",
        "logs:PutBearerTokenAuthentication": "BearerTokenAuthenticationEnabled",
    },
    "AWS::ECR::Repository": {"kms:*": "KmsKey"},
    "AWS::ECS::Cluster": {
        "kms:*": "ManagedStorageConfiguration",
        "ecs:PutAccountSetting*": "ServiceConnectDefaults",
        "ecs:PutClusterCapacityProviders": "CapacityProviders",
    },
    "AWS::ApplicationAutoScaling::ScalableTarget": {
        "lambda:*": "ProvisionedConcurrency",
        "application-autoscaling:*ScheduledAction": "ScheduledActions",
        "iam:PassRole": "RoleARN",
    },
    "AWS::IAM::Role": {
        "iam:AttachRolePolicy": "ManagedPolicyArns",
        "iam:DetachRolePolicy": "ManagedPolicyArns",
        "iam:UpdateRole": "MaxSessionDuration",
        "iam:UpdateRoleDescription": "Description",
    },
    "AWS::EC2::VPC": {
        "ec2:*VpcEncryptionControl": "VpcEncryptionControl",
        "ec2:ModifyVpcTenancy": "InstanceTenancy",
    },
    "AWS::EC2::Subnet": {"ec2:*SubnetCidrBlock": "Ipv6CidrBlock"},
    "AWS::EC2::VPCGatewayAttachment": {"ec2:*VpnGateway": "VpnGatewayId"},
    "AWS::ElasticLoadBalancingV2::LoadBalancer": {
        "elasticloadbalancing:ModifyCapacityReservation": "MinimumLoadBalancerCapacity",
        "elasticloadbalancing:ModifyIpPools": "Ipv4IpamPoolId",
        "elasticloadbalancing:SetIpAddressType": "IpAddressType",
    },
    "AWS::ElasticLoadBalancingV2::TargetGroup": {
        "elasticloadbalancing:RegisterTargets": "Targets",
        "elasticloadbalancing:DeregisterTargets": "Targets",
    },
    "AWS::ElasticLoadBalancingV2::Listener": {
        "cognito-idp:*": "AuthenticateCognitoConfig",
        "elasticloadbalancing:ModifyListenerAttributes": "ListenerAttributes",
    },
}  # fmt: skip

# What the deploying role may not do although a handler would: each with the reason.
WITHHELD: Mapping[str, str] = {
    "dynamodb:DeleteTable": "nothing that GitHub runs may delete data",
    "iam:DeleteRolePermissionsBoundary": "a role without its boundary could be given any right",
    "iam:*User*": "the user of other partitions, and its key, are the operator's",
    "iam:*LoginProfile": "as above",
    "iam:*AccessKey*": "as above",
    "iam:ListGroupsForUser": "as above",
}


def declared(kind: str) -> set[str]:
    """All permissions that a type's handlers declare, for tagging as well."""
    schema: Mapping[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema(HOME, kind).schema
    found = set(schema.get("tagging", {}).get("permissions", ()))
    for name in HANDLERS:
        found |= set(schema["handlers"].get(name, {}).get("permissions", ()))
    return found


def used(kind: str) -> set[str]:
    """Of these, what our templates can cause."""
    unused = UNUSED.get(kind, {})
    return {action for action in declared(kind) if not any(matches(p, action) for p in unused)}


def withheld(action: str) -> bool:
    return any(matches(pattern, action) for pattern in WITHHELD)


def requests(stack: Stack) -> Iterator[Request]:
    """What CloudFormation asks for, for each resource of a stack, in the caller's name."""
    for key, resource in stack.resources.items():
        for action in sorted(used(resource["Type"])):
            for arn, context in _resources(stack, key, action):
                yield Request(action, arn, VIA | context)


# Actions for which IAM knows no resource, of the services in question (service authorization
# reference); and those on another resource than the one that is made.
_NO_RESOURCE = (
    "application-autoscaling:Describe*", "cloudwatch:GetMetricData", "ec2:Describe*",
    "ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition", "elasticloadbalancing:Describe*",
    "sns:GetSubscriptionAttributes", "sns:SetSubscriptionAttributes", "sns:Unsubscribe",
    "logs:DescribeResourcePolicies", "logs:DescribeIndexPolicies",
)  # fmt: skip
_LINKED = {
    "AWS::ECS::Cluster": ("ecs.amazonaws.com", "AWSServiceRoleForECS"),
    "AWS::ApplicationAutoScaling::ScalableTarget": (
        "ecs.application-autoscaling.amazonaws.com",
        "AWSServiceRoleForApplicationAutoScaling_ECSService",
    ),
}
LINKED_FOR_BALANCER = Request(  # made by ELB with the first load balancer; no handler declares it
    "iam:CreateServiceLinkedRole",
    f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/elasticloadbalancing.amazonaws.com/"
    "AWSServiceRoleForElasticLoadBalancing",
    VIA | {"iam:awsservicename": ("elasticloadbalancing.amazonaws.com",)},
)


Context = dict[str, tuple[str, ...]]


def _resources(stack: Stack, key: str, action: str) -> Iterator[tuple[str, Context]]:
    resource = stack.resources[key]
    kind, properties = resource["Type"], resource.get("Properties", {})
    if any(matches(pattern, action) for pattern in _NO_RESOURCE):
        yield "*", {}
    elif action == "iam:CreateServiceLinkedRole":
        service, name = _LINKED[kind]
        arn = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}/{name}"
        yield arn, {"iam:awsservicename": (service,)}
    elif action.startswith("iam:") and kind.startswith("AWS::ECS::"):
        for role in stack.of_type("AWS::IAM::Role"):
            passed: Context = {"iam:passedtoservice": ("ecs-tasks.amazonaws.com",)}
            yield stack.arn(role), passed if action == "iam:PassRole" else {}
    elif kind == "AWS::IAM::Role":
        boundary = properties.get("PermissionsBoundary")
        bounded: Context = {"iam:permissionsboundary": (boundary,)} if boundary else {}
        yield stack.arn(key), bounded
    elif kind == "AWS::ECS::Service":
        yield _of(kind, f"service/{properties['Cluster']}/{properties['ServiceName']}"), {}
    elif kind == "AWS::ECS::TaskDefinition":
        yield _of(kind, f"task-definition/{properties['Family']}:7"), {}
    elif kind == "AWS::SNS::Subscription":
        yield properties["TopicArn"], {}
    elif action.startswith("cloudwatch:") and kind.startswith("AWS::ApplicationAutoScaling"):
        service = f"service/{stack.resources['Cluster']['Properties']['ClusterName']}"
        yield f"arn:aws:cloudwatch:{HOME}:{ACCOUNT}:alarm:TargetTracking-{service}/x-AlarmHigh", {}
    else:
        yield stack.arn(key), {}


def _of(kind: str, name: str) -> str:
    return f"arn:aws:{kind.split('::')[1].lower()}:{HOME}:{ACCOUNT}:{name}"
