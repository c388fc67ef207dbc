"""A small installation on moto: three sources, four targets, known figures, and its site."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import METHOD_KERNEL, NETWORK_AWS, Attempt, Run, RunTable, TargetResult
from cloudping.settings import load
from cloudping.summaries import TIMEFRAME_DAYS, TIMEFRAMES, Figures, Summary, SummaryTable
from frontend import create_app
from frontend.site import EXTENSION, Site

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


def this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def run(source: str, timestamp: datetime, network: str = NETWORK_AWS, interval_s: int = 300) -> Run:
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
        attempts=5,
        method=METHOD_KERNEL,
        network=network,
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


def fill(client: Any, network: str = NETWORK_AWS, prefix: str = "") -> None:
    """Puts the installation's regions, runs and figures into the tables."""
    now = this_minute()
    regions = RegionTable(client, prefix)
    for code in TARGETS:
        regions.put(
            RegionState(
                CATALOGUE[code], code in SOURCES, True, 300 if code in SOURCES else 0, "opted-in"
            )
        )
    runs = RunTable(client, prefix)
    for code in SOURCES:
        for k in range(3):
            runs.put_once(run(code, now - timedelta(minutes=5 * k), network))
    SummaryTable(client, prefix).write(
        Summary(
            timeframe=timeframe,
            region_from=source,
            region_to=target,
            figures=figures(BASE_MS.get((source, target)), 1438, now),
            window_start=now - timedelta(days=TIMEFRAME_DAYS[timeframe]),
            window_end=now,
            updated_at=now,
            network=network,
        )
        for timeframe in TIMEFRAMES
        for source in SOURCES
        for target in TARGETS
    )


@pytest.fixture
def make_app(dynamodb: Any) -> Callable[..., Flask]:
    """Makes the site over moto's tables, with one snapshot read and no thread."""

    def make(refresh: bool = True, **environ: str) -> Flask:
        app = create_app(load(environ), dynamodb, background=False)
        app.testing = True
        if refresh:
            site_of(app).keeper.refresh()
        return app

    return make


def site_of(app: Flask) -> Site:
    found = app.extensions[EXTENSION]
    assert isinstance(found, Site)
    return found


@pytest.fixture
def web(dynamodb: Any, make_app: Callable[..., Flask]) -> Iterator[FlaskClient]:
    """A client of the site over the small installation."""
    fill(dynamodb)
    with make_app().test_client() as client:
        yield client
