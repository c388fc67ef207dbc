"""The evaluator against the cases of IAM's user guide."""

from typing import Any

import pytest

from tests.infra.policies.iam import Request, allows, matches

TABLE = "arn:aws:dynamodb:us-east-2:1:table/PingTest"


def policy(effect: str = "Allow", action: Any = "dynamodb:PutItem", **more: Any) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": action, "Resource": more.pop("Resource", TABLE)}
    return {"Version": "2012-10-17", "Statement": [statement | more]}


def put(*keys: str) -> Request:
    return Request("dynamodb:PutItem", TABLE, {"dynamodb:leadingkeys": keys} if keys else {})


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert not allows([], put())
    assert allows([policy()], put())
    assert not allows([policy()], Request("dynamodb:DeleteItem", TABLE))
    assert not allows([policy()], Request("dynamodb:PutItem", TABLE + "2"))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("dynamodb:*", "dynamodb:PutItem", True),
        ("ec2:Describe*", "ec2:DeleteVpc", False),
        ("arn:*:table/PingTest", TABLE, True),
        ("secret:home-??????", "secret:home-a1b2c3", True),
        ("secret:home-??????", "secret:home-a1b2c", False),
        ("a[bc]", "ab", False),  # no character classes in IAM
        ("a[bc]", "a[bc]", True),
    ],
)
def test_wildcards(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


def test_actions_have_no_case_and_resources_have() -> None:
    assert allows([policy(action="DynamoDB:putitem")], put())
    assert not allows([policy(Resource=TABLE.lower())], put())


def test_an_explicit_deny_decides() -> None:
    deny = policy("Deny", action="dynamodb:*", Resource="*")
    assert not allows([policy(), deny], put())
    assert not allows([policy()], put(), boundary={"Statement": [*deny["Statement"]]})


def test_the_boundary_cuts_and_grants_nothing() -> None:
    assert allows([policy()], put(), boundary=policy(action="dynamodb:*", Resource="*"))
    assert not allows([policy()], put(), boundary=policy(action="dynamodb:Query"))
    assert not allows([], put(), boundary=policy())


def test_leading_keys_for_all_values() -> None:
    own = policy(Condition={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["eu-west-1"]}})
    assert allows([own], put("eu-west-1"))
    assert not allows([own], put("us-east-1"))
    assert not allows([own], put("eu-west-1", "us-east-1"))
    assert allows([own], put())  # a missing key satisfies ForAllValues


def test_called_via_for_any_value() -> None:
    via = policy(
        action="ec2:DeleteVpc",
        Resource="*",
        Condition={"ForAnyValue:StringEquals": {"aws:CalledVia": "cloudformation.amazonaws.com"}},
    )
    request = Request("ec2:DeleteVpc", "arn:aws:ec2:us-east-2:1:vpc/vpc-1")
    assert not allows([via], request)
    by = {"aws:calledvia": ("cloudformation.amazonaws.com", "dynamodb.amazonaws.com")}
    assert allows([via], Request(request.action, request.resource, by))


def test_every_condition_of_a_statement_must_hold() -> None:
    both = policy(
        Condition={
            "StringEquals": {"aws:RequestedRegion": "us-east-2"},
            "StringLike": {"aws:PrincipalTag/Team": "cloud*"},
        }
    )
    context = {"aws:requestedregion": ("us-east-2",), "aws:principaltag/team": ("cloudping",)}
    assert allows([both], Request("dynamodb:PutItem", TABLE, context))
    context.pop("aws:principaltag/team")
    assert not allows([both], Request("dynamodb:PutItem", TABLE, context))


def test_what_is_not_evaluated_here_is_refused() -> None:
    with pytest.raises(ValueError, match="NotResource"):
        allows([policy(NotResource="*")], put())
    with pytest.raises(KeyError, match="DateLessThan"):
        allows([policy(Condition={"DateLessThan": {"aws:CurrentTime": "2030"}})], put())
