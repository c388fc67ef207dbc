"""The matrix: the figures of all pairs, chosen, filtered, ordered and grouped; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloudping.regions import Region
from cloudping.summaries import Figures, Summary
from frontend.data.now import NOW
from frontend.data.snapshot import Snapshot
from frontend.views.figures import LOST, Metric, is_lost, is_mixed, milliseconds, percent
from frontend.views.lookup import matches, short_name
from frontend.views.order import group_of, ordered
from frontend.views.status import sources

THIN_COVERAGE_PCT: Final = 80.0


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
    pairs_meeting: int
    window: tuple[datetime, datetime] | None
    is_mixed: bool


def axes(snapshot: Snapshot, choice: Choice) -> tuple[list[Region], list[Region]]:
    """The regions of rows and columns: sources and targets, and whatever has figures."""
    regions = snapshot.regions
    cells = snapshot.cells.get(choice.frame, {})
    sources = {s.region.code for s in snapshot.sources} | {pair[0] for pair in cells}
    targets = {s.region.code for s in snapshot.targets} | {pair[1] for pair in cells}
    known = [regions[code] for code in sorted(sources | targets) if code in regions]
    placed = ordered(known, choice.order, choice.group, cells)
    return (
        [r for r in placed if r.code in sources and matches(r, choice.rows)],
        [r for r in placed if r.code in targets and matches(r, choice.columns)],
    )


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
    meeting = to_itself = 0
    for region, first in zip(rows, _group_starts(rows, choice.group), strict=True):
        oldest = now - stale_after(
            choice.frame, intervals.get(region.code, 0), aggregator_interval_s
        )
        made = []
        for column, edge in zip(columns, starts, strict=True):
            summary = cells.get((region.code, column.code))
            cell, meets = _cell(region.code, column.code, summary, choice, oldest, edge)
            meeting += meets
            to_itself += meets and region == column
            made.append(cell)
        head = Head(
            region.code,
            short[region.code],
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
            Head(region.code, short[region.code], edge)
            for region, edge in zip(columns, starts, strict=True)
        ],
        column_groups=_group_spans(columns, choice.group),
        row_groups=groups,
        legend=legend(choice.metric),
        pairs=len(rows) * len(columns),
        measured=sum(choice.metric.value(cell.figures) is not None for cell in shown),
        meeting=None if choice.within is None else meeting,
        pairs_meeting=meeting - to_itself,
        window=(min(c.window_start for c in shown), max(c.window_end for c in shown))
        if shown
        else None,
        is_mixed=any(is_mixed(cell.figures) for cell in shown),
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
        lost = is_lost(figures)
        names.insert(0, "lost" if lost else "none")
        text = LOST if lost else "·"
    else:
        names.insert(0, choice.metric.css(figures))
        text = choice.metric.text(value)
        if choice.within is not None:
            text = choice.metric.deciding(value, choice.within)
    if figures.last_sample is None or figures.last_sample < oldest:
        names.append("stale")
    if (figures.coverage_pct or 0) < THIN_COVERAGE_PCT:
        names.append("thin")
    if is_mixed(figures):
        names.append("mixed")
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
        said = f"too few samples for a {metric.label}"
    parts = [said, f"n {figures.samples:,}"]
    if figures.coverage_pct is not None:
        parts.append(f"coverage {percent(min(figures.coverage_pct, 100.0))} %")
    if figures.loss_pct is not None:
        parts.append(f"loss {percent(figures.loss_pct)} %")
    if is_mixed(figures):
        parts.append(f"mixed: {', '.join(figures.methods)}")
    if figures.last_sample is not None:
        parts.append(f"last {figures.last_sample:%d %b %Y %H:%M}")
    return " · ".join(parts)


def legend(metric: Metric) -> list[Step]:
    """The scale's steps with their bounds."""
    write = percent if metric.unit == "%" else _bound
    best = write(metric.steps[0])
    labels = [best if best == "0" else f"≤ {best}", *map(write, metric.steps[1:])]
    return [
        *(Step("zero" if label == "0" else f"s{i}", label) for i, label in enumerate(labels)),
        Step(f"s{len(labels)}", f"> {write(metric.steps[-1])}"),
    ]


def _bound(value: float) -> str:
    return f"{value:g}" if value >= 1 else milliseconds(value).rstrip("0")
