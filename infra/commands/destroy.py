"""Remove everything that deploy made, in every region; the tables stay unless you say --tables.

Goes by the names that an installation gives, not by files of an earlier deployment, so it finds
what another machine or a plain `chalice deploy` has made, and finishes what was interrupted. Only
what our stack or our tags own is removed: whatever else bears such a name is listed and left. What
could not be removed is listed too, and the exit code is 1.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field

from cloudping import dynamo
from cloudping.account import ENABLED, region_status
from cloudping.errors import CloudPingError, StoreError
from cloudping.regions import CATALOGUE, RegionTable, partition_of
from infra.aws import account, functions, home, stacks, tables
from infra.aws.account import Account, in_parallel
from infra.aws.installation import AGGREGATOR, PROBES, WATCH
from infra.aws.stacks import NotOursError
from infra.commands import terminal

# What AWS answers in a region that the account has not enabled, where nothing of ours can run; but
# also where it has: version 1 tokens of STS's global endpoint are good for default regions only
# (docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html).
_NOT_ENABLED = frozenset(
    {"UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure", "OptInRequired"}
)


class DestroyFailedError(CloudPingError):
    """Something could not be removed."""


@dataclass
class Removal:
    """What `remove` did: how many of each kind, what it left as somebody else's, what failed."""

    removed: Counter[str] = field(default_factory=Counter)
    left: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    account.add_arguments(parser)
    parser.add_argument("--tables", action="store_true", help="the tables too: all data are lost")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    found = account.find(args)
    named = account.chosen(args.regions)
    if named and args.tables:
        raise CloudPingError("--regions leaves the rest running, which needs the tables")
    status = region_status(account.session(), found.asked)
    home.check(found, status)
    what = f"the probes in {args.regions}" if named else "everything"
    what += ", the tables and all their data included" if args.tables else " but the tables"
    terminal.confirm(
        f"Remove {what} of CloudPing {found.installation.prefix or 'default'} from account "
        f"{found.number}?",
        args.yes,
        word="delete" if args.tables else "yes",
    )
    done = remove(found, named, args.tables, status)
    for kind, count in sorted((+done.removed).items()):
        print(f"{terminal.count(count, kind)} removed")
    for name, why in sorted(done.left.items()):
        print(f"left: {name}: {why}")
    if not +done.removed and not done.left:
        print("nothing was there")
    if done.failed:
        for name, why in sorted(done.failed.items()):
            print(f"NOT removed: {name}: {why}")
        raise DestroyFailedError(f"{len(done.failed)} could not be removed; run the same again")
    return 0


def remove(found: Account, named: list[str], with_tables: bool, status: dict[str, str]) -> Removal:
    """Removes an installation, or the probes of some regions.

    `status` is what the account says of its regions: an answer that a region is not enabled is
    believed only where the account says so too.
    """
    done = Removal()
    stages = [(PROBES, code) for code in named or _regions(found, status)]
    installation = found.installation
    is_whole = not named and found.is_home
    if is_whole:
        stages += [(app, installation.home_region) for app in (AGGREGATOR, WATCH)]
    for (app, code), kinds in in_parallel(
        lambda stage: functions.remove(stage[0], installation, stage[1], account.session()), stages
    ):
        if isinstance(kinds, NotOursError):
            done.left[f"{app.name} {code}"] = str(kinds)
        elif isinstance(kinds, Exception):
            if not _says_not_enabled(kinds):
                done.failed[f"{app.name} {code}"] = str(kinds)
            elif status.get(code) in ENABLED:
                done.failed[f"{app.name} {code}"] = (
                    f"{kinds}; the account has this region enabled, so these credentials are not "
                    "good there: sign in at a regional STS endpoint "
                    "(AWS_STS_REGIONAL_ENDPOINTS=regional) or with a key"
                )
        else:
            done.removed.update(kinds)
    if found.is_home and not with_tables:
        gone = [code for app, code in stages if app is PROBES and not _is_in(done, code)]
        _note_removed(found, gone)
    if is_whole:
        _remove_stacks(found, done, with_tables)
    return done


def _is_in(done: Removal, code: str) -> bool:
    """True where the probe of a region is not gone: it goes on being a source."""
    return f"{PROBES.name} {code}" in (done.failed | done.left)


def _remove_stacks(found: Account, done: Removal, with_tables: bool) -> None:
    formation = found.client("cloudformation")
    for template in ("frontend", "operations", *([tables.STACK] if with_tables else [])):
        name = found.installation.stack_name(template)
        try:
            if template == tables.STACK:
                _remove_tables(found, done)
            done.removed["stack"] += stacks.delete(formation, name, found.installation.tags)
        except NotOursError as error:
            done.left[f"stack {name}"] = str(error)
        except CloudPingError as error:
            done.failed[f"stack {name}"] = str(error)


def _remove_tables(found: Account, done: Removal) -> None:
    """The tables themselves, which their stack would leave."""
    there = tables.existing(found)
    for name in there.ours:
        tables.delete(found, name)
        done.removed["table"] += 1
    done.left |= {f"table {name}": why for name, why in there.others.items()}


def _regions(found: Account, status: dict[str, str]) -> list[str]:
    """Every region in which a probe may be: of the catalogue and of the account."""
    codes = {code for code, said in status.items() if said in ENABLED} | CATALOGUE.keys()
    return sorted(code for code in codes if partition_of(code) == found.partition)


def _says_not_enabled(error: Exception) -> bool:
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
