"""The probe's triggers: the schedule of each region, and what `chalice package` runs into."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from chalicelib import probe_run

from cloudping.settings import load
from tests.conftest import ROOT

REPORT = """
import app, sys
print(app.app.event_sources[0].schedule_expression.to_string())
print(*sorted({"boto3", "botocore", "numpy", "pandas", "asyncio"} & set(sys.modules)))
"""


def imported(**environ: str) -> "subprocess.CompletedProcess[str]":
    """`import app` as Chalice does it, in a process with this environment alone."""
    return subprocess.run(
        [sys.executable, "-c", REPORT],
        cwd=ROOT / "probes",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_packaging_needs_no_client_and_loads_little() -> None:
    done = imported(AWS_DEFAULT_REGION="eu-west-1", PROBE_REGION="eu-west-1")
    assert done.returncode == 0, done.stderr
    schedule, heavy = done.stdout.splitlines()
    assert schedule == "cron(2/5 * * * ? *)"
    assert heavy == ""


def test_sources_and_interval_decide_the_schedule() -> None:
    done = imported(AWS_DEFAULT_REGION="us-east-1", PROBE_INTERVAL_MINUTES="60")
    assert done.stdout.splitlines()[0] == "cron(46 0/1 * * ? *)"


@pytest.mark.parametrize("region", ["eu-west-2", ""])
def test_a_stage_packaged_for_another_region_fails_with_one_line(region: str) -> None:
    done = imported(AWS_DEFAULT_REGION=region, PROBE_REGION="eu-west-1")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"probes: AWS_DEFAULT_REGION={region!r} is not usable: "
        "expected eu-west-1, this stage's PROBE_REGION"
    )


def test_lambda_makes_its_client_while_it_initialises() -> None:
    done = imported(AWS_DEFAULT_REGION="eu-west-1", AWS_LAMBDA_FUNCTION_MEMORY_SIZE="256")
    assert done.returncode == 0, done.stderr
    assert "boto3" in done.stdout


def test_the_handler_passes_the_events_time_on(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:

    app = import_module("probes.app")  # both deployables have an `app`
    monkeypatch.setattr(probe_run, "client", lambda *_: dynamodb)
    monkeypatch.setattr(probe_run, "utc_now", lambda: datetime(2026, 11, 20, 6, 5, 2, tzinfo=UTC))
    environ = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "PROBE_NETWORK": "simulated",
        "PROBE_TARGETS": "eu-west-1",
    }
    monkeypatch.setattr(app, "settings", load(environ))
    event = {
        "version": "0",
        "id": "b2bd3b0e-0f2b-4b8e-8d0e-0c7a5d0a8a57",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2026-11-20T06:05:00Z",
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/cloudping"],
        "detail": {},
    }
    assert app.probe(event, None)["timestamp"] == "2026-11-20T06:05:00.000Z"
