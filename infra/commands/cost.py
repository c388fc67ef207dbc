"""Compute what an installation costs a month, by service, and show what each line is made of.

The size of a run is that of one made by the project's own code; what the aggregator reads and
writes was counted (see the constants). Every price is the list price of us-east-2, or of the
dearest region of its part of the world where a probe may run in one; what is free is not taken off.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any

from cloudping import planet, runs
from cloudping.regions import CATALOGUE
from cloudping.runs import METHOD_KERNEL, ORIGIN_SIMULATED, Run, TargetResult
from infra.aws.installation import AGGREGATOR, LOG_RETENTION_DAYS, PROBES
from infra.commands import terminal

sys.path.append(str(Path(__file__).resolve().parents[2] / "probes"))  # as Lambda has it
from chalicelib.sweep import pace_s

HOURS_A_MONTH = 730
KB, GB = 1024, 1024**3

# Prices in USD: AWS's public price pages as known in November 2026, not fetched by this program;
# check them against https://aws.amazon.com/pricing/ before you rely on a cent.
# aws.amazon.com/dynamodb/pricing/on-demand, us-east-2: standard table class, and Standard-IA, which
# PingTest has: most of what is stored, written once and read once
WRITE, WRITE_IA = 0.625 / 1e6, 0.78 / 1e6  # a write request unit: 1 KB
READ, READ_IA = 0.125 / 1e6, 0.155 / 1e6  # a read request unit: 4 KB, strongly consistent
STORAGE_GB, STORAGE_IA_GB = 0.25, 0.10
BACKUP_GB = 0.20  # continuous backup for point-in-time recovery, of either class
# aws.amazon.com/lambda/pricing, x86: the regions that are enabled by default, and ap-east-1, the
# dearest of those to opt in to
LAMBDA_GB_S = 0.0000166667
LAMBDA_GB_S_OPT_IN = 0.0000229167
LAMBDA_REQUEST = 0.20 / 1e6
# aws.amazon.com/cloudwatch/pricing, logs, and aws.amazon.com/ec2/pricing/on-demand, data transfer
# to other regions: in each part of the world the dearest region of it
LOG_GB = {"North America": 0.60, "Europe": 0.63, "Asia Pacific": 0.76}
TRANSFER_GB = {"North America": 0.02, "Europe": 0.02, "Asia Pacific": 0.12}
LOG_GB_ELSEWHERE, TRANSFER_GB_ELSEWHERE = 0.90, 0.147  # sa-east-1, af-south-1
LOG_STORED_GB = 0.0408
METRIC = 0.30
ALARM = 0.10
# aws.amazon.com/fargate/pricing, /elasticloadbalancing/pricing, /vpc/pricing, us-east-2, Linux x86
FARGATE_VCPU_H, FARGATE_GB_H = 0.04048, 0.004445
BALANCER_H, BALANCER_UNIT_H = 0.0225, 0.008
ADDRESS_H = 0.005
IMAGE_GB = 0.10  # aws.amazon.com/ecr/pricing

# One run of the aggregator and one source at hourly cadence, counted on moto with 39 targets and
# 12 runs an hour (November 2026): buckets and state 4 write units, the row of two timeframes one
# unit a cell, the region's item and its two indexes 3; reads without those of the raw runs.
AGGREGATOR_WRITES, AGGREGATOR_READS = 7, 24
ROWS_EACH_RUN = 2
# Once a day and source: its day and month bucket, the row of 1M and 1Y, and the history of each
# pair, whose item of a month grows to 11 KB; reads of the buckets of a year.
DAILY_WRITES, DAILY_ROWS, DAILY_HISTORY, DAILY_READS = 44, 2, 6, 163
HOUR_BUCKET, DAY_BUCKET, MONTH_BUCKET = 2122, 6947, 37_000  # bytes, 39 targets
HISTORY_DAY, SUMMARY = 360, 440  # bytes of a pair and day; of a pair and timeframe
# Looked through once a day for changes, of each pair: 400 days, so at most 14 months' items.
SEARCHED_MONTHS = 14
ITEM_OVERHEAD = 100  # bytes that DynamoDB adds to each item, and to each entry of an index
# A run of all sources: twice the 16.7 s (4.0 s of CPU) that `python -m bench.aggregation` took for
# 34 sources and 39 targets on a machine with five times as much to do as cores (November 2026).
AGGREGATOR_S = 33
# A probe's run beside its paced connects. Lookups and the last answers: what a sweep took beyond
# its pace at 256 MB (docs/method.md, "The size of the Lambda": 1.93 s for 200 connects 6.9 ms
# apart). Then the way home: TCP, TLS (two round trips at most), targets and write, each the mean
# round trip from the 34 regions to us-east-2 on the simulated planet, fitted to measured medians.
SWEEP_OVERHEAD_S = 1.93 - 200 * 0.0069
HOME_ROUND_TRIPS, HOME_RTT_S = 5, 0.132
# By how much a target that never answers lengthens a run, and each further one (docs/method.md).
SILENT_S, FURTHER_SILENT_S = 1.9, 0.1
CONNECT_BYTES = 240  # sent for a connect: SYN, ACK, FIN, ACK with their headers
WRITE_OVERHEAD = 3 * KB  # TLS and HTTP around a write
LAMBDA_LOG = 500  # bytes of START, END and REPORT, and what CloudWatch adds to a line
ALARMS, METRICS = 7, 5
# Of the site: its own alarms, and the two that its scaling makes by itself.
SITE_ALARMS, SCALING_ALARMS = 4, 2
IMAGES, IMAGE_BYTES = (
    10,
    60_000_000,
)  # kept in the registry; compressed, layers that are shared once
# What a site reads in a month, by frontend/snapshot.py: the states of all sources each minute, each
# row of the matrix six times an hour and when it changes, the keys of a day's runs every 15 min.
SITE_REFRESHES, SITE_ROW_READS, SITE_KEY_READS = (HOURS_A_MONTH * n for n in (60, 4 * 6 + 4, 4))
RUN_KEY = 100  # bytes of an entry of PingTest's index


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill: USD a month, and what it is made of."""

    service: str
    usd: float
    of: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be paid for: sources, targets, and a run every so many minutes."""

    regions: int
    minutes: int
    targets: int = len(CATALOGUE)
    attempts: int = 5
    months: int = 12
    silent: int = 0

    @property
    def runs(self) -> float:
        """Runs a month, of all sources."""
        return self.regions * HOURS_A_MONTH * 60 / self.minutes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cadence", type=_minutes, default=5, help="e.g. 5m or 6h (default 5m)")
    parser.add_argument(
        "--regions", type=terminal.whole(1, 100), default=34, help="sources (default 34)"
    )
    parser.add_argument(
        "--months",
        type=terminal.whole(1, 120),
        default=12,
        help="months of history that are stored (default 12)",
    )

    parser.add_argument(
        "--silent",
        type=terminal.whole(0, len(CATALOGUE)),
        default=0,
        help="targets that never answer, which makes every run longer (default 0)",
    )


def _minutes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([mh])", text)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not e.g. 5m or 6h")
    return int(found[1]) * (60 if found[2] == "h" else 1)


def run(args: argparse.Namespace) -> int:
    plan = Plan(args.regions, args.cadence, months=args.months, silent=args.silent)
    pipeline, site = list(pipeline_lines(plan)), list(site_lines(plan))
    print(f"{plan.regions} sources, {plan.targets} targets, a run every {plan.minutes} min\n")
    print(as_table(pipeline, "measuring and figures"))
    print()
    print(as_table(site, "front end"))
    return 0


def as_table(lines: Sequence[Line], total: str) -> str:
    rows = [(line.service, f"{line.usd:8.2f}", line.of) for line in lines]
    rows.append((f"sum of {total}", f"{sum(line.usd for line in lines):8.2f}", ""))
    return terminal.table(("service", "USD/month", ""), rows)


def pipeline_lines(plan: Plan) -> Iterator[Line]:
    """Everything but the site."""
    size, logged = run_bytes(plan)
    hours, days, sources = HOURS_A_MONTH, HOURS_A_MONTH / 24, plan.regions
    rolls = hours * sources
    units = ceil(size / KB) + 1  # and one for the index
    raw = plan.runs * units
    of_an_hour = max(1, ceil(plan.runs / sources / hours * size / (4 * KB)))
    raw_reads = rolls * of_an_hour
    figures: float = rolls * (AGGREGATOR_WRITES + ROWS_EACH_RUN * plan.targets)
    figures += days * sources * (DAILY_WRITES + (DAILY_ROWS + DAILY_HISTORY) * plan.targets)
    yield Line("DynamoDB writes, runs", raw * WRITE_IA, f"{plan.runs:,.0f} x {units} units")
    yield Line("DynamoDB writes, figures", figures * WRITE, f"{figures:,.0f} units")
    reads: float = rolls * AGGREGATOR_READS + days * sources * DAILY_READS
    reads += hours * len(CATALOGUE) + plan.runs  # states; a probe's look at its targets
    of = f"{reads + raw_reads:,.0f} units"
    yield Line("DynamoDB reads", reads * READ + raw_reads * READ_IA, of)
    a_pair = ceil(min(plan.months, SEARCHED_MONTHS) * days * HISTORY_DAY / (4 * KB)) / 2
    searched = days * sources * (plan.targets - 1) * a_pair
    yield Line("DynamoDB reads, changes", searched * READ, f"{searched:,.0f} units")
    runs_gb, figures_gb = stored_gb(plan)
    of = f"{runs_gb:.1f} GB of runs, {figures_gb:.1f} of figures after {plan.months} months"
    yield Line("DynamoDB storage", runs_gb * STORAGE_IA_GB + figures_gb * STORAGE_GB, of)
    yield Line("DynamoDB point-in-time recovery", (runs_gb + figures_gb) * BACKUP_GB, of)
    seconds = probe_s(plan)
    gb_s = plan.runs * seconds * PROBES.memory_mb / 1024
    price = (LAMBDA_GB_S + LAMBDA_GB_S_OPT_IN) / 2  # half of the 34 regions are to opt in to
    of = f"{plan.runs:,.0f} x {seconds:.1f} s x {PROBES.memory_mb} MB"
    yield Line("Lambda, probes", gb_s * price + plan.runs * LAMBDA_REQUEST, of)
    gb_s = hours * AGGREGATOR_S * AGGREGATOR.memory_mb / 1024
    of = f"{hours} x {AGGREGATOR_S} s x {AGGREGATOR.memory_mb} MB"
    yield Line("Lambda, aggregator and watch", gb_s * LAMBDA_GB_S, of)
    logs = plan.runs * (logged + LAMBDA_LOG) / GB
    kept = logs * LOG_RETENTION_DAYS / days * LOG_STORED_GB
    price = _mean(LOG_GB, LOG_GB_ELSEWHERE)
    yield Line("CloudWatch logs", logs * price + kept, f"{logs:.2f} GB")
    of = f"{METRICS} metrics, {ALARMS} alarms; the first three dashboards are free"
    yield Line("CloudWatch metrics and alarms", METRICS * METRIC + ALARMS * ALARM, of)
    connects = plan.runs * plan.targets * plan.attempts
    moved = (connects * CONNECT_BYTES + plan.runs * (logged + WRITE_OVERHEAD)) / GB
    price = _mean(TRANSFER_GB, TRANSFER_GB_ELSEWHERE)
    yield Line("Data transfer between regions", moved * price, f"{moved:.1f} GB")


def _mean(prices: Mapping[str, float], elsewhere: float) -> float:
    """A price over all commercial regions, each of which is a source."""
    regions = [place for place in CATALOGUE.values() if place.partition == "aws"]
    return sum(prices.get(place.geography, elsewhere) for place in regions) / len(regions)


def site_lines(plan: Plan) -> Iterator[Line]:
    """The site of infra/templates/frontend.yaml with one task and few visitors."""
    hours = HOURS_A_MONTH
    task = 0.5 * FARGATE_VCPU_H + 1 * FARGATE_GB_H
    yield Line("Fargate", hours * task, "one task of 0.5 vCPU and 1 GB")
    yield Line("Load balancer", hours * (BALANCER_H + 0.1 * BALANCER_UNIT_H), "0.1 LCU")
    yield Line(
        "Public IPv4 addresses", 3 * hours * ADDRESS_H, "two of the balancer, one of the task"
    )
    size, _ = run_bytes(plan)
    row = ceil(plan.targets * SUMMARY / (4 * KB)) / 2
    keys = ceil(24 * 60 / plan.minutes * RUN_KEY / (4 * KB)) / 2
    each = SITE_REFRESHES + SITE_ROW_READS * row + SITE_KEY_READS * keys
    reads = plan.regions * each + plan.runs * ceil(size / (4 * KB))
    yield Line("DynamoDB reads", reads * READ_IA, f"{reads:,.0f} units, a refresh each minute")
    alarms = SITE_ALARMS + SCALING_ALARMS
    of = f"{SITE_ALARMS} alarms, {SCALING_ALARMS} of the scaling"
    yield Line("CloudWatch alarms", alarms * ALARM, of)
    stored = IMAGES * IMAGE_BYTES / GB
    yield Line("Image storage", stored * IMAGE_GB, f"{IMAGES} images, {stored:.1f} GB")


def probe_s(plan: Plan) -> float:
    """How long a probe's run is billed for: its connects, a pace apart, and the rest."""
    silent = SILENT_S + (plan.silent - 1) * FURTHER_SILENT_S if plan.silent else 0.0
    connects = plan.targets * plan.attempts * pace_s(PROBES.memory_mb)
    return connects + silent + SWEEP_OVERHEAD_S + HOME_ROUND_TRIPS * HOME_RTT_S


def stored_gb(plan: Plan) -> tuple[float, float]:
    """(runs, figures) in the tables after so many months, indexes and overhead included."""
    size, _ = run_bytes(plan)
    share = plan.targets / len(CATALOGUE)
    raw = plan.runs * (size + 2 * ITEM_OVERHEAD + 60)  # 60: the keys again, in the index
    buckets = HOURS_A_MONTH * HOUR_BUCKET + HOURS_A_MONTH / 24 * DAY_BUCKET + MONTH_BUCKET
    history = plan.targets * HOURS_A_MONTH / 24 * HISTORY_DAY
    figures = plan.months * plan.regions * (buckets * share + history)
    figures += 4 * plan.regions * plan.targets * SUMMARY
    return plan.months * raw / GB, figures / GB


def run_bytes(plan: Plan) -> tuple[int, int]:
    """(bytes of a run's item by DynamoDB's rules, bytes of its line in the log)."""
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    made = Run(
        region="ap-southeast-2",
        timestamp=moment,
        partition="aws",
        interval_s=plan.minutes * 60,
        attempts_per_target=plan.attempts,
        method=METHOD_KERNEL,
        origin=ORIGIN_SIMULATED,
        results={
            code: TargetResult(
                host=CATALOGUE[code].endpoint,
                addresses=(planet.address(code),),
                dns_ms=12.34,
                attempts=planet.connects("ap-southeast-2", code, moment, plan.attempts),
            )
            for code in list(CATALOGUE)[: plan.targets]
        },
        memory_mb=PROBES.memory_mb,
        wall_ms=1234.5,
        cpu_ms=234.5,
        lateness_ms=12345.6,
        written_at=moment,
    )
    return item_bytes(runs.to_item(made)), len(runs.to_json(made))


def item_bytes(item: dict[str, Any]) -> int:
    """Size by the rules of DynamoDB's documentation, "Item sizes and formats"."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Any) -> int:
    match value:
        case None | bool():
            return 1
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case int() | Decimal():
            return ceil(len(Decimal(value).as_tuple().digits) / 2) + 1 + (value < 0)
        case dict():
            return 3 + sum(1 + len(k.encode()) + _value_bytes(v) for k, v in value.items())
        case _:
            return 3 + sum(1 + _value_bytes(entry) for entry in value)
