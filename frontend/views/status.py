"""Which sources run, and where trouble lies: at a target, a source or on a path; pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloudping.regions import RegionState
from cloudping.runs import GRACE, is_silent
from cloudping.summaries import Figures, Summary
from frontend.data.now import NOW
from frontend.data.snapshot import DAY, Pair, Snapshot

LATE_AFTER: Final = 1.5  # intervals without a run

# Loss from which a cell counts as trouble: over a day 1 %; of a run's few attempts, every other.
TROUBLE_PCT: Final = {NOW: 50.0, "1D": 1.0}
# A row or column is bad as a whole when at least this share of its cells is.
WHOLE: Final = 0.5

STATES: Final = ("silent", "waiting", "late", "ok")


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How one source is doing; `expected` and `seen` count runs of the last day."""

    code: str
    state: str
    last_run: datetime | None
    interval_s: int
    expected: int
    seen: int
    loss_pct: float | None
    lateness_ms: float | None
    wall_ms: float | None
    method: str | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a pattern of lossy cells points at, worst first, with the cells behind it."""

    targets: tuple[tuple[str, int, int], ...]
    sources: tuple[tuple[str, int, int], ...]
    paths: tuple[tuple[str, str, float], ...]

    def __bool__(self) -> bool:
        return bool(self.targets or self.sources or self.paths)


def sources(snapshot: Snapshot, now: datetime) -> list[SourceStatus]:
    """Every source, those in trouble first."""
    rows: defaultdict[str, list[Figures]] = defaultdict(list)
    for (source, _), cell in snapshot.cells.get("1D", {}).items():
        rows[source].append(cell.figures)
    found = [_source(snapshot, s, rows[s.region.code], now) for s in snapshot.sources]
    return sorted(found, key=lambda source: (STATES.index(source.state), source.code))


def silent(sources: list[SourceStatus]) -> list[SourceStatus]:
    """The sources from which nothing has come for too long."""
    return [source for source in sources if source.state == "silent"]


def _source(
    snapshot: Snapshot, state: RegionState, row: list[Figures], now: datetime
) -> SourceStatus:
    code = state.region.code
    run = snapshot.runs.get(code)
    interval_s = run.interval_s if run else state.interval_s
    seen = len(snapshot.seen.get(code, ()))
    since = now - DAY
    if state.earliest_data and state.earliest_data > since:
        since = state.earliest_data
    coverage_pct = max((f.coverage_pct for f in row if f.coverage_pct is not None), default=0)
    if seen and coverage_pct:
        # The aggregator knows which schedule each run belonged to, also where that has changed.
        expected = max(seen, round(100 * seen / coverage_pct))
    else:
        expected = max(seen, int((now - since).total_seconds() // interval_s) if interval_s else 0)
    losses = [f.loss_pct for f in row if f.loss_pct is not None]
    return SourceStatus(
        code=code,
        state="waiting" if run is None else state_of(run.timestamp, interval_s, now),
        last_run=run.timestamp if run else None,
        interval_s=interval_s,
        expected=expected,
        seen=seen,
        loss_pct=sum(losses) / len(losses) if losses else None,
        lateness_ms=run.lateness_ms if run else None,
        wall_ms=run.wall_ms if run else None,
        method=run.method if run else None,
    )


def state_of(last_run: datetime, interval_s: int, now: datetime) -> str:
    """`ok`, `late` or `silent`, by how many intervals ago the last run was due."""
    if is_silent(last_run, interval_s, now):
        return "silent"
    late = now - last_run > LATE_AFTER * timedelta(seconds=interval_s) + GRACE
    return "late" if late else "ok"


def locate(cells: Mapping[Pair, Summary], threshold_pct: float) -> Trouble:
    """Where lossy cells point at: bad columns first, then bad rows of what is left, then cells.

    A region's way to itself is left out: it shares both ends.
    """
    known = {
        pair: cell.figures.loss_pct
        for pair, cell in cells.items()
        if cell.figures.loss_pct is not None and pair[0] != pair[1]
    }
    bad = {pair for pair, loss in known.items() if loss >= threshold_pct}
    targets = _whole(bad, known, 1)
    bad = {pair for pair in bad if pair[1] not in {code for code, _, _ in targets}}
    rest = [pair for pair in known if pair[1] not in {code for code, _, _ in targets}]
    rows = _whole(bad, rest, 0)
    bad = {pair for pair in bad if pair[0] not in {code for code, _, _ in rows}}
    paths = sorted(((*pair, known[pair]) for pair in bad), key=lambda path: -path[2])
    return Trouble(tuple(targets), tuple(rows), tuple(paths))


def _whole(bad: set[Pair], known: Iterable[Pair], end: int) -> list[tuple[str, int, int]]:
    """The regions at one end of the pairs most of whose cells are bad: code, bad, all."""
    count = Counter(pair[end] for pair in known)
    hit = Counter(pair[end] for pair in bad)
    return sorted(
        ((code, n, count[code]) for code, n in hit.items() if n >= 2 and n >= WHOLE * count[code]),
        key=lambda region: (-region[1] / region[2], region[0]),
    )
