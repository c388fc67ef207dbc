"""The netem script: its tables against what is exported, its commands."""

import re
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from frontend.api.export import netem
from frontend.api.export.selection import Selection, percentiles
from tests.frontend.views.plan.planet import window

REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1")
SELECTION = Selection(REGIONS, window(30, REGIONS), "https://cloudping.example")
SCRIPT = netem.script(SELECTION)


def ways(script: str) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """What each end adds, in us, by netem's rule: delay + t / 8192 * sigma."""
    found = {}
    pattern = r"^to (\S+) (\S+) (\d+) (\d+) \S+ <(?: /dev/null|<TABLE\n([-\d\s]+)TABLE)$"
    for a, b, delay, sigma, table in re.findall(pattern, script, re.MULTILINE):
        t = np.array(table.split() or [0], np.int64)
        assert t.min() >= -32768
        assert t.max() <= 32767
        assert len(t) <= 16384
        found[a, b] = int(delay) + t / 8192 * int(sigma)
    return found


def test_both_ways_together_are_the_measured_round_trip() -> None:
    found = ways(SCRIPT)
    assert set(found) == {(a, b) for a in REGIONS for b in REGIONS if a != b}
    for a, b in found:
        both = SELECTION.both(a, b)
        assert both is not None
        round_trip = np.add.outer(found[a, b], found[b, a]).ravel() / 1000
        for p in (1, 50, 90, 99):
            assert np.percentile(round_trip, p) == pytest.approx(
                percentiles(both, [p])[0], rel=0.002
            )
        assert np.median(found[a, b]) == pytest.approx(np.median(found[b, a]), rel=0.001)


def test_the_commands_are_those_of_tc_for_each_machine(tmp_path: Path) -> None:
    """By a stand-in that writes down what it is asked, and looks at the table that it is to use."""
    calls = tmp_path / "calls"
    stub = tmp_path / "tc"
    stub.write_text(
        f'#!/bin/sh\necho "$*" >> {calls}\n'
        'case "$*" in *"distribution table"*) test -s "$TC_LIB_DIR/table.dist" || exit 9;; esac\n'
    )
    stub.chmod(0o755)
    (tmp_path / "netem.sh").write_text(SCRIPT)
    (tmp_path / "hosts").write_text("10.0.0.2 eu-west-1\n2001:db8::3 ap-northeast-1\n10.0.0.9 x\n")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = ["sh", "netem.sh", "us-east-1", "eth0", "hosts"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    made = calls.read_text()
    assert made.count("netem limit 100000 delay") == 2
    assert "distribution table loss" in made
    assert "match ip dst 10.0.0.2/32 flowid 1:3" in made
    assert "match ip6 dst 2001:db8::3/128 flowid 1:2" in made
    assert "10.0.0.9" not in made
    for wrong in (["sh", "netem.sh"], ["sh", "netem.sh", "us-west-9", "eth0", "hosts"]):
        failed = subprocess.run(
            wrong, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert failed.returncode == 2
        assert failed.stderr.count("\n") == 1
