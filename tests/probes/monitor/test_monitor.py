"""The monitor's parts: settings, schedule, history, figures, graph, answers, recording."""

import json
import math
import os
import re
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from chalicelib.sweep import Plan, SweepResult, Target, measure
from flask.testing import FlaskClient
from monitor import create_app, graph, recording, views
from monitor.metrics import BUCKETS_S
from monitor.observations import KEEP_S, History, Observation, figures
from monitor.settings import TABLE, MonitorSettings, Watched, load
from monitor.state import Monitor
from monitor.watch import Watch

from cloudping.errors import SettingError
from cloudping.regions import CATALOGUE, RegionTable
from cloudping.runs import METHOD_KERNEL, Attempt, Run, RunTable, TargetResult
from cloudping.settings import load as load_shared
from cloudping.times import floor_minute, from_iso
from tests.conftest import ROOT, load_template

NOW = 1_800_000_000.0
TARGET = Watched("192.0.2.10", 80)


def seen(
    at: float, latency_ms: float | None, reason: str | None = None, target: Watched = TARGET
) -> Observation:
    attempt = Attempt(latency_ms, None if latency_ms is None else latency_ms + 0.1, 0, reason)
    error = f"{reason}: in words" if reason else None
    return Observation(target.key, at, 0.0, target.host, None, attempt, METHOD_KERNEL, error)


# Settings


def test_defaults() -> None:
    assert load({"TARGET_HOST": "192.0.2.10"}) == MonitorSettings(
        (TARGET,), interval_s=5, timeout_s=3, host="0.0.0.0", port=8000, history_file=""
    )


def test_several_targets() -> None:
    text = "a.example, b.example:443,192.0.2.1,[2001:db8::1]:8443,2001:db8::2,[::1]"
    targets = load({"TARGET_HOST": text, "TARGET_PORT": "81"}).targets
    assert [(t.host, t.port, t.key) for t in targets] == [
        ("a.example", 81, "a.example:81"),
        ("b.example", 443, "b.example:443"),
        ("192.0.2.1", 81, "192.0.2.1:81"),
        ("2001:db8::1", 8443, "[2001:db8::1]:8443"),
        ("2001:db8::2", 81, "[2001:db8::2]:81"),
        ("::1", 81, "[::1]:81"),
    ]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"TARGET_HOST": ""}, "TARGET_HOST='' is not usable: expected a host name or IP address"),
        ({"TARGET_HOST": "http://a.example/"}, "TARGET_HOST='http://a.example/'"),
        ({"TARGET_HOST": "a.example:0"}, "TARGET_HOST='a.example:0'"),
        ({"TARGET_HOST": "a.example:https"}, "TARGET_HOST='a.example:https'"),
        ({"TARGET_HOST": "[a.example]:80"}, "TARGET_HOST="),
        ({"TARGET_HOST": "[::1]:"}, "TARGET_HOST='[::1]:'"),
        ({"TARGET_HOST": "[::1]80"}, "TARGET_HOST='[::1]80'"),
        ({"TARGET_HOST": "[]"}, "TARGET_HOST='[]'"),
        ({"TARGET_HOST": "a:b:80"}, "TARGET_HOST='a:b:80'"),
        ({"TARGET_HOST": "a.example,a.example:80"}, "expected each target once"),
        ({"TARGET_PORT": "65536"}, "TARGET_PORT='65536' is not usable: expected a whole number"),
        ({"CHECK_INTERVAL_SECONDS": "0"}, "CHECK_INTERVAL_SECONDS='0' is not usable: expected a"),
        ({"CHECK_INTERVAL_SECONDS": "nan"}, "CHECK_INTERVAL_SECONDS='nan'"),
        ({"CONNECT_TIMEOUT_SECONDS": "-1"}, "CONNECT_TIMEOUT_SECONDS='-1'"),
        ({"PORT": "none"}, "PORT='none'"),
        ({"RECORD_SOURCE": "office"}, "CODE@REGION"),
        ({"RECORD_SOURCE": "eu-west-1@eu-west-1"}, "a code that is no AWS region"),
        ({"RECORD_SOURCE": "office@eu-west-1"}, "RECORD_TARGETS='' is not usable: expected one"),
        (
            {"RECORD_SOURCE": "office@eu-west-1", "RECORD_TARGETS": "b",
             "CHECK_INTERVAL_SECONDS": "7"},
            "a divisor of 60",
        ),
    ],
)  # fmt: skip
def test_a_bad_setting_is_named_with_its_value(changed: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        load({"TARGET_HOST": "a.example", **changed})
    assert says in str(caught.value)


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    for setting in TABLE:
        default = f"`{setting.default}`" if setting.default else "none"
        assert f"| `{setting.env}` | {default} | {setting.help} |" in text, setting.env


# Watching


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Accepts and closes; ends when it is shut down."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = Thread(target=accept)
        thread.start()
        yield server
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join()


def target_of(listener: socket.socket) -> Watched:
    return Watched("127.0.0.1", listener.getsockname()[1])


def collect(watch_of: Any, count: int, within_s: float = 10) -> tuple[list[Observation], int]:
    """The first observations of a watch made with (observe, miss), and how many it missed."""
    found: list[Observation] = []
    missed = [0]
    enough = Event()

    def observe(observation: Observation) -> None:
        found.append(observation)
        if len(found) >= count:
            enough.set()

    def miss(_: Watched, number: int) -> None:
        missed[0] += number

    watch: Watch = watch_of(observe, miss)
    watch.start()
    assert enough.wait(within_s)
    watch.stop()
    watch.join(5)
    assert not watch.is_alive()
    return found[:count], missed[0]


def test_an_open_port_has_a_latency_and_a_closed_one_a_reason(listener: socket.socket) -> None:
    target = target_of(listener)
    watch = Watch(target, 1, 1, lambda _: None, lambda *_: None)
    good = watch.once()
    assert good.error is None and good.address == "127.0.0.1" and good.dns_ms is None
    assert good.attempt.latency_ms is not None and 0 < good.attempt.latency_ms < 100
    listener.shutdown(socket.SHUT_RDWR)
    refused = watch.once()
    assert refused.attempt.reason == "refused"
    assert refused.error == (
        f"refused: {target.key}: the connection was refused: nothing listens there"
    )


def test_a_name_that_does_not_resolve_is_an_observation() -> None:
    observation = Watch(Watched("no.invalid", 80), 1, 1, lambda _: None, lambda *_: None).once()
    assert observation.attempt.reason == "dns_error" and observation.address is None
    assert observation.error is not None
    assert observation.error.startswith("dns_error: no.invalid does not resolve: ")


@pytest.mark.parametrize(
    ("count", "interval_s"), [(200, 0.02), pytest.param(1000, 0.05, marks=pytest.mark.slow)]
)
def test_times_do_not_drift(listener: socket.socket, count: int, interval_s: float) -> None:
    target = target_of(listener)
    found, missed = collect(
        lambda observe, miss: Watch(target, interval_s, 1, observe, miss), count, within_s=120
    )
    began = [o.at + o.late_s - found[0].at for o in found]
    # A busy machine begins late and may miss times; drift would pass times that nobody missed.
    slots = [int(at / interval_s + 1e-3) for at in began]
    assert slots[-1] - (count - 1) == missed < count / 2
    late = [at - slot * interval_s for at, slot in zip(began, slots, strict=True)]
    assert median(late) < interval_s / 4
    half = count // 2
    assert abs(median(late[half:]) - median(late[:half])) < interval_s / 4


def test_a_measurement_longer_than_the_interval_makes_others_missed() -> None:
    calls = 0

    def slow_once(targets: Any, plan: Plan) -> SweepResult:
        nonlocal calls
        calls += 1
        if calls == 2:
            Event().wait(0.47)  # the third to sixth time pass meanwhile
        return measured(targets)

    found, missed = collect(
        lambda observe, miss: Watch(TARGET, 0.1, 1, observe, miss, over_network=slow_once), 4
    )
    assert 3 <= missed <= 5
    # The times after it are on the grid of the first one again.
    offsets = [(o.at - found[0].at) / 0.1 for o in found]
    assert offsets == pytest.approx([round(offset) for offset in offsets], abs=0.2)


@pytest.mark.parametrize("broken", ["measuring", "observing"])
def test_whatever_is_raised_the_thread_goes_on(
    broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = {"measuring": 0, "observing": 0}

    def fail_once(part: str) -> None:
        calls[part] += 1
        if part == broken and calls[part] == 1:
            raise RuntimeError("can't start new thread")

    def over_network(targets: Any, plan: Plan) -> SweepResult:
        fail_once("measuring")
        return measured(targets)

    def watch_of(observe: Any, miss: Any) -> Watch:
        def observed(observation: Observation) -> None:
            fail_once("observing")
            observe(observation)

        return Watch(TARGET, 0.05, 1, observed, miss, over_network=over_network)

    found, _ = collect(watch_of, 3)
    assert len(found) == 3
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (line["event"], line["target"]) == ("not_measured", TARGET.key)
    assert "can't start new thread" in line["error"]


def test_no_descriptor_left_is_an_observation_and_the_thread_goes_on(
    listener: socket.socket,
) -> None:
    target = target_of(listener)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def watch_of(observe: Any, miss: Any) -> Watch:
        def observed(observation: Observation) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            observe(observation)

        highest = os.dup(0)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        return Watch(target, 0.05, 1, observed, miss)

    try:
        (first, second), _ = collect(watch_of, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert first.attempt.reason == "local_error"
    assert first.error == (
        f"local_error: {target.key}: the monitor itself could not try: "
        "out of file descriptors, or no such network"
    )
    assert second.error is None and second.method == METHOD_KERNEL


def measured(targets: dict[str, Target]) -> SweepResult:
    return SweepResult(
        {
            key: TargetResult(target.host, (target.host,), None, (Attempt(1.0, 1.1),))
            for key, target in targets.items()
        },
        METHOD_KERNEL,
        datetime(2026, 11, 20, tzinfo=UTC),
        {},
    )


def test_the_stand_in_gives_what_the_network_gives(listener: socket.socket) -> None:
    target = target_of(listener)
    targets = {target.key: Target(target.host, target.port)}
    real, fake = measure(targets, Plan(1, 1, 5)), measured(targets)
    assert real.results.keys() == fake.results.keys()
    assert real.results[target.key].addresses == fake.results[target.key].addresses


# History and figures


def test_history_keeps_an_hour() -> None:
    history = History(None, NOW)
    for at in (NOW, NOW + 1, NOW + KEEP_S + 0.5):
        history.add(seen(at, 1.0))
    assert [o.at for o in history.of(TARGET.key)] == [NOW + 1, NOW + KEEP_S + 0.5]
    assert history.of("other:80") == []


def test_history_survives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "history"
    first = History(file, NOW)
    kept = [seen(NOW + k, None, "refused") if k == 3 else seen(NOW + k, k + 0.5) for k in range(5)]
    for observation in kept:
        first.add(observation)
    with file.open("a") as output:
        output.write('{"target":"192.0.2.10:80","at":18000')  # killed while writing
    with closing(History(file, NOW + 10)) as again:
        assert again.of(TARGET.key) == kept
        assert again.since == NOW
    with closing(History(file, NOW + KEEP_S + 2.5)) as later:
        assert later.of(TARGET.key) == kept[3:]
    first.close()


def test_history_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "history"
    history = History(file, NOW)
    for k in range(3000):
        history.add(seen(NOW + k * 60, 1.0))  # 61 fit into an hour
    history.close()
    assert len(file.read_text().splitlines()) < 1300
    with closing(History(file, NOW + 2999 * 60)) as again:
        assert len(again.of(TARGET.key)) == 61


def test_history_goes_on_when_its_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History(tmp_path / "history", NOW)
    history._output.close()
    history._output = Path("/dev/full").open("a")  # noqa: SIM115 - closed by itself
    history.add(seen(NOW, 1.0))
    history.add(seen(NOW + 1, 1.0))
    assert len(history.of(TARGET.key)) == 2
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == [
        "history_unwritable"
    ]


GOOD: dict[str, Any] = json.loads(seen(NOW, 1.0).to_json())


@pytest.mark.parametrize(
    "line",
    [
        *(json.dumps({**GOOD, name: value}) for name, value in (
            ("at", "x"), ("at", None), ("at", True), ("at", float("nan")), ("target", 5),
            ("late_s", [1]), ("address", 7), ("dns_ms", "2"), ("attempt", None),
            ("attempt", {"latency_ms": 1.0}), ("method", None), ("error", 3),
        )),
        *(json.dumps({**GOOD, "attempt": {**GOOD["attempt"], name: value}}) for name, value in (
            ("latency_ms", "1"), ("latency_ms", None), ("latency_ms", float("inf")),
            ("reason", "timeout"), ("retransmits", None), ("connect_ms", "1"),
        )),
        json.dumps({**GOOD, "attempt": {**GOOD["attempt"], "latency_ms": None, "reason": "bored"}}),
        "[" * 100_000, "null", "5", "{}", "\x00\udcff",
    ],
)  # fmt: skip
def test_a_line_of_the_history_that_is_none_is_left_out(tmp_path: Path, line: str) -> None:
    file = tmp_path / "history"
    good = seen(NOW, 1.0)
    text = f"{good.to_json()}\n{line}\n{seen(NOW + 1, 2.0).to_json()}\n"
    file.write_text(text, errors="surrogateescape")
    with closing(History(file, NOW + 10)) as history:
        assert [o.at for o in history.of(TARGET.key)] == [NOW, NOW + 1]
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize("fault", ["no folder", "a folder", "a file as a folder"])
def test_a_history_file_that_cannot_be_is_logged_and_measuring_goes_on(
    tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    name = {"no folder": "gone/history", "a folder": ".", "a file as a folder": "file/history"}
    history = History(tmp_path / name[fault], NOW)
    history.add(seen(NOW, 1.0))
    assert len(history.of(TARGET.key)) == 1 and history.since == NOW
    history.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "history_unwritable"


def test_a_history_whose_lines_are_out_of_order_is_put_in_order(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text("".join(f"{seen(NOW + k, 1.0).to_json()}\n" for k in (3, 1, 2)))
    with closing(History(file, NOW + 10)) as history:
        assert [o.at for o in history.of(TARGET.key)] == [NOW + 1, NOW + 2, NOW + 3]


def test_figures_are_numpys_percentiles_and_loss_of_what_was_tried() -> None:
    latencies = [20 + (k * 37 % 101) / 10 for k in range(150)]
    observations = [seen(NOW + k, latency) for k, latency in enumerate(latencies)]
    observations += [seen(NOW, None, "refused")] * 30 + [seen(NOW, None, "local_error")] * 20
    found = figures(observations)
    expected = np.percentile(latencies, [50, 90, 99])
    assert [found.p50_ms, found.p90_ms, found.p99_ms] == pytest.approx(expected)
    assert (found.attempts, found.samples) == (200, 150)
    assert found.loss_pct == pytest.approx(100 * 30 / 180)
    assert found.failures == {"refused": 30, "local_error": 20}


@pytest.mark.parametrize(
    ("count", "known"),
    [(0, ""), (1, ""), (2, "50"), (10, "50 90"), (99, "50 90"), (100, "50 90 99")],
)
def test_no_percentile_from_too_few(count: int, known: str) -> None:
    found = figures([seen(NOW + k, 1.0 + k) for k in range(count)])
    have = {"50": found.p50_ms, "90": found.p90_ms, "99": found.p99_ms}
    assert " ".join(name for name, value in have.items() if value is not None) == known
    assert (found.loss_pct is None) == (count == 0)


# The graph


def test_graph_breaks_where_nothing_was_measured_and_marks_failures() -> None:
    observations = [seen(NOW - 3600 + k * 5, 20.0 + k % 3) for k in range(360)]
    observations += [seen(NOW - 1800 + k * 5, None, "timeout") for k in range(12)]
    observations += [seen(NOW - 1740 + k * 5, 21.0) for k in range(348)]
    drawn = graph.draw(observations, NOW)
    assert drawn.line.count("M") == drawn.band.count("M") == 2
    assert [mark.title.split(": ", 1)[1] for mark in drawn.failures] == ["6 x timeout"] * 2
    heights = [float(point.split()[1]) for point in drawn.line.replace("M", "L").split("L")[1:]]
    by_label = {tick.label: tick.at for tick in drawn.y_ticks}
    assert heights[0] == pytest.approx((by_label["20"] + by_label["22"]) / 2, abs=0.1)
    assert all(drawn.top <= height <= drawn.bottom for height in heights)
    assert [tick.label for tick in drawn.x_ticks] == [
        "07:00", "07:10", "07:20", "07:30", "07:40", "07:50", "08:00"
    ]  # fmt: skip


@pytest.mark.parametrize("latency_ms", [0.03, 0.5, 7.0, 250.0, 2900.0])
def test_graph_of_a_steady_latency_has_a_readable_axis(latency_ms: float) -> None:
    drawn = graph.draw([seen(NOW - k, latency_ms) for k in range(100)], NOW)
    labels = [tick.label for tick in drawn.y_ticks]
    assert 2 <= len(labels) <= 8 and len(set(labels)) == len(labels)
    assert float(labels[0]) <= latency_ms <= float(labels[-1])


def test_graph_of_nothing() -> None:
    drawn = graph.draw([], NOW)
    assert (drawn.line, drawn.band, drawn.failures, drawn.y_ticks) == ("", "", [], [])


# Answers


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    settings = load(
        {"TARGET_HOST": "192.0.2.10,b.example:443", "HISTORY_FILE": str(tmp_path / "history")}
    )
    client = create_app(settings, background=False).test_client()
    state_of(client).clock = lambda: NOW
    yield client
    state_of(client).history.close()


def state_of(client: FlaskClient) -> Monitor:
    found: Monitor = client.application.extensions[views.EXTENSION]
    return found


def other(at: float, latency_ms: float) -> Observation:
    return seen(at, latency_ms, target=Watched("b.example", 443))


def test_latency_before_the_first_measurement(client: FlaskClient) -> None:
    body = client.get("/latency").get_json()
    assert body["target_host"] == "192.0.2.10" and body["target_port"] == 80
    assert body["check_interval_seconds"] == 5 and body["connect_timeout_seconds"] == 3
    for name in ("latest_latency_ms", "last_success_unix", "last_error_message", "last_error_unix",
                 "p50_ms", "loss_pct", "kernel_rtt_ms"):  # fmt: skip
        assert body[name] is None, name


def test_latency_after_a_success_and_a_failure(client: FlaskClient) -> None:
    state = state_of(client)
    for k in range(20):
        state.observe(seen(NOW - 100 + k, 24.5 + k))
    state.observe(seen(NOW - 5, None, "refused"))
    body = client.get("/latency").get_json()
    assert body["latest_latency_ms"] == body["kernel_rtt_ms"] == 43.5
    assert body["connect_ms"] == 43.6
    assert body["last_success_unix"] == NOW - 81
    assert body["last_error_message"] == "refused: in words" and body["last_error_unix"] == NOW - 5
    assert (body["p50_ms"], body["samples"], body["attempts"]) == (34.0, 20, 21)
    assert body["loss_pct"] == 4.762 and body["failures"] == {"refused": 1}
    assert [target["target_host"] for target in body["targets"]] == ["192.0.2.10", "b.example"]


def test_health_turns_when_the_last_success_is_too_old(client: FlaskClient) -> None:
    state = state_of(client)
    assert client.get("/health").status_code == 503  # nothing measured yet
    state.observe(seen(NOW - 14, 1.0))  # two intervals, the timeout and a second
    state.observe(other(NOW, 1.0))
    assert client.get("/health").status_code == 200
    state.clock = lambda: NOW + 0.1
    answer = client.get("/health")
    assert answer.status_code == 503
    assert [t["fresh"] for t in answer.get_json()["targets"].values()] == [False, True]


def test_live_is_about_the_threads(listener: socket.socket) -> None:
    app = create_app(load({"TARGET_HOST": target_of(listener).key}), background=False)
    client = app.test_client()
    assert client.get("/health/live").status_code == 503  # not started
    state_of(client).start()
    assert client.get("/health/live").status_code == 200
    state_of(client).stop()
    assert client.get("/health/live").status_code == 503


def test_root_is_json_for_programs_and_a_page_for_browsers(client: FlaskClient) -> None:
    assert set(client.get("/").get_json()["endpoints"]) == {
        "/", "/latency", "/metrics", "/health", "/health/live"
    }  # fmt: skip
    state_of(client).observe(seen(NOW - 20, 24.517))
    state_of(client).observe(seen(NOW - 5, None, "refused"))
    state_of(client).observe(other(NOW, 7.5))
    answer = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    text = answer.get_data(as_text=True)
    assert "7.50<span> ms" in text and "refused: in words" in text
    assert text.count("<svg") == 2 and "http://" not in text and "https://" not in text
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    assert ElementTree.fromstring(svg).findall("path")  # noqa: S314 - our own
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_what_is_known_survives_a_restart(client: FlaskClient, tmp_path: Path) -> None:
    state_of(client).observe(seen(NOW - 10, 24.5))
    state_of(client).observe(seen(NOW - 5, None, "timeout"))
    again = Monitor(state_of(client).settings, clock=lambda: NOW)
    again.history.close()
    known = again.known(TARGET)
    assert known.success is not None and known.success.attempt.latency_ms == 24.5
    assert known.latest is not None and known.latest.attempt.reason == "timeout"


def test_metrics_have_the_originals_names_and_base_units(client: FlaskClient) -> None:
    state = state_of(client)
    for latency_ms in (20.0, 24.5):
        state.observe(seen(NOW, latency_ms))
    state.observe(seen(NOW, None, "refused"))
    state.miss(TARGET, 3)
    text = client.get("/metrics").get_data(as_text=True)
    labels = '{target_host="192.0.2.10",target_port="80"'
    for line in (
        f"network_latency_ms{labels}}} 24.5",
        f"network_latency_success_total{labels}}} 2.0",
        f"network_latency_failure_total{labels}}} 1.0",
        f"cloudping_monitor_rtt_seconds_sum{labels}}} 0.0445",
        f"cloudping_monitor_attempts_total{labels}}} 3.0",
        f"cloudping_monitor_missed_total{labels}}} 3.0",
        f'cloudping_monitor_failures_total{{reason="refused",{labels[1:]}}} 1.0',
        f'cloudping_monitor_failures_total{{reason="timeout",{labels[1:]}}} 0.0',
    ):
        assert line in text, line


def test_the_bounds_of_the_histogram_are_readable_numbers(client: FlaskClient) -> None:
    text = client.get("/metrics").get_data(as_text=True)
    bounds = dict.fromkeys(re.findall(r'rtt_seconds_bucket\{le="([^"]+)"', text))
    assert [float(bound) for bound in bounds] == [*BUCKETS_S, math.inf]
    assert all(len(bound) <= 7 for bound in bounds)  # 2.2e-05, 0.00015, 4.7
    steps = [high / low for low, high in pairwise(BUCKETS_S)]
    assert 1.4 < min(steps) < max(steps) < 1.55


# Recording


def recorder(client: Any, minute: datetime) -> tuple[recording.Recorder, MonitorSettings]:
    settings = load(
        {
            "TARGET_HOST": "192.0.2.10,dynamodb.eu-west-1.amazonaws.com:443",
            "RECORD_SOURCE": "office@eu-central-1",
            "RECORD_TARGETS": "server-b,eu-west-1",
        }
    )
    start = minute.timestamp()
    history = History(None, start)
    history.add(seen(start - 5, 99.0))
    for k in range(11):
        history.add(seen(start + 1 + k * 5, 24.5 + k))
    history.add(seen(start + 61, 98.0))
    far = Watched("dynamodb.eu-west-1.amazonaws.com", 443)
    history.add(seen(start + 3, None, "timeout", far))
    return recording.Recorder(settings, load_shared({}), history, lambda _: client), settings


def test_a_minute_is_a_run_that_every_reader_understands(dynamodb: Any) -> None:
    minute = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    made, _ = recorder(dynamodb, minute)
    made.record(minute)
    (run,) = RunTable(dynamodb).between("office", minute, minute)
    assert (run.interval_s, run.attempts_per_target) == (60, 12)
    assert (run.origin, run.partition) == ("aws", "aws")
    near = run.results["server-b"]
    assert near.host == "192.0.2.10" and near.addresses == ("192.0.2.10",)
    assert [a.latency_ms for a in near.attempts] == [*(24.5 + k for k in range(11)), None]
    assert near.attempts[-1].reason == "not_tried"
    assert [a.reason for a in run.results["eu-west-1"].attempts][:2] == ["timeout", "not_tried"]
    states = {state.region.code: state for state in RegionTable(dynamodb).all()}
    assert set(states) == {"office", "server-b"}  # eu-west-1 is not the monitor's to describe
    assert states["office"].is_source and not states["server-b"].is_target
    assert states["office"].region.latitude == CATALOGUE["eu-central-1"].latitude


def test_the_recorder_asks_for_what_its_role_allows_and_no_more(dynamodb: Any) -> None:
    asked: set[str] = set()
    dynamodb.meta.events.register(
        "before-call.dynamodb", lambda model, **_: asked.add(f"dynamodb:{model.name}")
    )
    minute = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    recorder(dynamodb, minute)[0].record(minute)
    policy = load_template("pair.yaml")["Resources"]["MonitorRecords"]["Properties"]
    allowed = {statement["Action"] for statement in policy["PolicyDocument"]["Statement"]}
    assert asked == allowed == {"dynamodb:PutItem"}


def test_runs_that_could_not_be_written_are_written_later(
    dynamodb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    minute = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    later = floor_minute(from_iso("2026-11-20T06:06:00Z"))
    made, _ = recorder(dynamodb, minute)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunTable, "NAME", "no_such_table")
        made.record(minute)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in said] == ["run", "not_written"]
    assert said[1]["waiting"] == 1 and "no_such_table" in said[1]["error"]
    made.record(later)
    assert [r.timestamp for r in RunTable(dynamodb).between("office", minute, later)] == [
        minute, later
    ]  # fmt: skip


def test_a_run_that_can_never_be_written_holds_up_no_other(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = [floor_minute(from_iso(f"2026-11-20T06:0{k}:00Z")) for k in (5, 6, 7)]
    made, _ = recorder(dynamodb, minutes[0])
    put_once = RunTable.put_once

    def refuse_the_first(self: RunTable, run: Run) -> bool:
        if run.timestamp == minutes[0]:
            raise OverflowError("too large")
        return put_once(self, run)

    monkeypatch.setattr(RunTable, "put_once", refuse_the_first)
    for minute in minutes:
        made.record(minute)
    stored = RunTable(dynamodb).between("office", minutes[0], minutes[-1])
    assert [run.timestamp for run in stored] == minutes[1:]
    monkeypatch.undo()
    made.record(minutes[-1])
    assert len(RunTable(dynamodb).between("office", minutes[0], minutes[-1])) == 3


def test_broken_items_of_the_catalogue_do_not_stop_the_recorder(dynamodb: Any) -> None:
    broken = {"region": {"S": "office"}, "active_from": {"S": "True"}}
    for code in ("office", "us-east-1"):
        item = {**broken, "region": {"S": code}}
        dynamodb.put_item(TableName="cloudping_regions", Item=item)
    minute = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    made, _ = recorder(dynamodb, minute)
    made.record(minute)
    assert len(RunTable(dynamodb).between("office", minute, minute)) == 1
    key = {"region": {"S": "office"}}  # not the recorder's to overwrite
    assert dynamodb.get_item(TableName="cloudping_regions", Key=key)["Item"] == broken


def recorded(
    made: recording.Recorder, monkeypatch: pytest.MonkeyPatch, count: int, minutes_each: int
) -> list[datetime]:
    """The first minutes that the thread records, when each takes so long and then fails."""
    now = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    found: list[datetime] = []
    enough = Event()

    def record(moment: datetime) -> None:
        nonlocal now
        now = max(now, moment + recording.MINUTE) + minutes_each * recording.MINUTE
        found.append(moment)
        if len(found) == count:
            enough.set()
        raise KeyError("region")

    monkeypatch.setattr(recording, "utc_now", lambda: now)
    monkeypatch.setattr(made, "_grace", -recording.MINUTE)
    monkeypatch.setattr(made, "record", record)
    made.start()
    assert enough.wait(10) and made.is_alive()
    made.stop()
    made.join(10)
    assert not made.is_alive()
    return found[:count]


def test_the_recorder_goes_on_whatever_a_minute_raises(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    minute = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    made, _ = recorder(dynamodb, minute)
    minutes = recorded(made, monkeypatch, 4, minutes_each=1)
    assert minutes == [minute + k * recording.MINUTE for k in range(4)]
    assert '"not_recorded"' in capsys.readouterr().out


def test_minutes_that_a_slow_table_kept_waiting_are_made_up_for_as_far_as_the_history_goes(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    made, _ = recorder(dynamodb, minute)
    first, second, third = recorded(made, monkeypatch, 3, minutes_each=40)
    assert (first, second) == (minute, minute + recording.MINUTE)
    # By now 81 minutes have passed, of which the history has 60.
    assert third == minute + 81 * recording.MINUTE - recording.CAUGHT_UP


def test_attempts_keep_their_addresses_when_a_name_moves() -> None:
    minute = floor_minute(from_iso("2026-11-20T06:05:00Z"))
    _, settings = recorder(None, minute)
    observed: dict[str, list[Observation]] = {target.key: [] for target in settings.targets}
    addresses = ("192.0.2.1", "192.0.2.2", None, "192.0.2.1")
    for address in addresses:
        attempt = Attempt(None, reason="dns_error") if address is None else Attempt(5.0)
        observed[TARGET.key].append(
            Observation(TARGET.key, NOW, 0.0, address, 1.0, attempt, METHOD_KERNEL)
        )
    result = recording.run_of(minute, observed, settings).results["server-b"]
    assert result.addresses == ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1")
