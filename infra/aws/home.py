"""The installation's home: the one region that has its tables, its aggregator and its site."""

from cloudping.account import ENABLED
from cloudping.errors import CloudPingError
from infra.aws import stacks
from infra.aws.account import Account, in_parallel
from infra.aws.functions import NOT_FOUND
from infra.aws.installation import AGGREGATOR
from infra.aws.tables import STACK


class OtherHomeError(CloudPingError):
    """The installation is at home in another region than the settings say."""


def check(account: Account, status: dict[str, str]) -> None:
    """Raises OtherHomeError where the installation is at home elsewhere.

    With another CLOUDPING_HOME_REGION, a deployment would make a second set of tables and turn
    every probe to it; `destroy` would leave the home's functions. Where the home has its tables'
    stack there is nothing more to ask; otherwise every enabled region of `status` is asked.
    """
    if not account.is_home or _has_tables(account, account.installation.home_region):
        return
    home = account.installation.home_region
    others = [code for code, said in status.items() if said in ENABLED and code != home]
    found = []
    for code, answer in in_parallel(lambda code: _is_home(account, code), others):
        if isinstance(answer, Exception):
            if not _is_refused(answer):
                raise OtherHomeError(
                    f"whether {account.installation.stack_name(STACK)} is in {code} is not known: "
                    f"{answer}"
                ) from answer
        elif answer:
            found.append(code)
    if found:
        said = ", ".join(sorted(found))
        raise OtherHomeError(
            f"CloudPing {account.installation.prefix or 'default'} is at home in {said}, not in "
            f"{home}: say CLOUDPING_HOME_REGION={found[0]}. To move it, see "
            "docs/deploying.md#moving-the-home; for a second installation, say --prefix"
        )


def _is_home(account: Account, code: str) -> bool:
    return _has_tables(account, code) or _has_aggregator(account, code)


def _has_tables(account: Account, code: str) -> bool:
    name = account.installation.stack_name(STACK)
    stack = stacks.describe(account.client("cloudformation", code), name)
    return stack is not None and stacks.is_ours(stack.get("Tags", ()), account.installation.tags)


def _has_aggregator(account: Account, code: str) -> bool:
    from botocore.exceptions import ClientError

    name = account.installation.function_name(AGGREGATOR, code)
    try:
        account.client("lambda", code).get_function_configuration(FunctionName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return False
        raise
    return True


def _is_refused(error: Exception) -> bool:
    """True where an organisation denies a region: then nothing of ours can have been made there."""
    cause = error.__cause__ if isinstance(error, CloudPingError) else error
    code = getattr(cause, "response", {}).get("Error", {}).get("Code", "")
    return code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
