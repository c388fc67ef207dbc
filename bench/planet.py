"""How true the simulated planet is: `python -m bench.planet measured.csv` holds it against one.

The file has the columns `source,target,p50_ms,p90_ms`, a line a directed pair. What its way of
measuring adds to every figure (name lookup, a slow runtime) is given as --overhead-ms and taken
off first. The planet's figures are percentiles of single connects over a year of hourly runs.
"""

import argparse
import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from cloudping import planet
from cloudping.regions import CATALOGUE, fibre_rtt_ms, rtt_floor_ms
from cloudping.times import utc_now

ATTEMPTS: Final = 5
MARKED_RELAY_MS: Final = 10.0
MARKED_DIFFERENCE_MS: Final = 5.0

Pair = tuple[str, str]
Matrix = Mapping[Pair, tuple[float, float]]  # (P50, P90) in ms


class MatrixError(Exception):
    """A file that is not a matrix of round trips."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a matrix looks like, regions to themselves left out; counts are of directed pairs."""

    pairs: int
    relays: int  # a third region makes a faster sum of two legs
    relays_over_10_ms: int
    fibre_ratio_p10: float  # P50 over light in fibre along the great circle
    fibre_ratio_p50: float
    fibre_ratio_p90: float
    directions_over_5_ms: int  # pairs, not directed ones, whose P50 differs by direction
    p90_over_p50: float  # median
    below_floor: int


@dataclass(frozen=True, slots=True)
class Error:
    """How far P50s are from the measured ones, as a share of these."""

    median: float
    p90: float
    bias: float  # median with its sign


def read(path: Path, overhead_ms: float) -> dict[Pair, tuple[float, float]]:
    """The measured matrix; raises MatrixError with the line that makes no sense."""
    found: dict[Pair, tuple[float, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            missing = {"source", "target", "p50_ms", "p90_ms"} - set(lines.fieldnames or ())
            if missing:
                raise MatrixError(f"{path}: no column {', '.join(sorted(missing))}")
            for line in lines:
                pair = (line["source"], line["target"])
                for code in pair:
                    if code not in CATALOGUE:
                        raise MatrixError(f"{path}:{lines.line_num}: no region {code!r}")
                p50, p90 = (float(line[name]) - overhead_ms for name in ("p50_ms", "p90_ms"))
                if pair[0] != pair[1] and not 0 < p50 <= p90:
                    raise MatrixError(
                        f"{path}:{lines.line_num}: P50 {p50:g} and P90 {p90:g} ms, "
                        f"less {overhead_ms:g} ms, are not a positive pair in this order"
                    )
                found[pair] = (p50, p90)
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise MatrixError(f"{path}: {error}") from error
    if not any(a != b for a, b in found):
        raise MatrixError(f"{path}: no pairs")
    return found


def simulated(
    pairs: Mapping[Pair, Any], end: datetime, seed: int = 0, hours: int = 1
) -> dict[Pair, tuple[float, float]]:
    """The planet's P50 and P90 of these pairs over the year to `end`, a run every few hours."""
    last = int(end.timestamp()) // 60
    minutes = np.arange(last - int(timedelta(days=365) / timedelta(minutes=1)), last, 60 * hours)
    found = {}
    for source, target in pairs:
        latencies = planet.latencies_ms(source, target, minutes, ATTEMPTS, seed)
        p50, p90 = np.nanpercentile(latencies, (50, 90))
        found[source, target] = (float(p50), float(p90))
    return found


def shape(matrix: Matrix) -> Shape:
    p50, p90 = _array(matrix, 0), _array(matrix, 1)
    codes = _codes(matrix)
    fibre = np.array([[fibre_rtt_ms(CATALOGUE[a], CATALOGUE[b]) for b in codes] for a in codes])
    floor = np.array([[rtt_floor_ms(a, b) for b in codes] for a in codes])
    other = ~np.eye(len(codes), dtype=bool) & ~np.isnan(p50)
    # NaN where there is no pair: it takes part in no comparison.
    legs = p50 + np.where(np.eye(len(codes), dtype=bool), np.nan, 0)
    via = np.stack([legs[:, [k]] + legs[[k], :] for k in range(len(codes))])
    best = np.min(np.where(np.isnan(via), np.inf, via), axis=0)
    gain = np.where(other, p50 - best, -np.inf)
    apart = other & (fibre > 0)
    ratio = np.percentile(p50[apart] / fibre[apart], (10, 50, 90))
    differ = np.abs(p50 - p50.T)[np.triu_indices(len(codes), 1)]
    return Shape(
        pairs=int(other.sum()),
        relays=int((gain > 0).sum()),
        relays_over_10_ms=int((gain > MARKED_RELAY_MS).sum()),
        fibre_ratio_p10=float(ratio[0]),
        fibre_ratio_p50=float(ratio[1]),
        fibre_ratio_p90=float(ratio[2]),
        directions_over_5_ms=int((differ > MARKED_DIFFERENCE_MS).sum()),
        p90_over_p50=float(np.median((p90 / p50)[other])),
        below_floor=int((p50 < floor)[other].sum()),
    )


def error(matrix: Matrix, measured: Matrix) -> Error:
    pairs = [pair for pair in measured if pair[0] != pair[1]]
    off = np.array([matrix[pair][0] / measured[pair][0] - 1 for pair in pairs])
    return Error(
        median=float(np.median(np.abs(off))),
        p90=float(np.percentile(np.abs(off), 90)),
        bias=float(np.median(off)),
    )


def _codes(matrix: Matrix) -> list[str]:
    return sorted({code for pair in matrix for code in pair})


def _array(matrix: Matrix, which: int) -> Any:
    codes = _codes(matrix)
    nothing = (np.nan, np.nan)
    return np.array([[matrix.get((a, b), nothing)[which] for b in codes] for a in codes])


def _spread(matrix: Matrix) -> list[tuple[str, int, float]]:
    """(P50 from and to, pairs, median of P90 - P50) by distance."""
    edges = (0, 20, 50, 100, 150, 200, 250, 300, 1000)
    found = []
    for low, high in pairwise(edges):
        parts = [b - a for (s, t), (a, b) in matrix.items() if s != t and low <= a < high]
        if parts:
            found.append((f"{low} to {high} ms", len(parts), float(np.median(parts))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.planet", description=__doc__)
    parser.add_argument("measured", type=Path, help="CSV: source,target,p50_ms,p90_ms")
    parser.add_argument("--overhead-ms", type=float, default=3.2, help="taken off first (3.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the planet (0)")
    parser.add_argument("--until", type=datetime.fromisoformat, help="end of the year (now)")
    parser.add_argument("--worst", type=int, default=10, help="how many pairs to name (10)")
    args = parser.parse_args()
    try:
        measured = read(args.measured, args.overhead_ms)
    except MatrixError as failure:
        parser.exit(1, f"{failure}\n")
    end = args.until.replace(tzinfo=args.until.tzinfo or UTC) if args.until else utc_now()
    made = simulated(measured, end, args.seed)
    found = error(made, measured)
    print(f"error of P50: median {found.median:.1%}, P90 {found.p90:.1%}, bias {found.bias:+.1%}\n")
    print(f"{'':24}{'file':>12}{f'less {args.overhead_ms:g} ms':>14}{'planet':>12}")
    columns = [shape(matrix) for matrix in (read(args.measured, 0.0), measured, made)]
    for name in (field.name for field in fields(Shape)):
        file, less, ours = (getattr(column, name) for column in columns)
        print(f"{name:24}{file:12.5g}{less:14.5g}{ours:12.5g}")
    for title, matrix in (("measured", measured), ("planet", made)):
        print(f"\n{title}: P90 - P50 by P50, median")
        for span, count, median in _spread(matrix):
            print(f"{span:>16}{count:6}{median:8.1f} ms")
    print("\nfurthest off")
    pairs = [pair for pair in measured if pair[0] != pair[1]]
    off = {pair: made[pair][0] / measured[pair][0] - 1 for pair in pairs}
    for pair in sorted(pairs, key=lambda pair: -abs(off[pair]))[: args.worst]:
        print(
            f"{pair[0]:>16} {pair[1]:16}{measured[pair][0]:8.1f}{made[pair][0]:8.1f} ms"
            f"{off[pair]:+8.0%}"
        )


if __name__ == "__main__":
    main()
