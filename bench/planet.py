"""How true the simulated planet is: `python -m bench.planet measured.csv` holds it against one.

The file has the columns `source,target,p50_ms,p90_ms`, a line a directed pair. What its way of
measuring adds to every figure (name lookup, a slow runtime) is given as --overhead-ms and taken
off first. The planet's figures are percentiles of single connects over a year of hourly runs.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cloudping import planet
from cloudping.regions import CATALOGUE, fibre_rtt_ms, rtt_floor_ms
from cloudping.times import utc_now

ATTEMPTS: Final = 5
MARKED_RELAY_MS: Final = 10.0
MARKED_DIFFERENCE_MS: Final = 5.0

BANDS_MS: Final = (0, 20, 50, 100, 150, 200, 250, 300, 1000)
PAIR: Final = ["source", "target"]  # the index of a matrix, which is a row a directed pair
PERCENTILES: Final = ["p50_ms", "p90_ms"]  # its columns


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


def read(path: Path, overhead_ms: float) -> pd.DataFrame:
    """The measured matrix; raises MatrixError with the line that makes no sense."""
    try:
        file = pd.read_csv(
            path, dtype=str, keep_default_na=False, na_values=[""], skip_blank_lines=False
        )
    except (OSError, ValueError) as error:  # all of pandas's own are ValueErrors
        raise MatrixError(f"{path}: {str(error).strip()}") from error
    if missing := {*PAIR, *PERCENTILES} - set(file.columns):
        raise MatrixError(f"{path}: no column {', '.join(sorted(missing))}")
    file.index += 2  # is now the number of the line
    file = file.dropna(how="all")
    for name in PAIR:
        for line, code in file.loc[~file[name].isin(CATALOGUE), name].items():
            raise MatrixError(f"{path}:{line}: no region {code!r}")
    for line, (source, target) in file.loc[file.duplicated(PAIR), PAIR].iterrows():
        raise MatrixError(f"{path}:{line}: {source} to {target} for a second time")
    figures = file[PERCENTILES].apply(pd.to_numeric, errors="coerce") - overhead_ms
    p50, p90 = (figures[name] for name in PERCENTILES)
    is_pair = file["source"] != file["target"]
    is_wrong = figures.isna().any(axis=1) | (is_pair & ~((p50 > 0) & (p50 <= p90)))
    for line, values in file.loc[is_wrong, PERCENTILES].iterrows():
        raise MatrixError(
            f"{path}:{line}: P50 {values['p50_ms']} and P90 {values['p90_ms']} ms, "
            f"less {overhead_ms:g} ms, are not a positive pair in this order"
        )
    if not is_pair.any():
        raise MatrixError(f"{path}: no pairs")
    return figures.set_index(pd.MultiIndex.from_frame(file[PAIR]))


def simulated(
    pairs: Iterable[tuple[str, str]], end: datetime, seed: int = 0, hours: int = 1
) -> pd.DataFrame:
    """The planet's P50 and P90 of these pairs over the year to `end`, a run every few hours."""
    last = int(end.timestamp()) // 60
    minutes = np.arange(last - int(timedelta(days=365) / timedelta(minutes=1)), last, 60 * hours)
    return matrix(
        {
            pair: np.nanpercentile(planet.latencies_ms(*pair, minutes, ATTEMPTS, seed), (50, 90))
            for pair in pairs
        }
    )


def matrix(figures: Mapping[tuple[str, str], Sequence[float]]) -> pd.DataFrame:
    """Of P50 and P90 by pair."""
    index = pd.MultiIndex.from_tuples(figures, names=PAIR)
    return pd.DataFrame(list(figures.values()), index, PERCENTILES)


def between_regions(figures: pd.DataFrame) -> pd.DataFrame:
    """Without the regions to themselves."""
    source, target = (figures.index.get_level_values(name) for name in PAIR)
    return figures[source != target]


def shape(figures: pd.DataFrame) -> Shape:
    codes = sorted({code for pair in figures.index for code in pair})
    square = figures.unstack().reindex(index=codes)
    p50, p90 = (square[name].reindex(columns=codes).to_numpy() for name in PERCENTILES)
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


def compared(made: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Both P50s of each pair that was measured, furthest off first; `off` is a share of that."""
    pairs = between_regions(measured)["p50_ms"].to_frame("measured").assign(made=made["p50_ms"])
    pairs["off"] = pairs["made"] / pairs["measured"] - 1
    return pairs.sort_values("off", key=abs, ascending=False, kind="stable")


def error(made: pd.DataFrame, measured: pd.DataFrame) -> Error:
    off = compared(made, measured)["off"]
    return Error(
        median=float(off.abs().median()),
        p90=float(off.abs().quantile(0.9)),
        bias=float(off.median()),
    )


def spread(figures: pd.DataFrame) -> pd.DataFrame:
    """By bands of P50: `size`, the number of pairs in it, and the `median` of P90 - P50."""
    pairs = between_regions(figures)
    bands = pd.cut(pairs["p50_ms"], BANDS_MS, right=False)
    tails = (pairs["p90_ms"] - pairs["p50_ms"]).groupby(bands, observed=True)
    return tails.agg(["size", "median"])


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
    made = simulated(measured.index, end, args.seed)
    found = error(made, measured)
    print(f"error of P50: median {found.median:.1%}, P90 {found.p90:.1%}, bias {found.bias:+.1%}\n")
    columns = {
        "file": read(args.measured, 0.0),
        f"less {args.overhead_ms:g} ms": measured,
        "planet": made,
    }
    shapes = pd.DataFrame({title: asdict(shape(figures)) for title, figures in columns.items()})
    print(shapes.to_string(float_format="{:.5g}".format))
    for title, figures in (("measured", measured), ("planet", made)):
        print(f"\n{title}: P90 - P50 by P50, median")
        for band, tails in spread(figures).iterrows():
            span = f"{band.left} to {band.right} ms"
            print(f"{span:>16}{tails['size']:6.0f}{tails['median']:8.1f} ms")
    print("\nfurthest off")
    for (source, target), pair in compared(made, measured).head(args.worst).iterrows():
        print(
            f"{source:>16} {target:16}{pair['measured']:8.1f}{pair['made']:8.1f} ms"
            f"{pair['off']:+8.0%}"
        )


if __name__ == "__main__":
    main()
