"""A probe that is killed while it writes, on the local AWS: its log is what is left of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from cloudping.runs import RunTable
from cloudping.times import floor_minute, to_iso, utc_now
from infra.aws import stacks
from infra.commands.recover import put_missing
from infra.local.server import HOST, start_ministack
from tests.conftest import HOME_REGION, ROOT
from tests.reliability import proxy, verify
from tests.reliability.soak import free_port

WHEN = floor_minute(utc_now())
PROBE = """
import sys
sys.path.insert(0, "probes")
import os
from chalicelib import probe_run
from cloudping.settings import load
probe_run.run(sys.argv[1], load(os.environ))
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a local AWS with the tables."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "testing")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "testing")
    port = free_port()
    server = start_ministack(tmp_path_factory.mktemp("aws"), port, HOME_REGION)
    client = boto3.client(
        "cloudformation", region_name=HOME_REGION, endpoint_url=f"http://{HOST}:{port}"
    )
    template = ROOT / "infra" / "templates" / "tables.yaml"
    stacks.apply(client, "tables", template, {"Prefix": "", "DeletionProtection": "false"})
    yield port
    server.stop(10)


class Probe:
    """A probe in a process of its own, which a fault on the way to its tables may kill."""

    def __init__(self, aws_port: int, fault: str) -> None:
        self.table = RunTable(
            boto3.client(
                "dynamodb", region_name=HOME_REGION, endpoint_url=f"http://{HOST}:{aws_port}"
            )
        )
        self._aws_port, self._fault = aws_port, fault

    def run(self, moment: datetime) -> tuple[list[str], int]:
        """What it printed, and how it ended."""

        def choose(operation: str) -> str:
            return self._fault if operation.endswith("PutItem") else proxy.HEALTHY

        def kill(_: bytes) -> None:
            process.send_signal(signal.SIGKILL)

        with proxy.FaultProxy(self._aws_port, choose, kill) as between:
            environment = {
                **os.environ,
                "AWS_ENDPOINT_URL": between.url,
                "AWS_DEFAULT_REGION": "eu-west-1",
                "PROBE_NETWORK": "simulated",
                "PROBE_TARGETS": "us-east-1,eu-west-1",
            }
            process = subprocess.Popen(
                [sys.executable, "-c", PROBE, to_iso(moment)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            said, _ = process.communicate(timeout=60)
        return said.splitlines(), process.returncode

    def stored(self, moment: datetime) -> list[Any]:
        return self.table.between("eu-west-1", moment, moment)


@pytest.mark.parametrize(("fault", "stored"), [(proxy.KILLED_BEFORE, 0), (proxy.KILLED_AFTER, 1)])
def test_a_probe_killed_while_it_writes(aws: int, fault: str, stored: int) -> None:
    """As Lambda does at its timeout: the write was done, or it was not, and the run is kept."""
    moment = WHEN - timedelta(minutes=1 + stored)
    probe = Probe(aws, fault)
    log, code = probe.run(moment)
    assert code == -signal.SIGKILL
    assert len(verify.logged_runs(log)) == 1
    assert len(probe.stored(moment)) == stored
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    assert put_missing(probe.table, log, long_ago, utc_now()).put == 1 - stored
    # Lambda delivers the event again: whichever is there already, stays.
    before = probe.stored(moment)
    again, code = Probe(aws, proxy.HEALTHY).run(moment)
    assert code == 0
    assert json.loads(again[-1])["event"] == "discarded"
    assert put_missing(probe.table, log + again, long_ago, utc_now()).put == 0
    assert probe.stored(moment) == before
    assert len(before) == 1
