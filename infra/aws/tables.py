"""The tables: whose each is, whether each is protected as it was made, and their end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cloudping import dynamo
from cloudping.buckets import DistributionTable
from cloudping.changes import ChangeTable
from cloudping.errors import CloudPingError
from cloudping.regions import RegionTable
from cloudping.runs import RunTable
from cloudping.summaries import HistoryTable, SummaryTable
from infra.aws import stacks
from infra.aws.account import Account
from infra.aws.functions import NOT_FOUND

TABLES = (RunTable, RegionTable, DistributionTable, SummaryTable, HistoryTable, ChangeTable)
STACK = "tables"
TTL_ATTRIBUTE = "expires_at"  # of PingTest's items
_RUNBOOK = "docs/runbook.md#a-table-was-deleted-or-spoilt"


@dataclass
class Existing:
    """The tables that bear the installation's names: those that are its own, and others' by why."""

    ours: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> list[str]:
        return sorted([*self.ours, *self.others])


def names(account: Account) -> list[str]:
    return [account.installation.prefix + table.NAME for table in TABLES]


def existing(account: Account) -> Existing:
    """Looks for each name; a table is ours when our stack has it or it carries our tags.

    The original CloudPing's table is called PingTest too: a name says nothing. Raises
    CloudPingError where AWS does not say.
    """
    client = dynamo.client(account.installation.home_region)
    of_stack = _of_stack(account)
    found = Existing()
    for name in names(account):
        table = _describe(client, name)
        if table is None:
            continue
        tags = _asked(name, client.list_tags_of_resource, ResourceArn=table["TableArn"])["Tags"]
        if name in of_stack or stacks.is_ours(tags, account.installation.tags):
            found.ours.append(name)
        else:
            found.others[name] = "neither the tables' stack nor the tag Project=cloudping has it"
    return found


def delete(account: Account, name: str) -> None:
    """Deletes a table that `existing` says is ours, with its protection."""
    client = dynamo.client(account.installation.home_region)
    table = _describe(client, name)
    if table is None:
        return
    if table.get("DeletionProtectionEnabled"):
        _asked(name, client.update_table, TableName=name, DeletionProtectionEnabled=False)
    _asked(name, client.delete_table, TableName=name)


def faults(account: Account) -> Iterator[str]:
    """What a table lacks of what its stack gave it, as one that was restored does.

    CloudFormation does not notice: it compares templates, not tables.
    """
    client = dynamo.client(account.installation.home_region)
    formation = account.client("cloudformation")
    stack = stacks.describe(formation, account.installation.stack_name(STACK)) or {}
    wanted = stacks.deployed(stack)
    for name in names(account):
        lacks = list(_lacks(client, name, wanted, account.installation.tags))
        if lacks:
            yield f"table {name}: {', '.join(lacks)}; see {_RUNBOOK}"


def _lacks(client: Any, name: str, wanted: dict[str, str], tags: dict[str, str]) -> Iterator[str]:
    table = _describe(client, name)
    if table is None:
        yield "is not there"
        return
    if wanted.get("DeletionProtection") != "false" and not table.get("DeletionProtectionEnabled"):
        yield "is not protected from deletion"
    backups = _asked(name, client.describe_continuous_backups, TableName=name)
    recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    is_recoverable = recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
    if wanted.get("PointInTimeRecovery") != "false" and not is_recoverable:
        yield "has no point-in-time recovery"
    if name.endswith(RunTable.NAME):
        ttl = _asked(name, client.describe_time_to_live, TableName=name)["TimeToLiveDescription"]
        is_expiring = ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
        if not is_expiring or ttl.get("AttributeName") != TTL_ATTRIBUTE:
            yield f"lets no run expire (time to live by {TTL_ATTRIBUTE})"
    has = _asked(name, client.list_tags_of_resource, ResourceArn=table["TableArn"])["Tags"]
    if not stacks.is_ours(has, tags):
        yield f"lacks the tags {', '.join(f'{key}={value}' for key, value in tags.items())}"


def _of_stack(account: Account) -> set[str]:
    """The tables that our stack has made or taken in."""
    from botocore.exceptions import ClientError

    client = account.client("cloudformation")
    name = account.installation.stack_name(STACK)
    stack = stacks.describe(client, name)
    if stack is None or not stacks.is_ours(stack.get("Tags", ()), account.installation.tags):
        return set()
    try:
        resources = client.describe_stack_resources(StackName=name)["StackResources"]
    except ClientError as error:
        raise CloudPingError(f"stack {name}: {error}") from error
    return {found.get("PhysicalResourceId", "") for found in resources}


def _describe(client: Any, name: str) -> dict[str, Any] | None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        table: dict[str, Any] = client.describe_table(TableName=name)["Table"]
    except (BotoCoreError, ClientError) as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") in NOT_FOUND:
            return None
        raise CloudPingError(f"table {name}: {error}") from error
    return table


def _asked(name: str, call: Any, **request: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call(**request)
    except (BotoCoreError, ClientError) as error:
        raise CloudPingError(f"table {name}: {error}") from error
