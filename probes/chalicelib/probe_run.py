"""One run of a probe: measure every target, log the run, write it once."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from time import perf_counter, process_time
from typing import Any, Final, Protocol

from chalicelib.sweep import Plan, SweepResult, Target, measure

from cloudping import dynamo, planet, runs
from cloudping.errors import CloudPingError
from cloudping.regions import CATALOGUE, RegionTable, partition_of
from cloudping.runs import METHOD_KERNEL, ORIGIN_SIMULATED, Attempt, Run, RunTable, TargetResult
from cloudping.settings import Settings
from cloudping.times import floor_minute, from_iso, to_iso, utc_now

# A home region that does not answer must leave time to measure and to log: three attempts of 3 s
# and the pauses between them (1 and 2 s at most), once for the targets and once for the write, are
# 24 s; two attempts of 2 s and a pause of 1 s for the secret are 5 s. Together they are within
# settings.PROBE_STORE_S.
STORE_TIMEOUT_S: Final = 3
STORE_ATTEMPTS: Final = 3
SECRET_TIMEOUT_S: Final = 2
SECRET_ATTEMPTS: Final = 2

# Which times of an event are believed. EventBridge tries to deliver an event for up to a day, and
# Lambda for up to six hours more (their documentations' defaults): 30 hours, and what is older was
# sent by hand, such as the Lambda console's own test event of 1970. No event is sent ahead of its
# time; an hour is for clocks that disagree.
MAX_LATENESS: Final = timedelta(days=2)
MAX_AHEAD: Final = timedelta(hours=1)


@cache  # one per Lambda, kept from run to run
def client(settings: Settings) -> Any:
    """A client for the tables at home: with the function's role, or another partition's secret."""
    credentials = home_credentials(settings) if settings.home_credentials else {}
    return dynamo.client(
        settings.home_region,
        settings.endpoint_url or None,
        timeout_s=STORE_TIMEOUT_S,
        attempts=STORE_ATTEMPTS,
        **credentials,
    )


def home_credentials(settings: Settings) -> dict[str, str]:
    """The access key that the secret holds, as boto3 takes it; raises CredentialsError.

    A role of one partition means nothing in another one: China, GovCloud and the European
    Sovereign Cloud write home with the key of a user that may do just that.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    secret = settings.home_credentials
    patience = Config(
        connect_timeout=SECRET_TIMEOUT_S,
        read_timeout=SECRET_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": SECRET_ATTEMPTS},
    )
    try:
        answer = boto3.client(
            "secretsmanager", region_name=settings.region, config=patience
        ).get_secret_value(SecretId=secret)
        key = json.loads(answer["SecretString"])
        return {f"aws_{name}": key[name] for name in ("access_key_id", "secret_access_key")}
    except (BotoCoreError, ClientError) as error:
        raise CredentialsError(f"secret {secret} in {settings.region}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        expected = "a JSON object with access_key_id and secret_access_key"
        raise CredentialsError(f"secret {secret} in {settings.region} is not {expected}") from error


class CredentialsError(CloudPingError):
    """The credentials for the tables at home cannot be read."""


def warm(settings: Settings) -> None:
    """Makes what the first run would make: client and serializer, some 0.4 s of CPU."""
    try:
        client(settings)
    except CredentialsError as error:  # a function that does not start measures nothing
        log("credentials_unreadable", error=str(error))
    dynamo.to_wire({})


class EventTimeError(CloudPingError):
    """An event whose time cannot be that of a run made now."""


def scheduled_minute(event_time: str, now: datetime) -> datetime:
    """The minute for which an event was sent; raises EventTimeError when that cannot be so.

    A run that is stored years from its measurement spoils the figures there, and takes the place
    of the one that belongs there.
    """
    try:
        moment = floor_minute(from_iso(event_time))
    except (TypeError, ValueError):
        raise EventTimeError(f"the event's time is {event_time!r}: write {to_iso(now)}") from None
    if not now - MAX_LATENESS <= moment <= now + MAX_AHEAD:
        raise EventTimeError(
            f"the event's time is {event_time}, it is {to_iso(now)} here: a run is made at most "
            f"{MAX_LATENESS.days} days after the time it is for, and at most "
            f"{MAX_AHEAD // timedelta(hours=1)} hour before"
        )
    return moment


class Measure(Protocol):
    """`sweep.measure`, or what stands in for it."""

    def __call__(self, targets: Mapping[str, Target], plan: Plan) -> SweepResult: ...


def run(event_time: str, settings: Settings) -> dict[str, Any]:
    """Measures for the schedule's time in an event; a second run of it leaves the first as it is.

    Returns what was done, for the log of whoever invoked it by hand. Nothing that has to do with
    the tables keeps it from measuring and from logging what it measured.
    """
    try:
        scheduled = scheduled_minute(event_time, utc_now())
    except EventTimeError as error:
        log("event_refused", error=str(error))
        raise
    made = make(scheduled, find_targets(settings), settings)
    # Before writing: `infra recover` reads a run back from here whose write failed.
    say(f'{{"event":"run","run":{runs.to_json(made)}}}')
    try:
        written = RunTable(client(settings), settings.table_prefix).put_once(made)
    except CloudPingError:
        client.cache_clear()  # the secret's key may have been renewed: the next run reads it again
        raise
    if not written:
        item = runs.to_item(made)
        identity = {name: item[name] for name in ("region", "timestamp", "written_at")}
        log("discarded", **identity, why="an earlier run won")
    attempts = [a for result in made.results.values() for a in result.attempts]
    return {
        "region": made.region,
        "timestamp": to_iso(scheduled),
        "written": written,
        "targets": len(made.results),
        "attempts": len(attempts),
        "latencies": sum(attempt.latency_ms is not None for attempt in attempts),
    }


def find_targets(settings: Settings) -> dict[str, Target]:
    """The targets by region: those of the settings, else the active ones, else the catalogue.

    A table that is empty or cannot be read must not stop the measuring, nor may a broken item of
    it: that region is measured where the catalogue says it is.
    """
    if settings.probe_targets:
        return {code: Target(CATALOGUE[code].endpoint) for code in settings.probe_targets}
    try:
        table = RegionTable(client(settings), settings.table_prefix)
        states = table.targets()
    except Exception as error:  # whatever it is: what is not measured now is lost
        log("targets_unreadable", error=str(error), instead="the whole catalogue")
        return {code: Target(region.endpoint) for code, region in CATALOGUE.items()}
    active = {state.region.code: Target(state.region.endpoint) for state in states}
    for broken in states.bad:
        log("target_unreadable", error=str(broken), instead="its endpoint in the catalogue")
        if (code := str(broken.key)) in CATALOGUE:
            active[code] = Target(CATALOGUE[code].endpoint)
    if active:
        return active
    log("no_active_targets", table=table.name, instead="the whole catalogue")
    return {code: Target(region.endpoint) for code, region in CATALOGUE.items()}


def make(
    scheduled: datetime,
    targets: Mapping[str, Target],
    settings: Settings,
    over_network: Measure = measure,
) -> Run:
    """The run of a scheduled time, measured now."""
    wall, cpu = perf_counter(), process_time()
    plan = Plan(
        attempts=settings.probe_attempts,
        timeout_s=settings.probe_timeout_s,
        deadline_s=settings.probe_deadline_s,
        memory_mb=settings.memory_mb,
    )
    if settings.probe_network == ORIGIN_SIMULATED:
        measured = simulate(settings.region, scheduled, targets, plan)
    else:
        measured = over_network(targets, plan)
    for target, error in measured.dns_errors.items():
        log("dns_error", target=target, host=targets[target].host, error=error)
    # The aggregator goes by this stamp. The event's time is AWS's: a clock that is behind it is
    # wrong, and its stamp would hide the run.
    written_at = max(utc_now(), scheduled)
    keep_days = settings.probe_retention_days
    return Run(
        region=settings.region,
        timestamp=scheduled,
        partition=partition_of(settings.region),
        interval_s=settings.probe_interval_minutes * 60,
        attempts_per_target=settings.probe_attempts,
        method=measured.method,
        origin=settings.probe_network,
        results=measured.results,
        memory_mb=settings.memory_mb,
        wall_ms=(perf_counter() - wall) * 1000,
        cpu_ms=(process_time() - cpu) * 1000,
        lateness_ms=(measured.started_at - scheduled) / timedelta(milliseconds=1),
        written_at=written_at,
        expires_at=int(scheduled.timestamp()) + keep_days * 86400 if keep_days else None,
    )


def simulate(
    source: str, moment: datetime, targets: Mapping[str, Target], plan: Plan
) -> SweepResult:
    """What `sweep.measure` gives, from the simulated planet instead of the network.

    A region that is not on the planet, since the catalogue lacks it, is not measured.
    """
    unknown = (Attempt(None, reason="local_error"),) * plan.attempts
    off_planet = [code for code in targets if not {source, code} <= CATALOGUE.keys()]
    for code in off_planet:
        log("not_simulated", source=source, target=code, error="the catalogue lacks one of them")
    return SweepResult(
        results={
            code: TargetResult(
                host=target.host,
                addresses=(planet.address(code),),
                dns_ms=None,
                attempts=unknown
                if code in off_planet
                else planet.connects(source, code, moment, plan.attempts),
            )
            for code, target in targets.items()
        },
        method=METHOD_KERNEL,
        started_at=utc_now(),
        dns_errors={},
    )


def log(event: str, **fields: str) -> None:
    """One JSON line about this run."""
    say(json.dumps({"event": event, **fields}))


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - Lambda sends what is printed to CloudWatch as it is
