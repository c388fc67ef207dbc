"""The whole pipeline as `make run` brings it up: deployed by Chalice, fired by EventBridge."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import numpy as np
import pytest

from cloudping import planet, runs
from cloudping.distribution import minimum_samples
from cloudping.runs import RunTable
from cloudping.summaries import TIMEFRAMES, SummaryTable
from cloudping.times import floor_minute, utc_now
from infra.local import history
from tests.conftest import HOME_REGION, ROOT, scheduled_event

REGIONS = ("ap-southeast-2", "eu-west-1", "us-east-2")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} after {timeout_s} s"
        time.sleep(0.5)
    return found


class Local:
    """`make run` without make: the same command, in a folder and on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.aws_port = free_port(), free_port()
        self.output = folder / "output.log"

    def start(self) -> None:
        self.output.unlink(missing_ok=True)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "infra", "local",
                    "--folder", self.folder,
                    "--port", str(self.port),
                    "--aws-port", str(self.aws_port),
                    "--regions", ",".join(REGIONS),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_for("complete pipeline", self._is_complete, 180)

    def _is_complete(self) -> bool:
        said = self.output.read_text()
        assert self.process.poll() is None, said
        return "everything is in place" in said

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def get(self, path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def client(self, service: str, region: str = HOME_REGION) -> Any:
        session = boto3.Session("local", "local", region_name=region)  # whatever others left
        return session.client(service, endpoint_url=f"http://127.0.0.1:{self.aws_port}")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    stack = Local(tmp_path_factory.mktemp("local"))
    stack.start()
    yield stack
    if stack.process.poll() is None:
        stack.stop()


@pytest.fixture(scope="module")
def began(local: Local) -> datetime:
    """A moment after which EventBridge has fired every probe and the aggregator."""
    moment = utc_now()
    client = local.client("dynamodb")

    def fired() -> bool:
        rows = SummaryTable(client).all("1D")
        return len(rows) == 9 and all(row.window_end > moment for row in rows)

    wait_for("live run of every source in the matrix", fired, 300)
    return moment


def test_the_matrix_is_complete_in_every_timeframe(local: Local) -> None:
    client = local.client("dynamodb")
    for timeframe in TIMEFRAMES:
        pairs = {(s.region_from, s.region_to) for s in SummaryTable(client).all(timeframe)}
        assert pairs == {(a, b) for a in REGIONS for b in REGIONS}

    def shown() -> Any:  # the front end reads the tables every five seconds
        answer = json.loads(local.get("/api/latencies?percentile=p_50&timeframe=1Y"))
        rows = answer["data"]
        full = set(rows) == set(REGIONS) and all(set(row) == set(REGIONS) for row in rows.values())
        return answer if full else None

    answer = wait_for("complete matrix in the API", shown, 30)
    assert answer["metadata"]["unit"] == "milliseconds"
    assert answer["metadata"]["network"] == "simulated"


def test_the_page_says_that_the_network_is_simulated(local: Local) -> None:
    page = local.get("/").decode()
    assert "simulated" in page.lower()
    for code in REGIONS:
        assert code in page


def test_schedules_fire_and_figures_follow(local: Local, began: datetime) -> None:
    table = RunTable(local.client("dynamodb"))
    for code in REGIONS:
        newest = table.latest(code, utc_now() + timedelta(minutes=5))
        assert newest is not None
        assert newest.timestamp >= floor_minute(began)
        assert newest.interval_s == 60
        assert newest.origin == "simulated"
        assert set(newest.results) == set(REGIONS)


@pytest.mark.parametrize("region_from", REGIONS)
def test_percentiles_of_a_day_are_numpys_over_its_samples(
    local: Local, began: datetime, region_from: str
) -> None:
    """Of what the planet says of each hour before the start, and of the raw runs since then."""
    client = local.client("dynamodb")
    for row in SummaryTable(client).of_source("1D", region_from):
        batch = RunTable(client).between(region_from, row.window_start, row.window_end)
        assert row.window_end > began
        assert batch.bad == []
        latencies_ms = [
            sample.latency_ms
            for run in batch
            for sample in runs.samples(run, row.region_to)
            if sample.latency_ms is not None and run.interval_s == 60
        ]
        made_until = max(run.timestamp for run in batch if run.interval_s == 3600)
        first, last = (int(t.timestamp()) // 60 for t in (row.window_start, made_until))
        made = planet.latencies_ms(
            region_from, row.region_to, range(first, last + 1, 60), history.ATTEMPTS
        )
        latencies_ms += made[~np.isnan(made)].tolist()
        assert row.figures.samples == len(latencies_ms) >= minimum_samples(99)
        for p, figure in row.figures.percentiles.items():
            assert figure == pytest.approx(np.percentile(latencies_ms, p), abs=0.01)
        assert row.figures.mean == pytest.approx(np.mean(latencies_ms), abs=0.01)


def test_the_same_event_twice_leaves_what_the_first_run_wrote(local: Local) -> None:
    client = local.client("dynamodb")
    function = local.client("lambda", "eu-west-1")
    moment = floor_minute(utc_now()) + timedelta(hours=-30)  # no schedule writes there
    event = scheduled_event("eu-west-1", moment, {})
    kept = []
    for _ in range(2):
        answer = function.invoke(
            FunctionName="cloudping-probes-eu-west-1-probe", Payload=json.dumps(event)
        )
        assert "FunctionError" not in answer, answer["Payload"].read()
        kept.append(RunTable(client).between("eu-west-1", moment, moment))
    assert len(kept[0]) == 1
    assert kept[0] == kept[1]


def test_stop_leaves_nothing_and_a_restart_has_the_data(local: Local, began: datetime) -> None:
    before = {
        (row.region_from, row.region_to): row.window_end
        for row in SummaryTable(local.client("dynamodb")).all("1D")
    }
    assert local.stop() == 0
    for port in (local.port, local.aws_port):
        with pytest.raises(URLError):
            urlopen(f"http://127.0.0.1:{port}/", timeout=2)
    mark = str(local.folder).encode()
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                left.append(process.name)
        except OSError:
            continue  # ended meanwhile, or not ours
    assert left == []
    assert not (local.folder / "tmp").exists()

    local.start()
    after = {
        (row.region_from, row.region_to): row.window_end
        for row in SummaryTable(local.client("dynamodb")).all("1D")
    }
    assert all(after[pair] >= moment for pair, moment in before.items())
    assert set(after) == set(before)
    assert "deployed before, unchanged" in local.output.read_text()
