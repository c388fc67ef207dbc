"""Check that what runs in the account is what was meant, read-only, in order; say what is not.

For the first days of an installation, and after anybody has worked in its account by hand: stacks,
tables, roles, functions and their policies, schedules that fired, alarms and who hears them, the
site, what the newest runs say of the error bound, and the cost so far. Each line begins with `ok`,
`NOT` or `?` (could not be found out). Exits with 0 when all is as meant, else with 3.

What it asks of Cost Explorer costs 0.01 USD; --no-cost leaves that out.
"""

import argparse
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cloudping import dynamo
from cloudping.errors import CloudPingError
from cloudping.periods import HOUR, floor
from cloudping.regions import RegionState, RegionTable, partition_of
from cloudping.runs import RunTable
from cloudping.times import utc_now
from infra import TEMPLATES, stalls
from infra.aws import account, functions, roles, settings, stacks, tables
from infra.aws.account import Account, in_parallel, session
from infra.aws.installation import AGGREGATOR, PROBES, WATCH, App
from infra.commands import cost, terminal

NOT_AS_MEANT = 3
SITE_TIMEOUT_S = 10
# So much of what a schedule owes has to have been written: a start or a delivery may be lost.
FIRED = 0.95
NOT_CONFIRMED = "PendingConfirmation"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `is_well` is None where it could not be found out."""

    check: str
    is_well: bool | None
    said: str

    def __str__(self) -> str:
        mark = {True: "ok ", False: "NOT", None: "?  "}[self.is_well]
        return f"{mark} {self.check}: {self.said}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    account.add_arguments(parser)
    parser.add_argument("--no-cost", action="store_true", help="without asking Cost Explorer")


def run(args: argparse.Namespace) -> int:
    found = account.find(args)
    if not found.is_home:
        raise CloudPingError(
            f"the tables are in {found.installation.home_region}: verify with its credentials"
        )
    meant = settings.settled(found, settings.stored(found))
    checks = CHECKS if not args.no_cost else CHECKS[:-1]
    wrong = 0
    for finding in verify(meant, account.chosen(args.regions), utc_now(), checks):
        print(finding, flush=True)
        wrong += finding.is_well is not True
    print(
        "\nall is as it was meant" if not wrong else f"\n{terminal.count(wrong, 'line')} to see to"
    )
    return NOT_AS_MEANT if wrong else 0


Check = Callable[["Scope"], Iterator[Finding]]


@dataclass(frozen=True)
class Scope:
    """What is to be checked: an installation, its sources (or some of them), and now."""

    account: Account
    sources: list[RegionState]
    now: datetime

    @property
    def own(self) -> list[RegionState]:
        """The sources that these credentials reach."""
        return [s for s in self.sources if partition_of(s.region.code) == self.account.partition]

    @property
    def stages(self) -> list[tuple[App, str]]:
        home = self.account.installation.home_region
        probes = [(PROBES, state.region.code) for state in self.own]
        return [(AGGREGATOR, home), (WATCH, home), *probes]


def verify(
    found: Account, codes: list[str], now: datetime, checks: tuple[Check, ...]
) -> Iterator[Finding]:
    """The findings of all checks, in their order; one that AWS refuses does not end the rest."""
    from botocore.exceptions import BotoCoreError, ClientError

    table = RegionTable(dynamo.client(found.installation.home_region), found.installation.prefix)
    sources = [s for s in table.sources() if not codes or s.region.code in codes]
    scope = Scope(found, sorted(sources, key=lambda s: s.region.code), now)
    for check in checks:
        try:
            yield from check(scope)
        except (BotoCoreError, ClientError, CloudPingError) as error:
            yield Finding(check.__name__.strip("_"), None, str(error))


def _stacks(scope: Scope) -> Iterator[Finding]:
    """Each stack is complete, and made of this checkout's template."""
    client, installation = scope.account.client("cloudformation"), scope.account.installation
    for template in ("tables", "operations", "frontend", "github-oidc"):
        name = installation.stack_name(template.removesuffix("-oidc"))
        stack = stacks.describe(client, name)
        if stack is None:
            if template in ("tables", "operations"):
                yield Finding(f"stack {name}", False, "is not there; run deploy")
            continue
        status = stack["StackStatus"]
        body = client.get_template(StackName=name)["TemplateBody"]
        wanted = (TEMPLATES / f"{template}.yaml").read_text()
        is_same = (body if isinstance(body, str) else json.dumps(body)) == wanted
        is_done = status.endswith("_COMPLETE") and "ROLLBACK" not in status
        said = status if is_same else f"{status}, and of another template than this checkout's"
        yield Finding(f"stack {name}", is_done and is_same, said)


def _tables(scope: Scope) -> Iterator[Finding]:
    """Deletion protection, point-in-time recovery, time to live, tags."""
    faults = list(tables.faults(scope.account))
    yield from (Finding("tables", False, fault) for fault in faults)
    if not faults:
        yield Finding("tables", True, "protected, recoverable, tagged")


def _roles(scope: Scope) -> Iterator[Finding]:
    """A function's role has its own policy and no other, Lambda's trust and the boundary."""
    boundary = roles.boundary(scope.account)

    def faults(stage: tuple[App, str]) -> list[str]:
        app, code = stage
        name = scope.account.installation.role_name(app, code)
        client = scope.account.client("iam", code)
        role = client.get_role(RoleName=name)["Role"]
        trusted = [
            s["Principal"].get("Service")
            for s in _document(role["AssumeRolePolicyDocument"])["Statement"]
        ]
        attached = client.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        inline = client.list_role_policies(RoleName=name)["PolicyNames"]
        is_so = {
            "may be assumed by others than Lambda": trusted == ["lambda.amazonaws.com"],
            "has further policies": not attached and inline == [name],
            "lacks the boundary": roles.is_bounded(scope.account, app, code, boundary),
        }
        return [what for what, is_well in is_so.items() if not is_well]

    yield from _of_stages("roles", scope, faults, "as meant, " + (boundary or "no boundary"))


def _functions(scope: Scope) -> Iterator[Finding]:
    """Memory, settings, schedule, target, policy and log of each function."""

    def faults(stage: tuple[App, str]) -> list[str]:
        app, code = stage
        return functions.differences(app, scope.account.installation, code, session())

    yield from _of_stages("functions", scope, faults, "as meant")


def _of_stages(
    check: str, scope: Scope, faults: Callable[[tuple[App, str]], list[str]], well: str
) -> Iterator[Finding]:
    wrong = 0
    for (app, code), answer in in_parallel(faults, scope.stages):
        if isinstance(answer, Exception):
            yield Finding(f"{check} {app.name} {code}", None, str(answer))
        elif answer:
            yield Finding(f"{check} {app.name} {code}", False, ", ".join(answer))
        wrong += isinstance(answer, Exception) or bool(answer)
    if not wrong:
        yield Finding(check, True, f"{len(scope.stages)} {well}")


def _schedules(scope: Scope) -> Iterator[Finding]:
    """As many runs as each source's schedule owes of the last day, or since it became a source."""
    installation = scope.account.installation
    table = RunTable(dynamo.client(installation.home_region), installation.prefix)

    def fired(state: RegionState) -> tuple[int, int]:
        every = timedelta(seconds=state.interval_s)
        since = max(scope.now - timedelta(days=1), state.source_since or scope.now - every)
        owed = int((scope.now - since - timedelta(minutes=2)) / every)
        return len(list(table.written_since(state.region.code, since))), max(0, owed)

    total = wrong = 0
    for state, answer in in_parallel(fired, scope.sources):
        code = state.region.code
        if isinstance(answer, Exception):
            yield Finding(f"schedule {code}", None, str(answer))
            wrong += 1
            continue
        made, owed = answer
        total += made
        if made < FIRED * owed:
            yield Finding(f"schedule {code}", False, f"{made} runs written of {owed} due")
            wrong += 1
    if not scope.sources:
        yield Finding("schedules", False, "no region is a source: nothing is deployed")
    elif not wrong:
        yield Finding("schedules", True, f"{total} runs in the last day, none missing")


def _alarms(scope: Scope) -> Iterator[Finding]:
    """Those of the templates are there and switched on; none rings; somebody hears them."""
    prefix, client = scope.account.installation.prefix, scope.account.client("cloudwatch")
    formation = scope.account.client("cloudformation")
    expected = {
        found["PhysicalResourceId"]
        for template in ("operations", "frontend")
        if stacks.describe(formation, scope.account.installation.stack_name(template))
        for found in formation.describe_stack_resources(
            StackName=scope.account.installation.stack_name(template)
        )["StackResources"]
        if found["ResourceType"] == "AWS::CloudWatch::Alarm"
    }
    pages = client.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{prefix}cloudping-")
    alarms = {a["AlarmName"]: a for page in pages for a in page["MetricAlarms"]}
    lost = sorted(expected - alarms.keys())
    off = sorted(name for name in expected & alarms.keys() if not alarms[name]["ActionsEnabled"])
    rings = sorted(name for name, a in alarms.items() if a["StateValue"] == "ALARM")
    for names, what in ((lost, "deleted"), (off, "switched off"), (rings, "ringing")):
        if names:
            yield Finding("alarms", False, f"{what}: {', '.join(names)}")
    if not (lost or off or rings):
        yield Finding("alarms", True, f"{len(alarms)}, none ringing")
    yield from _listeners(scope)


def _listeners(scope: Scope) -> Iterator[Finding]:
    stack = stacks.describe(
        scope.account.client("cloudformation"), scope.account.installation.stack_name("operations")
    )
    topic = stacks.outputs(stack or {}).get("TopicArn")
    if topic is None:
        return
    heard = scope.account.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    confirmed = [s for s in heard if s["SubscriptionArn"] != NOT_CONFIRMED]
    if confirmed:
        yield Finding("alarm mail", True, terminal.count(len(confirmed), "subscription"))
    else:
        why = "not confirmed yet: see the mail from AWS" if heard else "run deploy --alarm-email"
        yield Finding("alarm mail", False, f"nobody hears the alarms; {why}")


def _site(scope: Scope) -> Iterator[Finding]:
    """It answers, and is ready; without its stack there is none to judge."""
    name = scope.account.installation.stack_name("frontend")
    stack = stacks.describe(scope.account.client("cloudformation"), name)
    url = stacks.outputs(stack or {}).get("Url")
    if url is None:
        return
    address = f"{url}readyz"
    try:
        with urllib.request.urlopen(address, timeout=SITE_TIMEOUT_S) as answer:  # noqa: S310 - our URL
            yield Finding("site", answer.status == 200, f"{address} answers {answer.status}")
    except urllib.error.HTTPError as error:
        with error:
            yield Finding("site", False, f"{address} answers {error.code}")
    except OSError as error:
        yield Finding("site", False, f"{address}: {error}")


def _stalls(scope: Scope) -> Iterator[Finding]:
    """What the last whole hour of runs says of the error bound: a fact, not a fault."""
    installation = scope.account.installation
    table = RunTable(dynamo.client(installation.home_region), installation.prefix)
    end = floor(HOUR, scope.now)
    made = [
        run
        for state in scope.sources
        for run in table.between(state.region.code, end - timedelta(hours=1), scope.now)
    ]
    said = stalls.of(made)
    yield Finding("error bound", True, str(said).removeprefix("stalls: "))


def _cost(scope: Scope) -> Iterator[Finding]:
    """This month's cost under the tag, beside what `infra cost` computes for as many days."""
    client = session().client("ce", region_name="us-east-1")  # where its only endpoint is
    start = scope.now.replace(day=1)
    if start.date() == scope.now.date():
        yield Finding("cost", True, "the month has just begun; there is nothing to compare yet")
        return
    answer = client.get_cost_and_usage(
        TimePeriod={"Start": f"{start:%Y-%m-%d}", "End": f"{scope.now:%Y-%m-%d}"},
        Granularity="MONTHLY",
        Metrics=["UnblendedCost"],
        Filter={"Tags": {"Key": "Project", "Values": ["cloudping"]}},
    )
    usd = sum(float(e["Total"]["UnblendedCost"]["Amount"]) for e in answer["ResultsByTime"])
    if not usd:
        said = (
            "none under the tag Project; activate it as a cost allocation tag (Billing), wait a day"
        )
        yield Finding("cost", None, said)
        return
    days = (scope.now.date() - start.date()).days
    expected = sum(line.usd for line in _expected(scope)) * days * 24 / cost.HOURS_A_MONTH
    said = f"{usd:.2f} USD in {days} days; computed for as many: {expected:.2f} (infra cost)"
    yield Finding("cost", usd <= 1.5 * expected, said)


def _expected(scope: Scope) -> Iterator[cost.Line]:
    minutes = scope.account.installation.settings.probe_interval_minutes
    plan = cost.Plan(len(scope.sources), minutes, months=1)
    yield from cost.pipeline_lines(plan)
    name = scope.account.installation.stack_name("frontend")
    if stacks.describe(scope.account.client("cloudformation"), name):
        yield from cost.site_lines(plan)


def _document(found: Any) -> Any:
    """A policy as botocore gives it: read already, or (from some endpoints) as text."""
    return json.loads(found) if isinstance(found, str) else found


CHECKS: tuple[Check, ...] = (
    _stacks, _tables, _roles, _functions, _schedules, _alarms, _site, _stalls, _cost,
)  # fmt: skip
