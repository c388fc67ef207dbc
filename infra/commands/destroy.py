"""Remove everything that deploy made, in every region; the tables stay unless you say --tables.

Goes by the names that an installation gives, not by files of an earlier deployment, so it finds
what another machine or a plain `chalice deploy` has made, and finishes what was interrupted. What
it removed is listed and counted; what could not be is listed too, and the exit code is 1.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from cloudping import dynamo
from cloudping.account import ENABLED, region_status
from cloudping.buckets import DistributionTable
from cloudping.errors import CloudPingError, StoreError
from cloudping.regions import CATALOGUE, RegionTable, partition_of
from cloudping.runs import RunTable
from cloudping.summaries import HistoryTable, SummaryTable
from infra.aws import account, stacks
from infra.aws.account import Account, in_parallel
from infra.aws.functions import NOT_FOUND
from infra.aws.installation import AGGREGATOR, PROBES, WATCH, App
from infra.commands import terminal

TABLES = (RunTable, RegionTable, DistributionTable, SummaryTable, HistoryTable)
# What AWS answers in a region that the account has not enabled: nothing of ours runs there.
_NOT_ENABLED = frozenset(
    {"UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure", "OptInRequired"}
)


class DestroyFailedError(CloudPingError):
    """Something could not be removed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    account.add_arguments(parser)
    parser.add_argument("--tables", action="store_true", help="the tables too: all data are lost")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    found = account.find(args)
    named = account.chosen(args.regions)
    if named and args.tables:
        raise CloudPingError("--regions leaves the rest running, which needs the tables")
    what = f"the probes in {args.regions}" if named else "everything"
    what += ", the tables and all their data included" if args.tables else " but the tables"
    terminal.confirm(
        f"Remove {what} of CloudPing {found.installation.prefix or 'default'} from account "
        f"{found.number}?",
        args.yes,
        word="delete" if args.tables else "yes",
    )
    removed, failed = remove(found, named, args.tables)
    for kind, count in sorted(removed.items()):
        print(f"{count:4} {kind} removed")
    if not removed:
        print("nothing was there")
    if failed:
        for name, why in sorted(failed.items()):
            print(f"NOT removed: {name}: {why}")
        raise DestroyFailedError(f"{len(failed)} could not be removed; run the same again")
    return 0


def remove(found: Account, named: list[str], tables: bool) -> tuple[Counter[str], dict[str, str]]:
    """Removes an installation, or the probes of some regions; returns (counts, failures)."""
    removed: Counter[str] = Counter()
    failed: dict[str, str] = {}
    stages = [(PROBES, code) for code in named or _regions(found)]
    home = found.installation.home_region
    is_whole = not named and found.is_home
    if is_whole:
        stages += [(app, home) for app in (AGGREGATOR, WATCH)]
    for (app, code), kinds in in_parallel(lambda stage: list(_stage(found, *stage)), stages):
        if isinstance(kinds, Exception):
            if not _is_not_enabled(kinds):
                failed[f"{app.name} {code}"] = str(kinds)
        else:
            removed.update(kinds)
    if found.is_home and not tables:
        _note_removed(found, [code for app, code in stages if app is PROBES])
    if is_whole:
        formation = found.client("cloudformation")
        for template in ("frontend", "operations", *(["tables"] if tables else [])):
            name = found.installation.stack_name(template)
            try:
                if template == "tables":
                    removed["tables"] += _tables(found)
                removed["stacks"] += stacks.delete(formation, name, found.installation.tags)
            except CloudPingError as error:
                failed[f"stack {name}"] = str(error)
    return +removed, failed


def _regions(found: Account) -> list[str]:
    """Every region in which a probe may be: of the catalogue and of the account."""
    status = region_status(account.session(), found.asked)
    codes = {code for code, said in status.items() if said in ENABLED} | CATALOGUE.keys()
    return sorted(code for code in codes if partition_of(code) == found.partition)


def _stage(found: Account, app: App, code: str) -> Iterator[str]:
    """Removes a stage's rule, function, role and log group; yields the kind of each removed."""
    installation = found.installation
    name, rule = installation.function_name(app, code), installation.rule_name(app, code)
    role, group = installation.role_name(app, code), installation.log_group(app, code)
    events, iam = found.client("events", code), found.client("iam", code)
    # The function goes before its log group, to which its last run writes.
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("rules", lambda: _rule(events, rule)),
        ("functions", lambda: found.client("lambda", code).delete_function(FunctionName=name)),
        ("roles", lambda: _role(iam, role)),
        ("log groups", lambda: found.client("logs", code).delete_log_group(logGroupName=group)),
    ]
    return chain.from_iterable(_if_there(kind, step) for kind, step in steps)


def _if_there(kind: str, remove_it: Callable[[], Any]) -> Iterator[str]:
    from botocore.exceptions import ClientError

    try:
        remove_it()
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise
    else:
        yield kind


def _rule(events: Any, name: str) -> None:
    targets = events.list_targets_by_rule(Rule=name)["Targets"]
    if targets:
        events.remove_targets(Rule=name, Ids=[found["Id"] for found in targets])
    events.describe_rule(Name=name)  # delete_rule is silent about one that is not there
    events.delete_rule(Name=name)


def _role(iam: Any, name: str) -> None:
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)


def _is_not_enabled(error: Exception) -> bool:
    response = getattr(error, "response", {})
    return response.get("Error", {}).get("Code") in _NOT_ENABLED


def _note_removed(found: Account, codes: list[str]) -> None:
    """No source any more; where the tables are gone already there is nothing to note."""
    table = RegionTable(dynamo.client(found.installation.home_region), found.installation.prefix)
    try:
        for state in table.sources():
            if state.region.code in codes:
                table.note_source(state.region.code, 0)
    except StoreError as error:
        if "ResourceNotFound" not in str(error):
            raise


def _tables(found: Account) -> int:
    """Deletes the tables themselves, which their stack would leave; returns how many."""
    from botocore.exceptions import ClientError

    client = dynamo.client(found.installation.home_region)
    count = 0
    for table in TABLES:
        name = found.installation.prefix + table.NAME
        try:
            if client.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
                client.update_table(TableName=name, DeletionProtectionEnabled=False)
            client.delete_table(TableName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in NOT_FOUND:
                raise CloudPingError(f"table {name}: {error}") from error
        else:
            count += 1
    return count
