"""A small installation: two targets, runs as probes make them, and the aggregator at any time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import aggregate
from chalicelib.rollup import RunReader, Tables
from chalicelib.trigger import tables

from cloudping import runs
from cloudping.regions import CATALOGUE, RegionState
from cloudping.runs import METHOD_KERNEL, NETWORK_AWS, Attempt, Run, TargetResult

SOURCE = "eu-west-1"
TARGETS = ("eu-west-1", "us-east-1")
START = datetime(2026, 11, 18, 22, 0, tzinfo=UTC)


def a_run(at: datetime, latencies: Sequence[float | str] = (70.0, 71.0), **changes: Any) -> Run:
    """A run at both targets; a text among the latencies is a reason."""
    attempts = tuple(
        Attempt(None, None, 0, entry) if isinstance(entry, str) else Attempt(entry, entry + 0.05)
        for entry in latencies
    )
    near = tuple(Attempt(0.7, 0.8) for _ in latencies)
    run = Run(
        region=SOURCE,
        timestamp=at,
        partition="aws",
        interval_s=300,
        attempts=len(latencies),
        method=METHOD_KERNEL,
        network=NETWORK_AWS,
        results={
            code: TargetResult(CATALOGUE[code].endpoint, ("192.0.2.1",), 1.0, outcome)
            for code, outcome in zip(TARGETS, (near, attempts), strict=True)
        },
        written_at=at + timedelta(seconds=3),
    )
    return replace(run, **changes)


@dataclass
class Installation:
    """Tables on moto, and the aggregator to be run on them."""

    client: Any
    tables: Tables
    reader: RunReader

    def add(self, *made: Run) -> None:
        for run in made:
            assert self.tables.runs.put_once(run)

    def aggregate(self, at: datetime, **options: Any) -> dict[str, Any]:
        report = aggregate.run(self.tables, self.reader, clock=lambda: at, **options)
        if not options.get("may_fail") and report["failed"]:
            raise AssertionError(report["failed"])
        return report

    def cells(self, timeframe: str = "1D") -> dict[str, Any]:
        return {s.region_to: s for s in self.tables.summaries.of_source(timeframe, SOURCE)}

    def dump(self) -> dict[str, Any]:
        """Everything that the aggregator keeps, less what says when it was written."""
        found = {}
        for name in ("cloudping_distributions", "cloudping_stored_avgs", "cloudping_history"):
            for item in self.client.scan(TableName=name)["Items"]:
                if item.get("bucket", {}).get("S") != "state":
                    item.pop("updated_at", None)
                    found[name, *[item[k]["S"] for k in ("region", "bucket", "timeframe", "index",
                                                         "pair", "month") if k in item]] = item  # fmt: skip
        return found

    def truth(self, target: str, start: datetime, end: datetime) -> np.ndarray[Any, Any]:
        """The pair's raw latencies, to 0.01 ms."""
        batch = self.tables.runs.between(SOURCE, start, end)
        values = [s.latency_ms for run in batch.runs for s in runs.samples(run, target)]
        return np.rint(np.array([v for v in values if v is not None]) * 100) / 100


@pytest.fixture
def install(dynamodb: Any) -> Installation:
    installed = tables(dynamodb, "")
    installed.regions.put(RegionState(CATALOGUE[SOURCE], True, True, 300))
    installed.regions.put(RegionState(CATALOGUE["us-east-1"], False, True))
    return Installation(dynamodb, installed, RunReader(installed.runs))


@pytest.fixture
def steady(install: Installation) -> Callable[[datetime, datetime], Installation]:
    """An installation with a run every five minutes from one time to before another."""

    def fill(start: datetime, end: datetime) -> Installation:
        rng = np.random.default_rng(7)
        moment = start
        while moment < end:
            install.add(a_run(moment, [float(v) for v in 70 + rng.exponential(1, 5).round(3)]))
            moment += timedelta(minutes=5)
        return install

    return fill
