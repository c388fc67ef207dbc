"""Show what runs: every source's function and last run, the aggregator, the front end.

Exits with 0 when all of it is as it should be, with 3 when something is not (each line says what),
with 1 when that could not be found out. For a monitor of your own: `--json`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cloudping import dynamo
from cloudping.buckets import Checkpoint, DistributionTable
from cloudping.errors import ItemError
from cloudping.regions import RegionState, RegionTable, partition_of
from cloudping.runs import (
    GRACE,
    LOSS_REASONS,
    NOT_MEASURED_REASONS,
    Run,
    RunTable,
    is_silent,
)
from cloudping.times import to_iso, utc_now
from infra import stalls
from infra.aws import account, settings, stacks, tables
from infra.aws.account import Account, in_parallel
from infra.aws.functions import NOT_FOUND
from infra.aws.installation import AGGREGATOR, PROBES, WATCH, App
from infra.commands import terminal
from infra.stalls import Stalls

UNHEALTHY = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    account.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    meant = account.find(args)
    meant = settings.settled(meant, settings.stored(meant))
    found = look(meant, account.chosen(args.regions), utc_now())
    print(json.dumps(as_json(found), indent=2) if args.json else as_text(found))
    return UNHEALTHY if found.problems else 0


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function and its schedule; None where AWS does not say.

    `errors` counts those of the last day by Lambda's own metric; `problem` says what is wrong.
    """

    name: str
    region: str
    version: str | None = None
    modified: str | None = None
    schedule: str | None = None
    errors: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A region that measures: its function (None in another partition) and its last run.

    `lost` of `attempts` connects of that run had no latency but a reason that counts as loss;
    `not_measured` of them failed at the probe itself.
    """

    region: str
    function: Function | None
    last_run: datetime | None
    interval_s: int
    attempts: int
    lost: int
    not_measured: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Site:
    """The front end's stack and service."""

    url: str | None = None
    running: int = 0
    wanted: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `status` shows; `problems` is what is not as it should be.

    `refused` are the items that the aggregator could not use, the last ones of each source by name;
    they cost nothing but themselves. `refused_count` counts all there ever were.
    """

    at: datetime
    account: str
    installation: str
    sources: Sequence[Source]
    functions: Sequence[Function]
    counted_until: datetime | None
    site: Site
    stalls: Stalls = field(default_factory=lambda: Stalls(0, 0))
    problems: Sequence[str] = field(default_factory=tuple)
    refused: Sequence[str] = field(default_factory=tuple)
    refused_count: int = 0


def look(found: Account, codes: Sequence[str], now: datetime) -> Status:
    """Asks every region at once; `codes` limits the sources, none for all of them."""
    client = dynamo.client(found.installation.home_region)
    prefix = found.installation.prefix
    stored = RegionTable(client, prefix).sources()
    states = [state for state in stored if not codes or state.region.code in codes]
    states.sort(key=lambda state: state.region.code)
    runs = RunTable(client, prefix)

    def one(state: RegionState) -> tuple[Source, Run | None]:
        code = state.region.code
        is_ours = partition_of(code) == found.partition
        of_probe = function(found, PROBES, code, now) if is_ours else None
        last = runs.latest(code, now)
        return source(state, of_probe, last, now), last

    answers = {state.region.code: answer for state, answer in in_parallel(one, states)}
    sources = [
        _unknown(state, answer) if isinstance(answer, Exception) else answer[0]
        for state in states
        for answer in [answers[state.region.code]]
    ]
    newest = [answer[1] for answer in answers.values() if not isinstance(answer, Exception)]
    home = found.installation.home_region
    functions = [function(found, app, home, now) for app in (AGGREGATOR, WATCH)]
    checkpoints, broken = _checkpoints(DistributionTable(client, prefix), sorted(answers))
    counted_until = min((one.ingested_until for one in checkpoints), default=None)
    shown = site(found)
    problems = [f"{s.region}: {s.problem}" for s in sources if s.problem]
    problems += [f"{f.name}: {f.problem}" for f in functions if f.problem]
    problems += [] if states else ["no region is a source: nothing is deployed"]
    problems += _aggregator_problems(found, counted_until, now)
    problems += [f"front end: {shown.problem}"] if shown.problem else []
    problems += tables.faults(found)
    problems += [str(error) for error in [*stored.bad, *broken]]
    problems += _mixed_versions(sources)
    return Status(
        at=now,
        account=found.number,
        installation=prefix or "default",
        sources=sources,
        functions=functions,
        counted_until=counted_until,
        site=shown,
        stalls=stalls.of(run for run in newest if run is not None),
        problems=problems,
        refused=[why for one in checkpoints for why in one.refused.values()],
        refused_count=sum(one.refused_runs for one in checkpoints),
    )


def _checkpoints(
    table: DistributionTable, codes: Sequence[str]
) -> tuple[list[Checkpoint], list[ItemError]]:
    """How far the aggregator has come with these sources; the errors of what cannot be read."""
    found, broken = [], []
    for code in codes:
        try:
            checkpoint = table.checkpoint(code)
        except ItemError as error:
            broken.append(error)
        else:
            found += [checkpoint] if checkpoint is not None else []
    return found, broken


def function(found: Account, app: App, code: str, now: datetime) -> Function:
    """What Lambda, EventBridge and CloudWatch say of a function."""
    from botocore.exceptions import ClientError

    name = found.installation.function_name(app, code)
    try:
        deployed = found.client("lambda", code).get_function_configuration(FunctionName=name)
        rule = found.client("events", code).describe_rule(
            Name=found.installation.rule_name(app, code)
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise
        return Function(name, code, problem="not deployed, or without its rule; run deploy")
    points = found.client("cloudwatch", code).get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Dimensions=[{"Name": "FunctionName", "Value": name}],
        StartTime=now - timedelta(days=1),
        EndTime=now,
        Period=86400,
        Statistics=["Sum"],
    )["Datapoints"]
    is_on = rule["State"] == "ENABLED"
    return Function(
        name=name,
        region=code,
        version=deployed["CodeSha256"][:8],
        modified=deployed["LastModified"],
        schedule=rule.get("ScheduleExpression"),
        errors=int(sum(point["Sum"] for point in points)) if points else None,
        problem=None if is_on else "its rule is disabled; run deploy",
    )


def source(
    state: RegionState, of_probe: Function | None, last: Run | None, now: datetime
) -> Source:
    """A source by its newest run: silent after three of its intervals without one."""
    reasons = Counter(
        attempt.reason
        for result in (last.results.values() if last else ())
        for attempt in result.attempts
    )
    attempts = reasons.total()
    not_measured = sum(reasons[reason] for reason in NOT_MEASURED_REASONS)
    problem = of_probe.problem if of_probe else None
    if problem is None:
        problem = _silence(last, state.interval_s, now)
    if problem is None and attempts and not_measured == attempts:
        problem = "its last run could not measure at all; see its log"
    return Source(
        region=state.region.code,
        function=of_probe,
        last_run=last.timestamp if last else None,
        interval_s=state.interval_s,
        attempts=attempts,
        lost=sum(reasons[reason] for reason in LOSS_REASONS),
        not_measured=not_measured,
        problem=problem,
    )


def _silence(last: Run | None, interval_s: int, now: datetime) -> str | None:
    if last is None:
        return f"no run yet; the first is due within {interval_s // 60} minutes of deploying"
    if not is_silent(last.timestamp, interval_s, now):
        return None
    age = now - last.timestamp
    return f"silent since {to_iso(last.timestamp)} ({_for_people(age)}); see docs/runbook.md"


def _unknown(state: RegionState, error: Exception) -> Source:
    why = f"cannot be asked: {error}"
    return Source(state.region.code, None, None, state.interval_s, 0, 0, 0, why)


def _aggregator_problems(
    found: Account, counted_until: datetime | None, now: datetime
) -> list[str]:
    minutes = found.installation.settings.aggregator_interval_minutes
    if counted_until is None:
        return [f"aggregator: no run yet; the first is due within {minutes} minutes of deploying"]
    age = now - counted_until
    if age > 2 * timedelta(minutes=minutes) + GRACE:
        return [f"aggregator: some figures end {_for_people(age)} ago; see docs/runbook.md"]
    return []


def _mixed_versions(sources: Sequence[Source]) -> list[str]:
    versions = Counter(
        s.function.version for s in sources if s.function is not None and s.function.version
    )
    if len(versions) < 2:
        return []
    said = ", ".join(f"{version} in {count}" for version, count in versions.most_common())
    return [f"probes: several versions run ({said} regions); run deploy"]


def site(found: Account) -> Site:
    """The front end as CloudFormation and ECS see it; without a stack there is none to judge."""
    name = found.installation.stack_name("frontend")
    stack = stacks.describe(found.client("cloudformation"), name)
    if stack is None:
        return Site()
    outputs = stacks.outputs(stack)
    if "Url" not in outputs:
        return Site(problem=f"its stack is {stack['StackStatus']}; run deploy")
    services = found.client("ecs").describe_services(
        cluster=outputs["Cluster"], services=[outputs["Service"]]
    )["services"]
    running = sum(service["runningCount"] for service in services)
    wanted = sum(service["desiredCount"] for service in services)
    problem = None
    if wanted == 0:
        problem = "no image yet; run deploy with docker at hand, or with --image"
    elif running < wanted:
        problem = f"{running} of {wanted} tasks run"
    return Site(outputs["Url"], running, wanted, problem)


def _for_people(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def as_json(found: Status) -> dict[str, Any]:
    """The status with ISO 8601 times; `healthy` is what the exit code says."""
    content = asdict(found)
    content["healthy"] = not found.problems
    for holder, names in [(content, ("at", "counted_until"))] + [
        (entry, ("last_run",)) for entry in content["sources"]
    ]:
        for name in names:
            holder[name] = to_iso(holder[name]) if holder[name] else None
    return content


def as_text(found: Status) -> str:
    """Two tables, the front end, and what is wrong, last because it is read first."""
    heads = ("source", "version", "schedule (UTC)", "last run", "lost", "errors 24 h")
    rows = [
        (
            s.region,
            (s.function and s.function.version) or "-",
            (s.function and s.function.schedule) or "-",
            f"{_for_people(found.at - s.last_run)} ago" if s.last_run else "-",
            f"{s.lost} of {s.attempts}" if s.attempts else "-",
            _count(s.function),
        )
        for s in found.sources
    ]
    others = [
        (f.name, f.version or "-", f.schedule or "-", f.modified or "-", _count(f))
        for f in found.functions
    ]
    counted = to_iso(found.counted_until) if found.counted_until else "never"
    lines = [
        f"CloudPing {found.installation} in account {found.account}, {to_iso(found.at)}",
        "",
        terminal.table(heads, rows),
        "",
        terminal.table(
            ("function", "version", "schedule (UTC)", "deployed", "errors 24 h"), others
        ),
        "",
        f"figures account for the runs written until {counted}",
        str(found.stalls),
        f"front end: {found.site.url}, {found.site.running} of {found.site.wanted} tasks"
        if found.site.url
        else "front end: not deployed",
        "",
    ]
    if found.refused:
        said = terminal.count(found.refused_count, "item")
        lines += [f"{said} refused by the aggregator, the last of them:", *found.refused, ""]
    if not found.problems:
        return "\n".join([*lines, "all is well"])
    return "\n".join(
        [*lines, f"{terminal.count(len(found.problems), 'problem')}:", *found.problems]
    )


def _count(of: Function | None) -> str:
    """Lambda's metric has no points for a function that never failed or never ran."""
    return "-" if of is None or of.errors is None else str(of.errors)
