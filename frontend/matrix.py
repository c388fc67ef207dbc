"""The matrix: the figures of all pairs, chosen, filtered, ordered and grouped; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloudping.regions import Region, fibre_rtt_ms
from cloudping.summaries import Figures, Summary
from frontend.figures import Metric, milliseconds, percent
from frontend.now import NOW
from frontend.snapshot import Pair, Snapshot
from frontend.status import sources

ORDERS: Final = ("name", "code", "proximity")
GROUPS: Final = ("geography", "partition", "none")
THIN_COVERAGE_PCT: Final = 80.0
TYPICAL_STRETCH: Final = 1.5  # of a path against the great circle; used only to order regions
PARTITION_NAMES: Final = {
    "aws": "Commercial",
    "aws-cn": "China",
    "aws-us-gov": "GovCloud",
    "aws-eusc": "European Sovereign Cloud",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What an address of the matrix asks for."""

    metric: Metric
    frame: str
    order: str = "name"
    group: str = "geography"
    rows: str = ""
    columns: str = ""
    within: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A region as a row's or column's header."""

    code: str
    short: str
    name: str
    starts_group: bool
    state: str = "ok"


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair: its class names, text and the title that says n, coverage, loss and freshness."""

    to: str
    css: str
    text: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    head: Head
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Step:
    """One colour of the legend and the values it stands for."""

    css: str
    label: str


@dataclass(frozen=True, slots=True)
class MatrixView:
    """All that the matrix template shows."""

    choice: Choice
    columns: list[Head]
    column_groups: list[tuple[str, int]]
    row_groups: list[tuple[str, list[Row]]]
    legend: list[Step]
    pairs: int
    measured: int
    meeting: int | None
    window: tuple[datetime, datetime] | None
    updated_at: datetime | None


def short_name(region: Region) -> str:
    """`N. Virginia` for "US East (N. Virginia)"; longer where that alone says too little."""
    head, _, inner = region.name.rstrip(")").partition(" (")
    if not inner:
        return region.name
    if inner == "Central":
        return f"{head} {inner}"
    head = head.removeprefix("AWS ").replace("European Sovereign Cloud", "EUSC")
    return f"{head} {inner}" if region.partition in ("aws-us-gov", "aws-eusc") else inner


def matches(region: Region, text: str) -> bool:
    """True when one of the comma-separated words is part of the region's code, name or group.

    A word that is exactly a code, geography or partition means just that.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    exact = {
        region.code,
        region.partition,
        region.geography.lower(),
        PARTITION_NAMES.get(region.partition, "").lower(),
    }
    inside = f"{region.code} {region.name} {region.place}".lower()
    return not words or any(
        word in exact or (word not in _GROUP_WORDS and word in inside) for word in words
    )


_GROUP_WORDS: Final = frozenset({*PARTITION_NAMES, *map(str.lower, PARTITION_NAMES.values())})


def axes(snapshot: Snapshot, choice: Choice) -> tuple[list[Region], list[Region]]:
    """The regions of rows and columns: sources and targets, and whatever has figures."""
    regions = snapshot.regions
    cells = snapshot.cells.get(choice.frame, {})
    sources = {s.region.code for s in snapshot.sources} | {pair[0] for pair in cells}
    targets = {s.region.code for s in snapshot.targets} | {pair[1] for pair in cells}
    known = [regions[code] for code in sorted(sources | targets) if code in regions]
    rank = _ranking(known, choice, snapshot)
    ordered = sorted(known, key=lambda region: rank[region.code])
    return (
        [r for r in ordered if r.code in sources and matches(r, choice.rows)],
        [r for r in ordered if r.code in targets and matches(r, choice.columns)],
    )


def group_of(region: Region, grouping: str) -> str:
    if grouping == "geography":
        return region.geography
    if grouping == "partition":
        return PARTITION_NAMES.get(region.partition, region.partition)
    return ""


def _ranking(known: list[Region], choice: Choice, snapshot: Snapshot) -> dict[str, tuple[str, int]]:
    match choice.order:
        case "proximity":
            ordered = by_proximity(known, snapshot.cells.get(choice.frame, {}))
        case "name":
            ordered = sorted(known, key=lambda region: (short_name(region).lower(), region.code))
        case _:
            ordered = sorted(known, key=lambda region: region.code)
    if choice.order == "proximity":
        # Groups follow each other as their first regions do, so that neighbours stay together.
        first: dict[str, str] = {}
        for position, region in enumerate(ordered):
            first.setdefault(group_of(region, choice.group), f"{position:04d}")
        return {
            region.code: (first[group_of(region, choice.group)], position)
            for position, region in enumerate(ordered)
        }
    return {
        region.code: (group_of(region, choice.group), position)
        for position, region in enumerate(ordered)
    }


def by_proximity(regions: list[Region], cells: Mapping[Pair, Summary]) -> list[Region]:
    """The regions along a short path through their round trips, so that near ones stand together.

    The round trip of two is the mean of both directions' p50; where there is none, light
    in fibre times a typical stretch. Nearest neighbour first, then 2-opt until nothing improves.
    """
    if len(regions) < 3:
        return list(regions)

    def apart_ms(a: Region, b: Region) -> float:
        found = [
            cells[pair].figures.percentiles[50]
            for pair in ((a.code, b.code), (b.code, a.code))
            if pair in cells and 50 in cells[pair].figures.percentiles
        ]
        return sum(found) / len(found) if found else TYPICAL_STRETCH * fibre_rtt_ms(a, b)

    apart = [[apart_ms(a, b) if a is not b else 0.0 for b in regions] for a in regions]
    # Start at the region that is farthest from all others: a path should begin at an end.
    path = [max(range(len(regions)), key=lambda i: sum(apart[i]))]
    rest = set(range(len(regions))) - set(path)
    while rest:
        path.append(min(rest, key=lambda i: (apart[path[-1]][i], i)))
        rest.remove(path[-1])
    improved = True
    while improved:
        improved = False
        for i in range(1, len(path) - 1):
            for j in range(i + 1, len(path)):
                before = apart[path[i - 1]][path[i]]
                after = apart[path[i - 1]][path[j]]
                if j + 1 < len(path):
                    before += apart[path[j]][path[j + 1]]
                    after += apart[path[i]][path[j + 1]]
                if after < before - 1e-9:
                    path[i : j + 1] = path[i : j + 1][::-1]
                    improved = True
    return [regions[i] for i in path]


def stale_after(frame: str, interval_s: int, aggregator_interval_s: int) -> timedelta:
    """How old the newest sample of a cell may be before the cell counts as stale.

    `now` follows the runs; 1D and 1W are renewed at each run of the aggregator; 1M and 1Y once a
    day. Two missed rounds are allowed.
    """
    probe = timedelta(seconds=2 * max(interval_s, 60) + 60)
    if frame == NOW:
        return probe
    rollup = timedelta(seconds=2 * aggregator_interval_s)
    return probe + (rollup if frame in ("1D", "1W") else max(rollup, timedelta(days=2)))


def build(
    snapshot: Snapshot, choice: Choice, now: datetime, aggregator_interval_s: int
) -> MatrixView:
    """The view of one address on one snapshot."""
    rows, columns = axes(snapshot, choice)
    cells = snapshot.cells.get(choice.frame, {})
    states = {source.code: source.state for source in sources(snapshot, now)}
    intervals = {state.region.code: state.interval_s for state in snapshot.states}
    short = {region.code: short_name(region) for region in {*rows, *columns}}
    groups: list[tuple[str, list[Row]]] = []
    starts = _group_starts(columns, choice.group)
    meeting = 0
    for region, first in zip(rows, _group_starts(rows, choice.group), strict=True):
        oldest = now - stale_after(
            choice.frame, intervals.get(region.code, 0), aggregator_interval_s
        )
        made = []
        for column, edge in zip(columns, starts, strict=True):
            summary = cells.get((region.code, column.code))
            cell, meets = _cell(region.code, column.code, summary, choice, oldest, edge)
            meeting += meets
            made.append(cell)
        head = Head(
            region.code,
            short[region.code],
            region.name,
            first,
            states.get(region.code, "ok"),
        )
        row = Row(head, made)
        if first or not groups:
            groups.append((group_of(region, choice.group), []))
        groups[-1][1].append(row)
    shown = [
        cells[pair] for pair in ((r.code, c.code) for r in rows for c in columns) if pair in cells
    ]
    return MatrixView(
        choice=choice,
        columns=[
            Head(region.code, short[region.code], region.name, edge)
            for region, edge in zip(columns, starts, strict=True)
        ],
        column_groups=_group_spans(columns, choice.group),
        row_groups=groups,
        legend=legend(choice.metric),
        pairs=len(rows) * len(columns),
        measured=sum(cell.figures.samples > 0 for cell in shown),
        meeting=None if choice.within is None else meeting,
        window=(min(c.window_start for c in shown), max(c.window_end for c in shown))
        if shown
        else None,
        updated_at=max((c.updated_at for c in shown), default=None),
    )


def _group_starts(regions: list[Region], grouping: str) -> list[bool]:
    groups = [group_of(region, grouping) for region in regions]
    return [i > 0 and groups[i - 1] != group for i, group in enumerate(groups)]


def _group_spans(regions: list[Region], grouping: str) -> list[tuple[str, int]]:
    spans: list[tuple[str, int]] = []
    for region in regions:
        group = group_of(region, grouping)
        if spans and spans[-1][0] == group:
            spans[-1] = (group, spans[-1][1] + 1)
        else:
            spans.append((group, 1))
    return spans


def _cell(
    source: str, target: str, summary: Summary | None, choice: Choice, oldest: datetime, edge: bool
) -> tuple[Cell, bool]:
    names = ["e"] if edge else []
    if source == target:
        names.append("self")
    if summary is None:
        return Cell(target, " ".join(["none", *names]), "·", "no data"), False
    figures = summary.figures
    value = choice.metric.value(figures)
    if value is None:
        lost = figures.samples == 0 and (figures.loss_pct or 0) > 0
        names.insert(0, "lost" if lost else "none")
        text = "✕" if lost else "·"
    else:
        names.insert(0, f"s{choice.metric.step(value)}")
        text = choice.metric.text(value)
    if figures.last_sample is None or figures.last_sample < oldest:
        names.append("stale")
    if value is None or (figures.coverage_pct or 0) < THIN_COVERAGE_PCT:
        names.append("thin")
    meets = False
    if choice.within is not None and value is not None:
        meets = value <= choice.within
        names.append("ok" if meets else "no")
    return Cell(target, " ".join(names), text, _title(figures, value, choice.metric)), meets


def _title(figures: Figures, value: float | None, metric: Metric) -> str:
    if value is not None:
        unit = metric.unit
        said = f"{value:.2f} {unit}" if unit == "ms" else f"{metric.text(value)} {unit}"
    elif figures.samples == 0:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(figures.failures.items()))
        said = f"no answer: {reasons}" if reasons else "no data"
    else:
        said = f"too few samples for {metric.label}"
    parts = [said, f"n {figures.samples:,}"]
    if figures.coverage_pct is not None:
        parts.append(f"coverage {percent(min(figures.coverage_pct, 100.0))} %")
    if figures.loss_pct is not None:
        parts.append(f"loss {percent(figures.loss_pct)} %")
    if figures.last_sample is not None:
        parts.append(f"last {figures.last_sample:%d %b %H:%M}")
    return " · ".join(parts)


def legend(metric: Metric) -> list[Step]:
    """The scale's steps with their bounds."""
    write = percent if metric.unit == "%" else _bound
    best = write(metric.steps[0])
    labels = [best if best == "0" else f"≤ {best}", *map(write, metric.steps[1:])]
    return [
        *(Step(f"s{i}", label) for i, label in enumerate(labels)),
        Step(f"s{len(labels)}", f"> {write(metric.steps[-1])}"),
    ]


def _bound(value: float) -> str:
    return f"{value:g}" if value >= 1 else milliseconds(value).rstrip("0")
