"""A real nginx behind the delay link: what the kernel measures is the link's delay."""

import shutil
from pathlib import Path
from statistics import median

import pytest
from chalicelib.sweep import Plan, Target, measure

from tests.testbed import bed
from tests.testbed.bed import Bed
from tests.testbed.rules import Rule, addresses

NGINX = shutil.which("nginx")

pytestmark = [*bed.needs_root, pytest.mark.skipif(NGINX is None, reason="needs nginx")]


def test_nginx_behind_a_known_delay(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; "
        f"proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f; "
        f"uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s; "
        "server { listen 8080; return 204; } }\n"
    )
    near, far, gone = addresses(3)
    rules = {near: Rule(rtt_ms=5), far: Rule(rtt_ms=80), gone: Rule(behaviour="silent")}
    with Bed(rules, link=True) as net:
        server = net.serve(str(NGINX), "-c", str(tmp_path / "nginx.conf"), port=8080)
        try:
            targets = {
                "near": Target(near, 8080),
                "far": Target(far, 8080),
                "closed": Target(near, 81),
                "gone": Target(gone, 8080),
            }
            capture = net.capture()
            measured = net.call(measure, targets, Plan(attempts=5, timeout_s=0.5, deadline_s=10))
            seen = capture.handshakes()
            capture.close()
        finally:
            server.terminate()
            server.wait(5)
    for name, rtt_ms in (("near", 5), ("far", 80)):
        latencies = [a.latency_ms for a in measured.results[name].attempts if a.latency_ms]
        assert len(latencies) == 5
        wire = [h.rtt_ms for (to, _), h in seen.items() if to == targets[name].host and h.rtt_ms]
        assert rtt_ms <= min(latencies) < rtt_ms + 10
        if name == "far":
            assert abs(median(latencies) - median(wire)) < 0.5
    assert {a.reason for a in measured.results["closed"].attempts} == {"refused"}
    assert {a.reason for a in measured.results["gone"].attempts} == {"timeout"}
