"""`make soak MINUTES=…`: the local pipeline under faults, then every figure against the logs.

Runs what `make run` runs, without its simulated past and in a folder of its own. The functions
reach their tables through a proxy that fails as a seed says; meanwhile events come late, twice and
in two regions at once, and functions are killed in the middle of a write. Then everything is
repaired as an operator would, with `infra recover`, and compared.

The seed fixes what is planned: outages, events and the sequence of faults. Which request meets
which fault depends on the order in which they arrive.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from urllib.request import urlopen

import boto3
from botocore.config import Config

from cloudping.times import floor_minute, to_iso, utc_now
from infra import ROOT
from infra.aws.installation import AGGREGATOR, PROBES, Installation
from tests.conftest import scheduled_event
from tests.reliability import proxy, verify

REGIONS = ("ap-southeast-2", "eu-west-1", "sa-east-1", "us-east-2")
HOME = "us-east-2"
INSTALLATION = Installation()
WRITES = ("PutItem", "UpdateItem", "BatchWriteItem")

FAULT_SHARE = 0.3  # of requests
KILL_SHARE = 0.02  # of writes
LATEST = timedelta(hours=40)  # how late an event comes at most: raw runs expire after two days
LAMBDA_RETRIES = 2  # of an event whose function failed (AWS Lambda, "Asynchronous invocation")


class Soak:
    """One soak: a plan from a seed, a pipeline, and what happened to it."""

    def __init__(self, seed: int, minutes: float, folder: Path) -> None:
        self.seed, self.seconds, self.folder = seed, minutes * 60, folder
        self.port, self.aws_port = free_port(), free_port()
        self.happened: Counter[str] = Counter()
        self._choices = random.Random(seed)  # noqa: S311 - faults, no secrets
        self._outages = list(_outages(random.Random(seed + 1), self.seconds))  # noqa: S311
        self._calm, self._began, self._stop = True, time.monotonic(), Event()

    def run(self) -> bool:
        """True when nothing was lost, doubled or wrong."""
        _say(f"seed {self.seed}; {self.seconds / 60:g} minutes; {', '.join(REGIONS)}")
        with self._pipeline():
            since = utc_now() - timedelta(minutes=5)
            with proxy.FaultProxy(self.aws_port, self._choose, self._kill, self.seed) as faults:
                self._repoint(faults.url)
                self._torment(faults)
                self._repair(since)
                self.happened |= faults.counts
            report = verify.compare(self._client("dynamodb"), self._logged())
        for what, count in sorted(self.happened.items()):
            _say(f"{count:7} {what}")
        _say(str(report))
        return report.is_clean

    @contextmanager
    def _pipeline(self) -> Iterator[None]:
        command = [
            sys.executable, "-m", "infra", "local", "--no-history", "--keep-everything",
            "--folder", str(self.folder),
            "--port", str(self.port), "--aws-port", str(self.aws_port),
            "--regions", ",".join(REGIONS),
        ]  # fmt: skip
        log = self.folder / "output.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            while "everything is in place" not in log.read_text():
                if process.poll() is not None:
                    raise RuntimeError(f"the pipeline did not come up:\n{log.read_text()}")
                time.sleep(1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(180)

    def _client(self, service: str, region: str = HOME) -> Any:
        # An invocation waits for the function, the aggregator's for five minutes.
        patient = Config(read_timeout=330, retries={"total_max_attempts": 1})
        endpoint = f"http://127.0.0.1:{self.aws_port}"
        return boto3.client(service, region_name=region, endpoint_url=endpoint, config=patient)

    def _functions(self) -> Iterator[tuple[str, str]]:
        """(region, name) of every function."""
        for region in REGIONS:
            yield region, INSTALLATION.function_name(PROBES, region)
        yield HOME, INSTALLATION.function_name(AGGREGATOR, HOME)

    def _repoint(self, url: str) -> None:
        for region, name in self._functions():
            client = self._client("lambda", region)
            environment = client.get_function_configuration(FunctionName=name)["Environment"]
            environment["Variables"]["AWS_ENDPOINT_URL"] = url
            client.update_function_configuration(FunctionName=name, Environment=environment)

    # What is done to it.

    def _choose(self, operation: str) -> str:
        if self._calm:
            return proxy.HEALTHY
        now = time.monotonic() - self._began
        for start, end, fault in self._outages:
            if start <= now < end:
                return fault
        if operation.endswith(WRITES) and self._choices.random() < KILL_SHARE:
            return self._choices.choice(proxy.KILLED)
        if self._choices.random() < FAULT_SHARE:
            return self._choices.choice(proxy.FAULTS)
        if operation.endswith("BatchWriteItem") and self._choices.random() < FAULT_SHARE:
            return proxy.UNPROCESSED
        return proxy.HEALTHY

    def _kill(self, body: bytes) -> None:
        """Kills the function that is writing this."""
        item = json.loads(body)
        name = INSTALLATION.function_name(AGGREGATOR, HOME)
        if item.get("TableName") == "PingTest":
            name = INSTALLATION.function_name(PROBES, item["Item"]["region"]["S"])
        marks = {f"HOME={self.folder}".encode(), f"AWS_LAMBDA_FUNCTION_NAME={name}".encode()}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marks <= set((process / "environ").read_bytes().split(b"\0")):
                    os.kill(int(process.name), signal.SIGKILL)

    def _torment(self, faults: proxy.FaultProxy) -> None:
        self._began, self._calm = time.monotonic(), False
        helpers = [Thread(target=self._send_events), Thread(target=self._look_at_the_page)]
        for helper in helpers:
            helper.start()
        while (passed := time.monotonic() - self._began) < self.seconds:
            time.sleep(min(60, self.seconds - passed))
            met = sum(faults.counts.values()) - faults.counts[proxy.HEALTHY]
            _say(
                f"{(time.monotonic() - self._began) / 60:5.1f} min: "
                f"{faults.counts.total()} requests, {met} with a fault; "
                f"{self.happened['events sent by hand']} events sent by hand"
            )
        self._calm = True
        self._stop.set()
        for helper in helpers:
            helper.join()
        for region, name in self._functions():
            self._client("events", region).disable_rule(Name=f"{name}-event")
        time.sleep(PROBES.timeout_s + 15)  # what runs ends, what the scheduler has queued starts

    def _send_events(self) -> None:
        """Late events, some twice, some to two regions at once, some in a burst."""
        plan = random.Random(self.seed + 2)  # noqa: S311
        now = floor_minute(utc_now())
        sent: list[datetime] = []
        with ThreadPoolExecutor(max_workers=12) as pool:
            while not self._stop.wait(plan.uniform(1, 8)):
                # Most are a little late, few very: each hour touched is work for the aggregator.
                latest = LATEST if plan.random() < 0.1 else timedelta(hours=3)
                moment = now - timedelta(minutes=plan.randrange(2, latest // timedelta(minutes=1)))
                if sent and plan.random() < 0.3:
                    moment = plan.choice(sent)
                sent.append(moment)
                regions = plan.sample(REGIONS, plan.choice((1, 1, 1, 2, 3)))
                for region in regions * plan.choice((1, 1, 1, 2)):
                    pool.submit(self._deliver, region, moment)
                if plan.random() < 0.05:
                    pool.submit(self._aggregate)

    def _deliver(self, region: str, moment: datetime) -> None:
        """An event as EventBridge delivers it: again when the function failed."""
        self.happened["events sent by hand"] += 1
        client = self._client("lambda", region)
        payload = json.dumps(scheduled_event(region, moment, {}))
        name = INSTALLATION.function_name(PROBES, region)
        for _ in range(1 + LAMBDA_RETRIES):
            if "FunctionError" not in client.invoke(FunctionName=name, Payload=payload):
                return
            self.happened["invocations that failed"] += 1

    def _aggregate(self) -> bool:
        """The aggregator beside the scheduled one; True when all sources were done."""
        name = INSTALLATION.function_name(AGGREGATOR, HOME)
        payload = json.dumps(scheduled_event(HOME, utc_now(), {}))
        answer = self._client("lambda").invoke(FunctionName=name, Payload=payload)
        failed = "FunctionError" in answer
        self.happened["aggregator runs by hand that failed"] += failed
        return not failed

    def _look_at_the_page(self) -> None:
        paths = ("/", "/status", "/api/latencies?percentile=p_50&timeframe=1D")
        while not self._stop.wait(5):
            for path in paths:
                try:
                    with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                        answer.read()
                    self.happened["pages and API answers"] += 1
                except OSError as error:
                    self.happened[f"pages and API failures: {path} {error}"] += 1

    # How it is repaired and looked at.

    def _repair(self, since: datetime) -> None:
        for expected in ("", " 0 put back"):  # the second time, there is nothing left
            said = self._operator("recover", "--since", to_iso(since))
            _say(said.strip().splitlines()[-1])
            if expected not in said.splitlines()[-1]:
                raise RuntimeError("running recover twice put something back twice")
        for _ in range(10):
            if self._aggregate():
                break
        self._aggregate()  # and once more: nothing may change by it

    def _operator(self, *words: str) -> str:
        environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.aws_port}"}
        return subprocess.run(
            [sys.executable, "-m", "infra", *words],
            cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def _logged(self) -> dict[verify.Event, list[Any]]:
        """Every run that a probe logged, read stream by stream: not as `recover` reads them."""
        lines = []
        for region in REGIONS:
            client = self._client("logs", region)
            group = INSTALLATION.log_group(PROBES, region)
            streams = client.get_paginator("describe_log_streams").paginate(logGroupName=group)
            for stream in (s for page in streams for s in page["logStreams"]):
                events = client.get_log_events(
                    logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
                )["events"]
                lines += [event["message"] for event in events]
        found = verify.logged_runs(lines)
        self.happened["runs logged"] = sum(map(len, found.values()))
        return found


def _outages(plan: random.Random, seconds: float) -> Iterator[tuple[float, float, str]]:
    """(start, end, fault) in seconds: home is not reached for a tenth of the time, in pieces."""
    start = 0.0
    while True:
        start += plan.uniform(60, 600)
        end = start + plan.choice((20, 60, 120))
        if end > seconds:
            return
        yield start, end, plan.choice((proxy.CUT, proxy.NO_ANSWER))
        start = end


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command's output


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def main() -> int:
    """0 when nothing was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    with TemporaryDirectory(prefix="cloudping-soak-") as folder:
        return 0 if Soak(args.seed, args.minutes, Path(folder)).run() else 1


if __name__ == "__main__":
    sys.exit(main())
