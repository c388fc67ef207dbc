"""Faults between the product's own DynamoDB client and its tables, at botocore's layer."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectTimeoutError
from chalicelib import aggregate, probe_run
from chalicelib.reader import RunReader
from chalicelib.tables import tables

from cloudping import dynamo
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import RunTable
from cloudping.settings import Settings, load
from cloudping.times import to_iso
from tests.conftest import HOME_REGION

SOURCE = "eu-west-1"
TARGETS = ("eu-west-1", "us-east-1")

Answer = Any  # botocore's AWSResponse, which has no types, or None to let the request pass
Fault = Callable[[Any], Answer]


def answered(status: int, body: str) -> Answer:
    """What the wire would have brought."""
    return AWSResponse("https://dynamodb.us-east-2.amazonaws.com/", status, {}, _Raw(body.encode()))


class _Raw(BytesIO):
    """What urllib3 hands to botocore."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def error(code: str, status: int = 400) -> Answer:
    return answered(status, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}"}))


def throttled(_: Any) -> Answer:
    return error("ProvisionedThroughputExceededException")


def failing(_: Any) -> Answer:
    return error("InternalServerError", 500)


def unreachable(request: Any) -> Answer:
    raise ConnectTimeoutError(endpoint_url=request.url)


def garbage(_: Any) -> Answer:
    return answered(200, "<html>It works!</html>")


class Wire:
    """Between a client and moto: a fault takes the place of an answer while it says so.

    `faults` maps an operation, or "" for all, to what happens; `met` counts what was sent.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.faults: dict[str, Fault] = {}
        self.met: Counter[str] = Counter()
        client.meta.events.register_first("before-send.dynamodb", self._send)

    def _send(self, request: Any, event_name: str, **_: Any) -> Answer:
        operation = event_name.rpartition(".")[2]
        self.met[operation] += 1
        fault = self.faults.get(operation) or self.faults.get("")
        answer = fault(request) if fault else None
        if answer is not None:
            request.url = "https://nowhere.invalid/"  # or moto would do what is asked all the same
        return answer


@pytest.fixture
def wire(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """The product's client with a probe's patience; pauses between attempts take no time."""
    made = dynamo.client(
        HOME_REGION, timeout_s=probe_run.STORE_TIMEOUT_S, attempts=probe_run.STORE_ATTEMPTS
    )
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr("cloudping.dynamo.time", SimpleNamespace(sleep=lambda seconds: None))
    return Wire(made)


def settings_of(region: str = SOURCE, **environ: str) -> Settings:
    """A probe on the simulated network."""
    return load(
        {
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
            "PROBE_NETWORK": "simulated",
            **environ,
        }
    )


class Pipeline:
    """Probes and aggregator over the wire; `log` is what the probes said."""

    def __init__(self, wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
        self.wire, self._capsys = wire, capsys
        self._tables = tables(wire.client, "")
        self._log: list[str] = []
        self.reader = RunReader(self._tables.runs)

    @property
    def log(self) -> list[str]:
        self._log += self._capsys.readouterr().out.splitlines()
        return self._log

    @property
    def said(self) -> list[str]:
        """The events that were logged, without what was put into them."""
        return [json.loads(line)["event"] for line in self.log]

    def probe(self, moment: datetime, region: str = SOURCE) -> dict[str, Any]:
        settings = settings_of(region, PROBE_TARGETS=",".join(TARGETS))
        return probe_run.run(to_iso(moment), settings)

    def aggregate(self, at: datetime) -> dict[str, Any]:
        return aggregate.run(self._tables, self.reader, clock=lambda: at)

    def runs(self, start: datetime, end: datetime, region: str = SOURCE) -> list[Any]:
        return RunTable(self.wire.client).between(region, start, end)


@pytest.fixture
def pipeline(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Pipeline]:
    monkeypatch.setattr(probe_run, "client", cache(lambda *_: wire.client))
    for code in TARGETS:
        RegionTable(wire.client).put(RegionState(CATALOGUE[code], True, True, 300))
    yield Pipeline(wire, capsys)
