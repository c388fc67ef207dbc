"""JSON with all percentiles, CSV as a matrix and as rows, and triples `A B 128ms`."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Final

from frontend.api.export.selection import ONE_WAY, ROUND_TRIP, Selection, p50, percentiles

PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.9)


def all_percentiles(selection: Selection) -> str:
    """For programs that would ask percentile by percentile; `one_way_ms` is half, a quantile at a
    time: exact where both ways take the same."""
    data = []
    for a, b, found in selection.pairs():
        values = percentiles(found, PERCENTILES)
        names = [f"p_{p:g}" for p in PERCENTILES]
        data.append(
            {
                "region_from": a,
                "region_to": b,
                "samples": found.samples,
                "loss_pct": round(found.loss_pct, 6),
                "round_trip_ms": dict(zip(names, values.round(3).tolist(), strict=True)),
                "one_way_ms": dict(zip(names, (values / 2).round(3).tolist(), strict=True)),
            }
        )
    about = selection.about(f"{ROUND_TRIP}, and {ONE_WAY}")
    return json.dumps({"metadata": about, "regions": selection.regions, "data": data}, indent=1)


def matrix(selection: Selection) -> str:
    """Median round trips, a row a source; an empty cell where there is none."""
    rows: list[list[Any]] = [["from \\ to, p50 ms", *selection.regions]]
    for a in selection.regions:
        cells = [selection.pair(a, b) for b in selection.regions]
        rows.append([a, *("" if found is None else p50(found) for found in cells)])
    return _csv(selection, rows)


def rows(selection: Selection) -> str:
    """A row a pair: n, loss and percentiles of the round trip."""
    found: list[list[Any]] = [
        [
            "region_from",
            "region_to",
            "samples",
            "loss_pct",
            *(f"rtt_p_{p:g}_ms" for p in PERCENTILES),
        ]
    ]
    for a, b, pair in selection.pairs():
        values = percentiles(pair, PERCENTILES).round(3).tolist()
        found.append([a, b, pair.samples, round(pair.loss_pct, 6), *values])
    return _csv(selection, found)


def triples(selection: Selection) -> str:
    """`us-east-1 eu-west-1 68.2ms`: median round trips."""
    lines = [f"# {line}" for line in selection.lines(f"{ROUND_TRIP}, p50")]
    lines += [f"{a} {b} {p50(found):g}ms" for a, b, found in selection.pairs() if a != b]
    return "\n".join(lines) + "\n"


def _csv(selection: Selection, rows: Iterable[list[Any]]) -> str:
    out = io.StringIO()
    for line in selection.lines(ROUND_TRIP):
        out.write(f"# {line}\n")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
