"""A run: from an event to one item in PingTest and one line in the log."""

import json
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from chalicelib import probe_run
from chalicelib.probe_run import CredentialsError, EventTimeError
from chalicelib.sweep import Plan, SweepResult, Target, measure

from cloudping import planet, runs
from cloudping.errors import StoreError
from cloudping.regions import CATALOGUE, RegionState, RegionTable, provisional
from cloudping.runs import METHOD_KERNEL, RunTable
from cloudping.settings import Settings, load
from infra.commands.recover import put_missing

EVENT_TIME = "2026-11-20T06:05:09Z"
SCHEDULED = datetime(2026, 11, 20, 6, 5, tzinfo=UTC)
SIMULATED = {
    "PROBE_NETWORK": "simulated",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    "PROBE_TARGETS": "eu-west-1,us-east-1",
}


def settings_of(**environ: str) -> Settings:
    return load({"AWS_DEFAULT_REGION": "us-east-1", **environ})


@pytest.fixture
def on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe's clock when EventBridge sends the event."""
    monkeypatch.setattr(probe_run, "utc_now", lambda: SCHEDULED + timedelta(seconds=12))


@pytest.fixture
def store(dynamodb: Any, on_time: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(probe_run, "client", cache(lambda *_: dynamodb))
    return dynamodb


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        yield sock.getsockname()[1]


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_simulated_run_is_stored_as_such(store: Any) -> None:
    answer = probe_run.run(EVENT_TIME, settings_of(**SIMULATED))
    (run,) = RunTable(store).between("us-east-1", SCHEDULED, SCHEDULED)
    assert (run.origin, run.method, run.interval_s) == ("simulated", METHOD_KERNEL, 300)
    assert run.results["eu-west-1"].attempts == planet.connects(
        "us-east-1", "eu-west-1", SCHEDULED, 5
    )
    assert answer == {
        "region": "us-east-1",
        "timestamp": "2026-11-20T06:05:00.000Z",
        "written": True,
        "targets": 2,
        "attempts": 10,
        "latencies": sum(
            a.latency_ms is not None for r in run.results.values() for a in r.attempts
        ),
    }


def test_real_connects_of_a_run(listener: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Loopback stands in for two regions: one answers, the name of the other does not resolve."""
    targets = {
        "eu-west-1": Target("127.0.0.1", listener),
        "us-west-2": Target("no-such-host.invalid"),
    }
    run = probe_run.make(SCHEDULED, targets, settings_of(PROBE_ATTEMPTS="3"))
    assert (run.region, run.timestamp, run.origin) == ("us-east-1", SCHEDULED, "aws")
    assert run.expires_at is None
    assert run.wall_ms > 0 and run.cpu_ms > 0
    assert run.written_at is not None
    assert 0 <= (run.written_at - SCHEDULED).total_seconds() * 1000 - run.lateness_ms < 20_000
    assert all(a.latency_ms is not None for a in run.results["eu-west-1"].attempts)
    assert [a.reason for a in run.results["us-west-2"].attempts] == ["dns_error"] * 3
    (line,) = logged(capsys)
    assert (line["event"], line["target"]) == ("dns_error", "us-west-2")
    assert line["error"]


def test_the_plan_follows_the_settings() -> None:
    seen: list[Plan] = []

    def over_network(targets: Mapping[str, Target], plan: Plan) -> SweepResult:
        seen.append(plan)
        return measure({}, plan)

    settings = settings_of(
        PROBE_ATTEMPTS="7",
        PROBE_TIMEOUT_SECONDS="1.5",
        PROBE_DEADLINE_SECONDS="20",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE="256",
        PROBE_RETENTION_DAYS="2",
    )
    run = probe_run.make(SCHEDULED, {}, settings, over_network)
    assert seen == [Plan(attempts=7, timeout_s=1.5, deadline_s=20, memory_mb=256)]
    assert run.expires_at == int(SCHEDULED.timestamp()) + 2 * 86400
    assert run.memory_mb == 256


def test_a_repeated_event_leaves_the_first_run_as_it_is(
    store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(**SIMULATED)
    assert probe_run.run(EVENT_TIME, settings)["written"]
    first = RunTable(store).between("us-east-1", SCHEDULED, SCHEDULED)
    assert not probe_run.run("2026-11-20T06:05:41Z", settings)["written"]
    assert RunTable(store).between("us-east-1", SCHEDULED, SCHEDULED) == first
    assert [line["event"] for line in logged(capsys)] == ["run", "run", "discarded"]


def test_the_logged_line_is_the_run(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    probe_run.run(EVENT_TIME, settings_of(**SIMULATED))
    (line,) = logged(capsys)
    (stored,) = RunTable(store).between("us-east-1", SCHEDULED, SCHEDULED)
    assert runs.from_json(json.dumps(line["run"])) == stored


def test_a_failed_write_has_been_logged_before_and_is_raised(
    store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreError, match="put_item on table gone-PingTest failed"):
        probe_run.run(EVENT_TIME, settings_of(**SIMULATED, CLOUDPING_PREFIX="gone-"))
    (line,) = logged(capsys)
    assert runs.from_json(json.dumps(line["run"])).region == "us-east-1"


@pytest.mark.parametrize(
    ("event_time", "why"),
    [
        ("1970-01-01T00:00:00Z", "at most 2 days after the time it is for"),  # Lambda's console
        ("2026-11-18T06:04:00Z", "at most 2 days after the time it is for"),
        ("2026-11-20T07:06:00Z", "at most 1 hour before"),
        ("9999-12-31T23:59:00Z", "at most 1 hour before"),
        ("2026-11-20T06:05:00", "write 2026-11-20T06:05:12.000Z"),
        ("yesterday", "write 2026-11-20T06:05:12.000Z"),
        (None, "write 2026-11-20T06:05:12.000Z"),
    ],
)
def test_an_event_whose_time_cannot_be_is_refused_by_name_and_leaves_nothing(
    store: Any, event_time: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EventTimeError, match=why) as caught:
        probe_run.run(event_time, settings_of(**SIMULATED))
    assert str(event_time) in str(caught.value)
    assert logged(capsys) == [{"event": "event_refused", "error": str(caught.value)}]
    assert store.scan(TableName="PingTest")["Count"] == 0


@pytest.mark.parametrize("event_time", ["2026-11-18T06:06:00Z", "2026-11-20T07:05:00Z"])
def test_an_event_as_late_as_aws_delivers_one_is_measured(store: Any, event_time: str) -> None:
    assert probe_run.run(event_time, settings_of(**SIMULATED))["written"]


def test_an_unreadable_secret_costs_the_writing_only(
    dynamodb: Any, on_time: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is measured and in the log, from where `recover` brings it back."""
    probe_run.client.cache_clear()
    settings = settings_of(**{**SIMULATED, "PROBE_TARGETS": ""}, CLOUDPING_HOME_CREDENTIALS="gone")
    probe_run.warm(settings)
    with pytest.raises(CredentialsError, match="secret gone in us-east-1"):
        probe_run.run(EVENT_TIME, settings)
    lines = capsys.readouterr().out.splitlines()
    said = [json.loads(line) for line in lines]
    events = ["credentials_unreadable", "targets_unreadable", "run"]
    assert [line["event"] for line in said] == events
    assert set(said[-1]["run"]["results"]) == set(CATALOGUE)
    table = RunTable(dynamodb)
    assert put_missing(table, lines, SCHEDULED, SCHEDULED).put == 1
    (stored,) = table.between("us-east-1", SCHEDULED, SCHEDULED)
    assert stored.results["eu-west-1"].attempts == planet.connects(
        "us-east-1", "eu-west-1", SCHEDULED, 5
    )


def test_whatever_reading_the_targets_raises_the_whole_catalogue_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(probe_run, "client", broken)
    assert list(probe_run.find_targets(settings_of())) == list(CATALOGUE)
    assert logged(capsys)[0]["error"] == "no such thing"


def test_a_region_that_the_catalogue_lacks_fails_no_simulated_probe(
    store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    table = RegionTable(store)
    for place in (CATALOGUE["eu-west-1"], provisional("mx-west-9", "Mexico (West)")):
        table.put(RegionState(place, is_source=False, is_target=True))
    probe_run.run(EVENT_TIME, settings_of(**{**SIMULATED, "PROBE_TARGETS": ""}))
    (run,) = RunTable(store).between("us-east-1", SCHEDULED, SCHEDULED)
    assert [a.reason for a in run.results["mx-west-9"].attempts] == ["local_error"] * 5
    assert run.results["eu-west-1"].attempts == planet.connects(
        "us-east-1", "eu-west-1", SCHEDULED, 5
    )
    assert (logged(capsys)[0]["event"], run.region) == ("not_simulated", "us-east-1")


def test_targets_are_the_active_regions(store: Any) -> None:
    table = RegionTable(store)
    table.put(RegionState(CATALOGUE["eu-west-1"], is_source=False, is_target=True))
    table.put(RegionState(CATALOGUE["eu-west-2"], is_source=True, is_target=False))
    assert probe_run.find_targets(settings_of()) == {
        "eu-west-1": Target("dynamodb.eu-west-1.amazonaws.com", 443)
    }


def test_targets_of_the_settings_come_first(store: Any) -> None:
    table = RegionTable(store)
    table.put(RegionState(CATALOGUE["eu-west-1"], is_source=False, is_target=True))
    assert list(probe_run.find_targets(settings_of(PROBE_TARGETS="us-west-2"))) == ["us-west-2"]


@pytest.mark.parametrize("fault", ["empty", "missing"])
def test_without_a_readable_table_the_whole_catalogue_is_measured(
    store: Any, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = probe_run.find_targets(settings_of(CLOUDPING_PREFIX="gone-" * (fault == "missing")))
    assert list(found) == list(CATALOGUE)
    (line,) = logged(capsys)
    expected = "no_active_targets" if fault == "empty" else "targets_unreadable"
    assert (line["event"], line["instead"]) == (expected, "the whole catalogue")


def test_a_broken_item_of_a_target_costs_nothing(
    store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    RegionTable(store).put(RegionState(CATALOGUE["us-east-1"], is_source=False, is_target=True))
    for code in ("eu-west-1", "moon-1"):
        item = {"region": {"S": code}, "active_to": {"S": "True"}}
        store.put_item(TableName="cloudping_regions", Item=item)
    found = probe_run.find_targets(settings_of())
    assert found == {c: Target(CATALOGUE[c].endpoint) for c in ("us-east-1", "eu-west-1")}
    assert [line["event"] for line in logged(capsys)] == ["target_unreadable"] * 2


def test_warming_makes_the_client_once() -> None:
    probe_run.client.cache_clear()
    settings = settings_of()
    probe_run.warm(settings)
    probe_run.warm(settings)
    assert probe_run.client.cache_info().misses == 1
    probe_run.client.cache_clear()
