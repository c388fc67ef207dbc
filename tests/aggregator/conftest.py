"""A small installation: two targets, runs as probes make them, and the aggregator at any time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from chalicelib import aggregate
from chalicelib.reader import RunReader
from chalicelib.tables import Tables, tables

from cloudping import dynamo, runs
from cloudping.regions import CATALOGUE, RegionState
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, Attempt, Run, TargetResult

SOURCE = "eu-west-1"
TARGETS = ("eu-west-1", "us-east-1")
START = datetime(2026, 11, 18, 22, 0, tzinfo=UTC)
KEPT = ("cloudping_distributions", "cloudping_stored_avgs", "cloudping_history")
KEYS = ("region", "bucket", "timeframe", "index", "pair", "month")


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
        attempts_per_target=len(latencies),
        method=METHOD_KERNEL,
        origin=ORIGIN_AWS,
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
        dynamo.write_batches(self.client, "PingTest", map(runs.to_item, made))

    def aggregate(self, at: datetime, **options: Any) -> dict[str, Any]:
        return aggregate.run(self.tables, self.reader, clock=lambda: at, **options)

    def cells(self, timeframe: str = "1D") -> dict[str, Any]:
        return {s.region_to: s for s in self.tables.summaries.of_source(timeframe, SOURCE)}

    def dump(self) -> dict[tuple[str, ...], Any]:
        """Everything that the aggregator keeps, less what says when it was written."""
        found = {}
        for name in KEPT:
            for item in self.client.scan(TableName=name)["Items"]:
                if item.get("bucket", {}).get("S") != "state":
                    item.pop("updated_at", None)
                    key = [item[k]["S"] for k in KEYS if k in item]
                    found[name, *key] = item
        return found

    def clear(self) -> None:
        """Forgets everything that the aggregator keeps; the raw runs stay."""
        for name in KEPT:
            for item in self.client.scan(TableName=name)["Items"]:
                key = {k: item[k] for k in KEYS if k in item}
                self.client.delete_item(TableName=name, Key=key)

    def truth(self, target: str, start: datetime, end: datetime) -> np.ndarray[Any, Any]:
        """The pair's raw latencies, to 0.01 ms."""
        batch = self.tables.runs.between(SOURCE, start, end)
        values = [s.latency_ms for run in batch for s in runs.samples(run, target)]
        exact = np.array([value for value in values if value is not None], np.float64)
        rounded: np.ndarray[Any, Any] = np.rint(exact * 100) / 100
        return rounded


@pytest.fixture
def install(dynamodb: Any) -> Installation:
    installed = tables(dynamodb, "")
    installed.regions.put(RegionState(CATALOGUE[SOURCE], True, True, 300))
    installed.regions.put(RegionState(CATALOGUE["us-east-1"], False, True))
    return Installation(dynamodb, installed, RunReader(installed.runs))


@pytest.fixture
def steady(install: Installation) -> Callable[[datetime, datetime], Installation]:
    """An installation with a run every quarter of an hour from one time to before another."""

    def fill(start: datetime, end: datetime) -> Installation:
        rng = np.random.default_rng(7)
        count = int((end - start) / timedelta(minutes=15))
        install.add(
            *(
                a_run(
                    start + timedelta(minutes=15 * k),
                    [float(v) for v in 70 + extra.round(3)],
                    interval_s=900,
                )
                for k, extra in enumerate(rng.exponential(1, (count, 5)))
            )
        )
        return install

    return fill
