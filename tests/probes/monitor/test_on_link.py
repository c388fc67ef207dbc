"""The pair with a real nginx behind a link of known delay: figures, failures, recovery."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest

from infra.local.pair import certificate, nginx, write_target
from tests.probes.monitor.server import get, start, until
from tests.testbed import bed
from tests.testbed.bed import Bed
from tests.testbed.rules import NETWORK, Rule, addresses

pytestmark = [
    *bed.needs_root,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx"),
]

RTT_MS = 12.0
INTERVAL_S = 0.05
TIMEOUT_S = 0.3


@dataclass
class Pair:
    """The running pair: the link's network, both servers, the monitor's history file."""

    net: Bed
    target: str
    folder: Path
    nginx: "subprocess.Popen[bytes]"
    history: Path

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        code, text = self.net.call(get, f"http://127.0.0.1:8000{path}")
        return code, json.loads(text) if code else {}

    def attempts(self) -> int:
        return int(self.get("/latency")[1].get("attempts", 0))

    def is_failing_with(self, reason: str) -> bool:
        """Unhealthy, and the newest failures are of this reason and counted so."""
        code, _ = self.get("/health")
        _, latency = self.get("/latency")
        return (
            code == 503
            and latency["last_error_message"].startswith(f"{reason}: ")
            and latency["failures"].get(reason, 0) >= 3
        )

    def is_healthy(self) -> bool:
        return self.get("/health")[0] == 200

    def start_nginx(self) -> None:
        self.nginx = serve(self.net, self.folder)

    def on_server(self, *command: str) -> None:
        """Runs a command on the link's far side."""
        subprocess.run(["nsenter", f"--net={self.net._server}", "--", *command], check=True)


def serve(net: Bed, folder: Path) -> "subprocess.Popen[bytes]":
    return net.serve(*nginx(folder), port=80)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    folder = tmp_path / "target"
    write_target(folder, "listen 80;\nlisten 443 ssl;\n")
    certificate(folder / "certificate")
    (address,) = addresses(1)
    history = tmp_path / "history"
    with Bed({address: Rule(rtt_ms=RTT_MS)}, link=True) as net:
        running = Pair(net, address, folder, serve(net, folder), history)
        monitor = start(
            {
                "TARGET_HOST": address,
                "CHECK_INTERVAL_SECONDS": str(INTERVAL_S),
                "CONNECT_TIMEOUT_SECONDS": str(TIMEOUT_S),
                "PORT": "8000",
                "HISTORY_FILE": str(history),
            },
            net.command,
        )
        try:
            until(lambda: running.attempts() > 0, 30)
            yield running
        finally:
            monitor.send_signal(signal.SIGTERM)
            monitor.communicate(timeout=5)
            running.nginx.terminate()
            running.nginx.wait(5)


def test_latency_is_the_wires_round_trip(pair: Pair) -> None:
    capture = pair.net.capture()
    skipped = pair.attempts()
    until(lambda: pair.attempts() >= skipped + 110, 30)
    wire = [
        handshake.rtt_ms
        for (address, _), handshake in capture.handshakes().items()
        if address == pair.target and handshake.rtt_ms is not None
    ]
    capture.close()
    _, body = pair.get("/latency")
    assert body["method"] == "kernel-1" and body["loss_pct"] == 0
    lines = pair.history.read_text().splitlines()[skipped : skipped + 100]
    measured = [json.loads(line)["attempt"]["latency_ms"] for line in lines]
    assert len(measured) == 100 and len(wire) >= 100
    # One connect at a time: the figures and the capture are in the same order, but for where the
    # capture began.
    offset = min(
        range(len(wire) - 99),
        key=lambda at: sum(abs(a - b) for a, b in zip(measured, wire[at:], strict=False)),
    )
    # The median: where other work has the machine, a stall falls on the wire's side or on the
    # kernel's. `python -m bench.measuring` shows the tail.
    assert median(abs(a - b) for a, b in zip(measured, wire[offset:], strict=False)) < 0.1
    cuts = quantiles(wire, n=100, method="inclusive")
    assert body["p50_ms"] == pytest.approx(cuts[49], abs=0.1)
    assert RTT_MS <= min(measured) < RTT_MS + 1


def test_nginx_stopped_is_refused_and_link_down_is_timeout_and_both_recover(pair: Pair) -> None:
    until(pair.is_healthy, 30)

    pair.nginx.terminate()
    pair.nginx.wait(5)
    until(lambda: pair.is_failing_with("refused"), 30)
    pair.start_nginx()
    until(pair.is_healthy, 30)

    # Packets still arrive on the far side, where nobody takes them any more.
    pair.on_server("ip", "route", "del", "local", NETWORK, "dev", "lo")
    until(lambda: pair.is_failing_with("timeout"), 30)
    missed = pair.get("/latency")[1]["missed"]
    assert missed >= 3  # a timeout lasts six intervals
    pair.on_server("ip", "route", "add", "local", NETWORK, "dev", "lo")
    until(pair.is_healthy, 30)

    _, text = pair.net.call(get, "http://127.0.0.1:8000/metrics")
    for reason in ("refused", "timeout"):
        pattern = f'cloudping_monitor_failures_total{{reason="{reason}",target_host="{pair.target}"'
        (line,) = (line for line in text.splitlines() if line.startswith(pattern))
        assert float(line.split()[-1]) >= 3


def test_the_target_answers_in_every_way(pair: Pair) -> None:
    base = f"http://{pair.target}"
    for path in ("/", "/health"):
        assert pair.net.call(get, f"{base}{path}")[0] == 200
    assert json.loads(pair.net.call(get, f"{base}/status")[1])["status"] == "ok"
    info = json.loads(pair.net.call(get, f"{base}/info")[1])
    # The server's own view of the round trip, from the handshake's last packet.
    assert RTT_MS <= info["tcp"]["rtt_us"] / 1000 < RTT_MS + 20
