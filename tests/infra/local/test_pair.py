"""`make pair`: the target as on the server, the monitor beside it, both ended together."""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

import pytest

from infra.local import pair
from infra.local.server import LocalError
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def get(url: str) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is self-signed
    with urlopen(url, timeout=5, context=context) as answer:  # noqa: S310
        content: bytes = answer.read()
        return content.decode()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[str, str]]:
    port, tls_port = free_ports(2)
    child = pair.start_target(tmp_path, port, tls_port)
    try:
        child.wait_until_up(f"http://127.0.0.1:{port}/health", 10)
        yield f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}"
    finally:
        child.stop(5)


def test_nginx_accepts_the_servers_configuration_as_it_is(tmp_path: Path) -> None:
    pair.write_target(tmp_path, (pair.SERVER / "listen.conf").read_text())
    pair.certificate(tmp_path / "certificate")
    command = pair.nginx(tmp_path)
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr and "[emerg]" not in done.stderr


def test_target_answers_over_both(target: tuple[str, str]) -> None:
    for base in target:
        assert "CloudPing target" in get(f"{base}/")
        assert get(f"{base}/health") == "ok\n"
        assert json.loads(get(f"{base}/status"))["status"] == "ok"
        info = json.loads(get(f"{base}/info"))
        assert info["scheme"] == base.partition(":")[0]
        assert info["client"]["address"] == "127.0.0.1"


def test_target_counts_as_nginx_prometheus_exporter_does(target: tuple[str, str]) -> None:
    base, _ = target

    def counts() -> dict[str, float]:
        lines = [line for line in get(f"{base}/metrics").splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, value in map(str.split, lines)}

    before = counts()
    assert set(before) == {
        *(f"nginx_connections_{state}" for state in
          ("accepted", "active", "handled", "reading", "waiting", "writing")),
        "nginx_http_requests_total", "nginx_up",
    }  # fmt: skip
    for _ in range(3):
        get(f"{base}/status")
    after = counts()
    assert after["nginx_http_requests_total"] - before["nginx_http_requests_total"] == 4
    assert after["nginx_connections_accepted"] - before["nginx_connections_accepted"] == 4
    assert after["nginx_up"] == 1


def test_target_logs_each_request_with_what_the_kernel_knows(
    target: tuple[str, str], tmp_path: Path
) -> None:
    for base in target:
        get(f"{base}/info")
    with socket.create_connection(("127.0.0.1", int(target[0].rpartition(":")[2]))):
        pass  # as the monitor does: no request
    logs = tmp_path / "target" / "logs"
    deadline = monotonic() + 5
    while "while waiting for request" not in (logs / "error.log").read_text():
        assert monotonic() < deadline
        sleep(0.05)
    plain, tls = map(json.loads, (logs / "access.log").read_text().splitlines())
    assert plain["request"] == "GET /info HTTP/1.1" and plain["status"] == 200
    assert plain["tls"] == "" and tls["tls"].startswith("TLSv1.")
    assert plain["client_port"] > 0 and tls["connection"] > plain["connection"]
    if sys.platform == "linux":
        assert 0 < plain["rtt_us"] < 1_000_000


def test_certificate_is_made_once(tmp_path: Path) -> None:
    pair.certificate(tmp_path)
    first = (tmp_path / "certificate.pem").read_bytes()
    pair.certificate(tmp_path)
    assert (tmp_path / "certificate.pem").read_bytes() == first
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0


def test_the_pair_runs_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    port, target_port, tls_port = free_ports(3)
    process = subprocess.Popen(
        [sys.executable, "-m", "infra", "local-pair", "--port", str(port), "--folder",
         str(tmp_path), "--target-port", str(target_port), "--tls-port", str(tls_port),
         "--interval", "0.2"],
        cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(3)]
    assert said[0] == f"monitor: http://127.0.0.1:{port}/\n", said
    assert re.match(r"target: +http://127\.0\.0\.1:\d+/ and https://", said[1])
    deadline = monotonic() + 10
    while json.loads(get(f"http://127.0.0.1:{port}/latency"))["samples"] < 3:
        assert monotonic() < deadline
        sleep(0.1)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=10)
    assert process.returncode == 0, rest
    assert not any(map(listens, (port, target_port, tls_port)))
    assert (tmp_path / "history.jsonl").read_text().count("\n") >= 3


def test_a_taken_port_is_one_line_that_says_which_setting(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    pair.add_arguments(parser)
    with socket.create_server(("127.0.0.1", 0)) as other:
        words = ["--port", str(other.getsockname()[1]), "--folder", str(tmp_path)]
        with pytest.raises(LocalError, match=r"not free .* PAIR_PORT="):
            pair.run(parser.parse_args(words))
