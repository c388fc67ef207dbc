"""Targets that answer from the wrong place or too late: neither is a latency."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalicelib import probe_run
from chalicelib.sweep import Plan, Target, measure

from cloudping import runs
from cloudping.regions import rtt_floor_ms
from cloudping.runs import RunTable
from cloudping.settings import load
from cloudping.summaries import SummaryTable
from cloudping.times import floor_minute, utc_now
from tests.reliability.conftest import SOURCE, Pipeline
from tests.testbed import bed
from tests.testbed.bed import Bed
from tests.testbed.rules import Rule, addresses

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
    RunTable(pipeline.wire.client).put_once(replace(wrong, origin="aws"))
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


class TestOnTestbed:
    pytestmark = bed.needs_root

    def test_an_answer_after_the_timeout_is_no_latency(self) -> None:
        late, good = addresses(2)
        with Bed({late: Rule(rtt_ms=600), good: Rule(rtt_ms=5)}) as net:
            targets = {host: Target(host) for host in (late, good)}
            measured = net.call(measure, targets, Plan(attempts=3, timeout_s=0.3, deadline_s=10))
        assert [(a.latency_ms, a.reason) for a in measured.results[late].attempts] == [
            (None, "timeout")
        ] * 3
        assert all(a.latency_ms is not None for a in measured.results[good].attempts)
