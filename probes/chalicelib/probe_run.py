"""One run of a probe: measure every target, log the run, write it once."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from time import perf_counter, process_time
from typing import Any, Final, Protocol

from chalicelib.sweep import Measured, Plan, Target, measure

from cloudping import dynamo, planet, runs
from cloudping.errors import CloudPingError
from cloudping.regions import CATALOGUE, RegionTable, partition_of
from cloudping.runs import METHOD_KERNEL, NETWORK_SIMULATED, Run, RunTable, TargetResult
from cloudping.settings import Settings
from cloudping.times import floor_minute, from_iso, to_iso, utc_now

# A home region that does not answer must leave time to measure and to log: three attempts of 3 s
# and the pauses between them (1 and 2 s at most), once for the targets and once for the write, are
# 24 s; with the measuring's deadline of 30 s that is within the function's 60 s.
STORE_TIMEOUT_S: Final = 3
STORE_ATTEMPTS: Final = 3


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
    from botocore.exceptions import BotoCoreError, ClientError

    secret = settings.home_credentials
    try:
        answer = boto3.client("secretsmanager", region_name=settings.region).get_secret_value(
            SecretId=secret
        )
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
    client(settings)
    dynamo.to_wire({})


class Measure(Protocol):
    """`sweep.measure`, or what stands in for it."""

    def __call__(self, targets: Mapping[str, Target], plan: Plan) -> Measured: ...


def run(event_time: str, settings: Settings) -> dict[str, Any]:
    """Measures for the schedule's time in an event; a second run of it leaves the first as it is.

    Returns what was done, for the log of whoever invoked it by hand.
    """
    scheduled = floor_minute(from_iso(event_time))
    store = client(settings)
    targets = find_targets(settings, RegionTable(store, settings.table_prefix))
    made = make(scheduled, targets, settings)
    # Before writing: `infra recover` reads a run back from here whose write failed.
    say(f'{{"event":"run","run":{runs.to_json(made)}}}')
    try:
        written = RunTable(store, settings.table_prefix).put_once(made)
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


def find_targets(settings: Settings, table: RegionTable) -> dict[str, Target]:
    """The targets by region: those of the settings, else the active ones, else the catalogue.

    A table that is empty or cannot be read must not stop the measuring.
    """
    if settings.probe_targets:
        return {code: Target(CATALOGUE[code].endpoint) for code in settings.probe_targets}
    try:
        active = {state.region.code: Target(state.region.endpoint) for state in table.targets()}
    except CloudPingError as error:
        log("targets_unreadable", error=str(error), instead="the whole catalogue")
    else:
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
    if settings.probe_network == NETWORK_SIMULATED:
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
        attempts=settings.probe_attempts,
        method=measured.method,
        network=settings.probe_network,
        results=measured.results,
        memory_mb=settings.memory_mb,
        wall_ms=(perf_counter() - wall) * 1000,
        cpu_ms=(process_time() - cpu) * 1000,
        lateness_ms=(measured.started_at - scheduled) / timedelta(milliseconds=1),
        written_at=written_at,
        expires_at=int(scheduled.timestamp()) + keep_days * 86400 if keep_days else None,
    )


def simulate(source: str, moment: datetime, targets: Mapping[str, Target], plan: Plan) -> Measured:
    """What `sweep.measure` gives, from the simulated planet instead of the network."""
    return Measured(
        results={
            code: TargetResult(
                host=target.host,
                addresses=(planet.address(code),),
                dns_ms=None,
                attempts=planet.connects(source, code, moment, plan.attempts),
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
