"""The functions' roles: bounded where the account has a boundary, never by a guess."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from infra.aws import roles
from infra.aws.account import Account, AccountError
from infra.aws.installation import PROBES, Installation

ACCOUNT = Account(Installation(), "123456789012", "aws", "us-east-2")
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'  # noqa: E501


@pytest.fixture
def iam() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("iam", region_name="us-east-2")


def test_a_role_is_made_once_with_boundary_and_tags(iam: Any) -> None:
    assert roles.boundary(ACCOUNT) is None
    iam.create_policy(PolicyName="cloudping-boundary", PolicyDocument=POLICY)
    boundary = roles.boundary(ACCOUNT)
    assert boundary == "arn:aws:iam::123456789012:policy/cloudping-boundary"
    for _ in range(2):
        roles.make(ACCOUNT, PROBES, "eu-west-1", boundary)
    role = iam.get_role(RoleName="cloudping-probes-eu-west-1-probe")["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    assert {tag["Key"]: tag["Value"] for tag in role["Tags"]} == ACCOUNT.installation.tags


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "GetPolicy"),
        ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetPolicy"),
        EndpointConnectionError(endpoint_url="https://iam.amazonaws.com"),
    ],
)
def test_what_aws_does_not_say_never_counts_as_no_boundary(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for none, it would take the boundary off the site's roles."""

    class Silent:
        def get_policy(self, **_: Any) -> None:
            raise error

    monkeypatch.setattr(Account, "client", lambda *_: Silent())
    with pytest.raises(AccountError, match=r"boundary .* is not known"):
        roles.boundary(ACCOUNT)


def bounded_by(iam: Any) -> str | None:
    role = iam.get_role(RoleName="cloudping-probes-eu-west-1-probe")["Role"]
    found: str | None = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    return found


def test_a_role_that_is_older_than_the_boundary_gets_it(iam: Any) -> None:
    """In the documented order an administrator deploys first, and the boundary comes after."""
    roles.make(ACCOUNT, PROBES, "eu-west-1", None)
    assert bounded_by(iam) is None
    assert roles.is_bounded(ACCOUNT, PROBES, "eu-west-1", None)
    arn = iam.create_policy(PolicyName="cloudping-boundary", PolicyDocument=POLICY)["Policy"]["Arn"]
    assert not roles.is_bounded(ACCOUNT, PROBES, "eu-west-1", arn)
    roles.make(ACCOUNT, PROBES, "eu-west-1", arn)
    assert bounded_by(iam) == arn
    assert roles.is_bounded(ACCOUNT, PROBES, "eu-west-1", arn)


def test_another_boundary_is_replaced(iam: Any) -> None:
    other = iam.create_policy(PolicyName="other", PolicyDocument=POLICY)["Policy"]["Arn"]
    arn = iam.create_policy(PolicyName="cloudping-boundary", PolicyDocument=POLICY)["Policy"]["Arn"]
    roles.make(ACCOUNT, PROBES, "eu-west-1", other)
    roles.make(ACCOUNT, PROBES, "eu-west-1", arn)
    assert bounded_by(iam) == arn
