"""Measure from this machine to every region's endpoint, by real TCP connects to port 443.

Nothing is stored and no AWS account is used: the same measuring code as a probe's, run here. The
regions are sorted by their median; a region without a figure says why. Exits with 1 when no region
has a figure.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cloudping.errors import CloudPingError
from cloudping.regions import CATALOGUE, Region, region
from cloudping.runs import (
    LOSS_REASONS,
    METHOD_CONNECT,
    METHOD_KERNEL,
    NOT_MEASURED_REASONS,
    TargetResult,
)
from infra.commands import terminal

sys.path.append(str(Path(__file__).resolve().parents[2] / "probes"))  # as Lambda has it
from chalicelib.sweep import Plan, SweepResult, Target, measure

# Where the services of a partition listen on IPv6 (AWS General Reference, dual-stack endpoints).
_DUAL_STACK_SUFFIX = {
    "aws": "api.aws",
    "aws-cn": "api.amazonwebservices.com.cn",
    "aws-us-gov": "api.aws",
    "aws-eusc": "api.amazonwebservices.eu",
}
_METHODS = {
    METHOD_KERNEL: "the kernel's SYN round trip",
    METHOD_CONNECT: "user-space connect time, as there is no TCP_INFO here",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--attempts", type=terminal.whole(1, 100), default=5, help="connects to each region (5)"
    )
    parser.add_argument(
        "--timeout",
        type=terminal.real(0.1, 30),
        default=2.5,
        metavar="S",
        help="seconds for one connect (2.5)",
    )
    parser.add_argument(
        "--family", type=int, choices=(4, 6), default=4, help="IPv4 or IPv6, never both (4)"
    )
    parser.add_argument(
        "--regions", metavar="CODE,CODE", help="only these regions; default: the whole catalogue"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace, over_network: Callable[..., SweepResult] = measure) -> int:
    codes = [code.strip() for code in (args.regions or "").split(",") if code.strip()]
    chosen = [region(code) for code in codes or CATALOGUE]
    targets = {place.code: Target(endpoint(place, args.family)) for place in chosen}
    # Room for a region that never answers and for one whose name resolves slowly.
    deadline_s = 10 + args.attempts * (args.timeout + 1)
    measured = over_network(targets, Plan(args.attempts, args.timeout, deadline_s, 0, args.family))
    rows = sorted(
        (row(code, result, measured) for code, result in measured.results.items()),
        key=lambda row: (row.median_ms is None, row.median_ms, row.code),
    )
    print(as_json(rows, measured, args.family) if args.json else as_table(rows, measured, args))
    if all(row.median_ms is None for row in rows):
        raise CloudPingError(f"none of {len(rows)} regions answered; is there a way out on 443?")
    return 0


def endpoint(place: Region, family: int) -> str:
    """The host that stands for a region: DynamoDB's endpoint, by name of its address family."""
    if family == 6:
        return f"dynamodb.{place.code}.{_DUAL_STACK_SUFFIX[place.partition]}"
    return place.endpoint


@dataclass(frozen=True, slots=True)
class Row:
    """One region's figures in ms, None where there is none; `why` counts what failed."""

    code: str
    host: str
    addresses: tuple[str, ...]
    dns_ms: float | None
    median_ms: float | None
    min_ms: float | None
    max_ms: float | None
    loss_pct: float | None
    why: str


def row(code: str, result: TargetResult, measured: SweepResult) -> Row:
    latencies = [a.latency_ms for a in result.attempts if a.latency_ms is not None]
    reasons = Counter(a.reason for a in result.attempts if a.reason is not None)
    tried = len(result.attempts) - sum(reasons[reason] for reason in NOT_MEASURED_REASONS)
    lost = sum(reasons[reason] for reason in LOSS_REASONS)
    why = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    if code in measured.dns_errors:
        why = f"dns_error: {result.host}: {measured.dns_errors[code]}"
    return Row(
        code=code,
        host=result.host,
        addresses=result.addresses,
        dns_ms=result.dns_ms,
        median_ms=median(latencies) if latencies else None,
        min_ms=min(latencies, default=None),
        max_ms=max(latencies, default=None),
        loss_pct=100 * lost / tried if tried else None,
        why=why,
    )


def as_json(rows: Sequence[Row], measured: SweepResult, family: int) -> str:
    def figures(row: Row) -> Mapping[str, Any]:
        result = measured.results[row.code]
        return {
            "region": row.code,
            "region_name": CATALOGUE[row.code].name,
            "host": row.host,
            "addresses": row.addresses,
            "dns_ms": _rounded(row.dns_ms),
            "median_ms": _rounded(row.median_ms),
            "min_ms": _rounded(row.min_ms),
            "max_ms": _rounded(row.max_ms),
            "loss_pct": _rounded(row.loss_pct),
            "why": row.why or None,
            "attempts_ms": [_rounded(a.latency_ms) for a in result.attempts],
        }

    return json.dumps(
        {
            "measured_at": measured.started_at.isoformat(timespec="milliseconds"),
            "method": measured.method,
            "family": f"IPv{family}",
            "unit": "milliseconds",
            "regions": [figures(row) for row in rows],
        },
        indent=2,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_table(rows: Sequence[Row], measured: SweepResult, args: argparse.Namespace) -> str:
    heads = ("region", "name", "median", "min", "max", "loss", "address", "")
    cells = [
        (
            row.code,
            CATALOGUE[row.code].name,
            _cell(row.median_ms),
            _cell(row.min_ms),
            _cell(row.max_ms),
            "-" if row.loss_pct is None else f"{row.loss_pct:.0f} %",
            ", ".join(row.addresses) or "-",
            row.why,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (heads, *cells)) for column in range(len(heads))]
    lines = [
        "  ".join(
            text.rjust(width) if 2 <= column <= 5 else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (heads, *cells)
    ]
    how = (
        f"ms over IPv{args.family}, {args.attempts} connects each; "
        f"{measured.method}: {_METHODS[measured.method]}"
    )
    return "\n".join([*lines, how])


def _cell(value_ms: float | None) -> str:
    return "-" if value_ms is None else f"{value_ms:.2f}"
