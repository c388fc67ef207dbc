"""The functions' roles: made before Chalice needs them, since it cannot bound nor tag them."""

import json
from typing import Any

from infra.aws.account import Account, AccountError
from infra.aws.functions import NOT_FOUND
from infra.aws.installation import App

# The same that Chalice gives a role, so that either can make it.
_LAMBDA_MAY_ASSUME = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "",
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


def boundary(account: Account) -> str | None:
    """The ARN of github-oidc.yaml's permissions boundary; None where the account has none.

    Raises AccountError where AWS does not say: a role made without its boundary, or the site's
    roles set free from theirs, would be the price of a guess.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    name = f"{account.installation.prefix}cloudping-boundary"
    arn = f"arn:{account.partition}:iam::{account.number}:policy/{name}"
    try:
        account.client("iam", account.asked).get_policy(PolicyArn=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return None
        raise AccountError(f"whether there is a boundary {arn} is not known: {error}") from error
    except BotoCoreError as error:
        raise AccountError(f"whether there is a boundary {arn} is not known: {error}") from error
    return arn


def make(account: Account, app: App, code: str, bounded_by: str | None) -> None:
    """The role of a function where there is none, within its boundary; its policy is Chalice's.

    One that is there gets the boundary as well: it may have been made before there was one.
    """
    from botocore.exceptions import ClientError

    request: dict[str, Any] = {
        "RoleName": account.installation.role_name(app, code),
        "AssumeRolePolicyDocument": json.dumps(_LAMBDA_MAY_ASSUME),
        "Tags": [{"Key": key, "Value": value} for key, value in account.installation.tags.items()],
    }
    if bounded_by:
        request["PermissionsBoundary"] = bounded_by
    client = account.client("iam", code)
    try:
        client.create_role(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] != "EntityAlreadyExists":
            raise
        if not is_bounded(account, app, code, bounded_by):
            client.put_role_permissions_boundary(
                RoleName=request["RoleName"], PermissionsBoundary=bounded_by
            )


def is_bounded(account: Account, app: App, code: str, bounded_by: str | None) -> bool:
    """True when a function's role has the boundary, or when the account has none to give it."""
    if bounded_by is None:
        return True
    name = account.installation.role_name(app, code)
    role = account.client("iam", code).get_role(RoleName=name)["Role"]
    found = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    return bool(found == bounded_by)
