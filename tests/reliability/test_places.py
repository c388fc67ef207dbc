"""A name that leads to the wrong place: what comes back faster than light is no latency."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalicelib import probe_run
from chalicelib.sweep import Target

from cloudping import runs
from cloudping.regions import rtt_floor_ms
from cloudping.runs import RunTable
from cloudping.settings import load
from cloudping.summaries import SummaryTable
from cloudping.times import floor_minute, utc_now
from tests.reliability.conftest import SOURCE, Pipeline

WHEN = floor_minute(utc_now()) - timedelta(minutes=2)


@pytest.fixture
def next_door() -> Iterator[int]:
    """A listener on this machine."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        yield int(sock.getsockname()[1])


def test_an_answer_faster_than_light_is_flagged_kept_and_in_no_figure(
    pipeline: Pipeline, next_door: int
) -> None:
    """DNS says that us-east-1 is here; the round trip from Ireland takes light 50 ms."""
    settings = load({"AWS_DEFAULT_REGION": SOURCE, "PROBE_ATTEMPTS": "20"})
    targets = {"us-east-1": Target("127.0.0.1", next_door)}
    wrong = probe_run.make(WHEN, targets, settings)
    RunTable(pipeline.wire.client).put_once(replace(wrong, network="aws"))
    pipeline.aggregate(utc_now())
    (stored,) = pipeline.runs(WHEN, WHEN)
    measured = [attempt.latency_ms for attempt in stored.results["us-east-1"].attempts]
    assert all(ms is not None and ms < rtt_floor_ms(SOURCE, "us-east-1") for ms in measured)
    seen: list[Any] = list(runs.samples(stored, "us-east-1"))
    assert {(sample.latency_ms, sample.reason) for sample in seen} == {(None, "too_fast")}
    (cell,) = SummaryTable(pipeline.wire.client).of_source("1D", SOURCE)
    assert (cell.figures.samples, cell.figures.percentiles) == (0, {})
    assert cell.figures.failures == {"too_fast": 20}
    assert cell.figures.loss_pct is None
