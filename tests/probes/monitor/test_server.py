"""The monitor under gunicorn: bad settings, stopping, a lost worker, and a real Prometheus."""

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from urllib.parse import urlencode

import pytest

from tests.conftest import ROOT
from tests.probes.monitor.server import (
    GUNICORN,
    environment,
    free_port,
    get,
    get_json,
    running,
    start,
    until,
)


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """A listener that accepts and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    server.accept()[0].close()
            except OSError:
                pass

        thread = Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "monitor: TARGET_HOST='' is not usable: expected a host name or IP address"),
        ({"TARGET_HOST": "a.example", "TARGET_PORT": "0"}, "monitor: TARGET_PORT='0'"),
        ({"TARGET_HOST": "a.example", "PORT": "65536"}, "monitor: PORT='65536'"),
        (
            {"TARGET_HOST": "a.example", "CHECK_INTERVAL_SECONDS": "0"},
            "monitor: CHECK_INTERVAL_SECONDS='0'",
        ),
        (
            {"TARGET_HOST": "a.example", "RECORD_SOURCE": "office@eu-west-1",
             "RECORD_TARGETS": "b", "CLOUDPING_PREFIX": "Team-"},
            "monitor: CLOUDPING_PREFIX='Team-'",
        ),
    ],
)  # fmt: skip
def test_a_bad_setting_is_one_line_and_code_2(settings: dict[str, str], says: str) -> None:
    process = start(settings)
    said, _ = process.communicate(timeout=15)
    assert process.returncode == 2
    assert said.startswith(says) and len(said.splitlines()) == 1


def test_a_name_that_does_not_resolve_is_reported_and_tried_again() -> None:
    with running(TARGET_HOST="no.invalid", CHECK_INTERVAL_SECONDS="0.2") as (url, _):
        until(lambda: get_json(f"{url}/latency")["attempts"] >= 3, 15)
        body = get_json(f"{url}/latency")
        assert body["failures"] == {"dns_error": body["attempts"]}
        assert body["last_error_message"].startswith("dns_error: no.invalid does not resolve")
        assert body["latest_latency_ms"] is None
        assert get(f"{url}/health")[0] == 503
        assert get(f"{url}/health/live")[0] == 200


def seconds_to_end(target: str, sends: bytes) -> float:
    """How long SIGTERM takes with a client connected and a connect in flight."""
    # 192.0.2.1 (RFC 5737) does not answer.
    settings = {"TARGET_HOST": f"{target},192.0.2.1", "CHECK_INTERVAL_SECONDS": "0.1"}
    with running(**settings) as (url, process):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address) as client:
            client.sendall(sends)
            sleep(0.2)
            began = monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=5)
            took_s = monotonic() - began
        assert process.returncode == 0
    return took_s


@pytest.mark.parametrize("sends", [b"", b"GET /latency HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_sigterm_ends_it_within_a_second(target: str, sends: bytes) -> None:
    # The quickest of three, since other tests may have the machine busy.
    assert min(seconds_to_end(target, sends) for _ in range(3)) < 1


@pytest.mark.parametrize(
    "sends",
    [
        b"",
        b"GET /health/live HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n",  # and does not read, nor close
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf a body",
    ],
)
def test_clients_that_dawdle_do_not_keep_the_health_check_waiting(
    target: str, sends: bytes
) -> None:
    """Three for each of its threads, all of them still connected when the answers have come."""
    with running(TARGET_HOST=target) as (url, _), ExitStack() as stack:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        for _ in range(12):
            client = stack.enter_context(socket.create_connection(address))
            client.sendall(sends)
        for _ in range(3):
            assert get(f"{url}/health/live") == (200, '{"status":"ok"}\n')


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_more_connections_than_descriptors_do_not_end_the_process(target: str) -> None:
    port = free_port()
    settings = {"TARGET_HOST": target, "PORT": str(port), "CHECK_INTERVAL_SECONDS": "0.1"}
    process = start(settings, lambda *words: ("sh", "-c", 'ulimit -n 48; exec "$@"', "-", *words))
    url = f"http://127.0.0.1:{port}"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        until(lambda: get(f"{url}/health/live")[0] == 200, 15)
        before = children.read_text()
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            until(lambda: get(f"{url}/health/live")[0] == 200, 15)
        since = get_json(f"{url}/latency")["samples"]
        until(lambda: get_json(f"{url}/latency")["samples"] > since, 15)  # it measures again
        assert children.read_text() == before != ""
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


def test_a_head_without_end_ends_the_connection_and_the_next_is_served(target: str) -> None:
    with running(TARGET_HOST=target) as (url, _):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=5) as client, suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(100):
                client.sendall(b"X-A: " + b"a" * 1_000)
            assert client.recv(100) == b""
        assert get(f"{url}/health/live")[0] == 200


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_the_history_survives_a_killed_worker(target: str, tmp_path: Path) -> None:
    settings = {
        "TARGET_HOST": target,
        "CHECK_INTERVAL_SECONDS": "0.1",
        "HISTORY_FILE": str(tmp_path / "history"),
    }
    with running(**settings) as (url, process):
        until(lambda: get_json(f"{url}/latency")["samples"] >= 10, 10)
        before = get_json(f"{url}/latency")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1  # one worker and no more
        os.kill(int(children[0]), signal.SIGKILL)

        def measures_again() -> bool:
            code, text = get(f"{url}/latency")
            return code == 200 and json.loads(text)["samples"] >= before["samples"] + 5

        until(measures_again, 15)
        after = get_json(f"{url}/latency")
        assert after["history_since_unix"] == pytest.approx(before["history_since_unix"], abs=0.2)
    with running(**settings) as (url, _):
        assert get_json(f"{url}/latency")["samples"] >= after["samples"]


def test_what_the_image_copies_is_enough(target: str, tmp_path: Path) -> None:
    """The files that Dockerfile.monitor copies, and nothing else of the checkout, serve."""
    copies = re.findall(r"^COPY (\S+) (\S+)$", (ROOT / "Dockerfile.monitor").read_text(), re.M)
    app = tmp_path / "app"
    workdir = app / "probes"
    workdir.mkdir(parents=True)
    for source, destination in copies:
        goal = app / Path(destination).relative_to("/app") if destination[0] == "/" else None
        goal = goal or workdir / destination
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, goal, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, goal)
    port = str(free_port())
    process = subprocess.Popen(
        [GUNICORN, "--config", "monitor/gunicorn.conf.py"],
        cwd=workdir,
        env={**environment(TARGET_HOST=target, PORT=port), "PYTHONPATH": str(app)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: get(f"http://127.0.0.1:{port}/health")[0] == 200, 15)
        code, page = get(f"http://127.0.0.1:{port}/", accept="text/html")
        assert code == 200 and "<svg" in page
    finally:
        process.terminate()
        process.wait(5)


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def test_promtool_has_nothing_to_say_but_of_the_originals_name(target: str) -> None:
    promtool = needs("promtool")
    with running(TARGET_HOST=target) as (url, _):
        until(lambda: get_json(f"{url}/latency")["samples"] >= 1, 10)
        everything = get(f"{url}/metrics")[1]
    # The one name that the rules for names do not allow, kept for those who know the original.
    own = "".join(
        line for line in everything.splitlines(keepends=True) if "network_latency_ms" not in line
    )
    for text, complaints in (
        (everything, "network_latency_ms metric names should not contain abbreviated units\n"),
        (own, ""),
    ):
        said = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert said.stderr == complaints
        assert (said.returncode == 0) == (complaints == "")


def test_a_real_prometheus_scrapes_it(target: str, tmp_path: Path) -> None:
    prometheus = needs("prometheus")
    with running(TARGET_HOST=target, CHECK_INTERVAL_SECONDS="0.05") as (url, _):
        (tmp_path / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            f"  - {{job_name: pair, static_configs: [{{targets: ['{url[7:]}']}}]}}\n"
        )
        port = free_port()
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [
                    prometheus,
                    f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        try:

            def query(expression: str) -> list[tuple[dict[str, str], float]]:
                question = urlencode({"query": expression})
                code, text = get(f"http://127.0.0.1:{port}/api/v1/query?{question}")
                found = json.loads(text)["data"]["result"] if code == 200 else []
                return [(entry["metric"], float(entry["value"][1])) for entry in found]

            median = "histogram_quantile(0.5, rate(cloudping_monitor_rtt_seconds_bucket[30s]))"
            # rate() needs two scrapes; NaN until then.
            until(lambda: any(not math.isnan(value) for _, value in query(median)), 30)
            ((labels, median_s),) = query(median)
            p50_s = get_json(f"{url}/latency")["p50_ms"] / 1000
            host, _, target_port = target.partition(":")
            assert (labels["target_host"], labels["target_port"]) == (host, target_port)
            # A bucket is a factor of up to 1.5 wide; loopback may be within the first, of 22 µs.
            assert median_s == pytest.approx(p50_s, rel=0.5) or max(median_s, p50_s) <= 0.000034
            ((_, up),) = query("cloudping_monitor_up")
            ((_, original),) = query("network_latency_ms")
            assert up == 1 and 0 < original < 100
            ((_, scraped),) = query("up")
            assert scraped == 1
        finally:
            process.terminate()
            process.wait(15)
