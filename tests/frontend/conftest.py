"""A small installation on moto: three sources, four targets, known figures, and its site."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cloudping import windows
from cloudping.changes import Change, ChangedPair
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, Attempt, Run, RunTable, TargetResult
from cloudping.settings import load
from cloudping.summaries import TIMEFRAMES, Figures, Summary, SummaryTable
from frontend import create_app
from frontend.data.now import NOW, summaries_of_run
from frontend.data.site import EXTENSION, Site
from frontend.data.snapshot import Pair, Snapshot

SOURCES = ("us-east-1", "eu-west-1", "ap-northeast-1")
TARGETS = (*SOURCES, "cn-north-1")
BASE_MS = {
    ("us-east-1", "us-east-1"): 0.7,
    ("us-east-1", "eu-west-1"): 68.0,
    ("us-east-1", "ap-northeast-1"): 148.0,
    ("us-east-1", "cn-north-1"): 215.0,
    ("eu-west-1", "us-east-1"): 69.0,
    ("eu-west-1", "eu-west-1"): 0.8,
    ("eu-west-1", "ap-northeast-1"): 203.0,
    ("ap-northeast-1", "us-east-1"): 149.0,
    ("ap-northeast-1", "eu-west-1"): 204.0,
    ("ap-northeast-1", "ap-northeast-1"): 0.9,
    ("ap-northeast-1", "cn-north-1"): 88.0,
}  # eu-west-1 to cn-north-1 lost every packet


@cache
def this_minute() -> datetime:
    """The minute in which the test began: that it ends meanwhile is nothing to the test."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture(autouse=True)
def _next_minute() -> None:
    this_minute.cache_clear()


def run(source: str, timestamp: datetime, origin: str = ORIGIN_AWS, interval_s: int = 300) -> Run:
    """A run whose five latencies at a target are base, base + 1, … base + 4 ms."""
    results = {}
    for target in TARGETS:
        base = BASE_MS.get((source, target))
        attempts = tuple(
            Attempt(None, reason="timeout") if base is None else Attempt(base + k, base + k + 0.05)
            for k in range(5)
        )
        results[target] = TargetResult(CATALOGUE[target].endpoint, ("192.0.2.1",), 1.5, attempts)
    return Run(
        region=source,
        timestamp=timestamp,
        partition="aws",
        interval_s=interval_s,
        attempts_per_target=5,
        method=METHOD_KERNEL,
        origin=origin,
        results=results,
        memory_mb=512,
        wall_ms=2000.0,
        written_at=timestamp + timedelta(seconds=3),
    )


def figures(base: float | None, n: int, at: datetime) -> Figures:
    """Figures whose percentile p is base + p / 100."""
    if base is None:
        return Figures(0, failures={"timeout": n}, loss_pct=100.0, coverage_pct=100.0)
    return Figures(
        samples=n,
        mean=base + 0.5,
        stddev=0.25,
        min=base,
        max=base + 1,
        percentiles={p: base + p / 100 for p in (10, 25, 50, 75, 90, 95, 98, 99)},
        failures={"retransmitted": 2},
        loss_pct=100 * 2 / (n + 2),
        coverage_pct=99.5,
        first_sample=at - timedelta(days=1),
        last_sample=at,
        methods=(METHOD_KERNEL,),
    )


def a_change(**given: Any) -> Change:
    """Two sources that got slower to Mumbai, one of them for some weeks."""
    day, at = date(2026, 3, 14), datetime(2026, 11, 24, 2, 3, tzinfo=UTC)
    change = Change(
        id="2026-03-14-p50-up-to-ap-south-1",
        figure="p50",
        role="to",
        ends=("ap-south-1",),
        measured=33,
        first_day=day,
        last_day=None,
        pairs=(
            ChangedPair("eu-west-1", "ap-south-1", day, None, 120.0, 128.0, 9.4),
            ChangedPair(
                "sa-east-1", "ap-south-1", date(2026, 3, 15), date(2026, 4, 2), 300.0, 331.0, 12.0
            ),
        ),
        origin=ORIGIN_AWS,
        found_at=at,
        updated_at=at,
    )
    return replace(change, **given)


def states() -> list[RegionState]:
    return [
        RegionState(CATALOGUE[c], c in SOURCES, True, 300 if c in SOURCES else 0, "opted-in")
        for c in sorted(TARGETS)
    ]


def summaries(origin: str = ORIGIN_AWS) -> list[Summary]:
    now = this_minute()
    return [
        Summary(
            timeframe=timeframe,
            region_from=source,
            region_to=target,
            figures=figures(BASE_MS.get((source, target)), 1438, now),
            window_start=windows.start(timeframe, now),
            window_end=now,
            updated_at=now,
            origin=origin,
        )
        for timeframe in TIMEFRAMES
        for source in SOURCES
        for target in TARGETS
    ]


def runs(origin: str = ORIGIN_AWS) -> list[Run]:
    now = this_minute()
    return [run(code, now - timedelta(minutes=5 * k), origin) for code in SOURCES for k in range(3)]


def fill(client: Any, origin: str = ORIGIN_AWS) -> None:
    """Puts the installation's regions, runs and figures into the tables."""
    for state in states():
        RegionTable(client).put(state)
    for one in runs(origin):
        RunTable(client).put_once(one)
    SummaryTable(client).write(summaries(origin))


def installation(origin: str = ORIGIN_AWS) -> Snapshot:
    """The snapshot that reading the filled tables would give."""
    newest = {code: run(code, this_minute(), origin) for code in SOURCES}
    cells: dict[str, dict[Pair, Summary]] = {name: {} for name in (NOW, *TIMEFRAMES)}
    for one in newest.values():
        for cell in summaries_of_run(one):
            cells[NOW][cell.region_from, cell.region_to] = cell
    for cell in summaries(origin):
        cells[cell.timeframe][cell.region_from, cell.region_to] = cell
    seen = {
        code: tuple(this_minute() - timedelta(minutes=5 * k) for k in (2, 1, 0)) for code in SOURCES
    }
    return Snapshot(1, this_minute(), tuple(states()), cells, newest, seen)


def site_of(app: Flask) -> Site:
    found = app.extensions[EXTENSION]
    assert isinstance(found, Site)
    return found


def show(snapshot: Snapshot) -> FlaskClient:
    """A client of a site that shows a snapshot and reaches no table."""
    app = create_app(load({}), client=object(), background=False)
    app.testing = True
    site_of(app).keeper.snapshot = snapshot
    return app.test_client()


@pytest.fixture
def web() -> FlaskClient:
    """A client of the site over the small installation."""
    return show(installation())


@pytest.fixture
def app(dynamodb: Any) -> Flask:
    """The site over moto's tables, nothing read yet, no thread."""
    made = create_app(load({}), dynamodb, background=False)
    made.testing = True
    return made
