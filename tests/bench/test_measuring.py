"""The measuring benchmark's own arithmetic, and that its quota holds a process back."""

import subprocess
import sys

import pytest

from bench import cpu_quota
from bench.cpu_quota import PERIOD_US, CpuQuota
from bench.measuring import Network, Runner, bias, client, network, with_truth
from tests.testbed import bed

NO_QUOTA = cpu_quota.why_not() if sys.platform.startswith("linux") else "control groups are Linux's"


def test_bias_is_figure_minus_wire_and_leaves_failures_out() -> None:
    figures: dict[str, list[float | None]] = {"a": [10.1, None, 10.3], "b": [4.9]}
    truth: dict[str, list[float | None]] = {"a": [10.0, 10.0, 10.0], "b": [5.0], "c": [1.0]}
    found = bias(figures, truth)
    assert found.count == 3
    assert found.median == pytest.approx(100)
    assert found.p99 == pytest.approx(300)


def test_a_figure_without_its_connect_on_the_wire_is_an_error() -> None:
    with pytest.raises(ValueError):
        bias({"a": [10.0, 10.0]}, {"a": [10.0]})


@pytest.mark.skipif(NO_QUOTA is not None, reason=NO_QUOTA or "can run")
def test_the_quota_holds_a_busy_process_back() -> None:
    busy = "import time; end = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass\n"
    busy += "print(time.process_time())"
    with CpuQuota(128) as quota:
        done = subprocess.run(
            quota.command(sys.executable, "-c", busy), check=True, capture_output=True, text=True
        )
        stat = dict(line.split() for line in quota.cpu_stat.read_text().splitlines())
    assert int(stat["nr_throttled"]) > 10
    # Half a second at 1,447 µs in each 20 ms is 36 ms; generous, as the start counts as well.
    assert float(done.stdout) < 0.5 * 3 * quota.quota_us / PERIOD_US
    assert not quota.cpu_stat.exists()


class TestOnTestbed:
    pytestmark = bed.needs_root

    def test_both_of_our_ways_against_the_wire(self) -> None:
        with network(4, [2.0, 5.0, 10.0, 20.0]) as place:
            for way, kinds in (("core", {"kernel", "user"}), ("blocking", {"user"})):
                assert_outcome(place, way, kinds)


def assert_outcome(place: Network, way: str, kinds: set[str]) -> None:
    names = list(place.names.values())
    outcome, truth = with_truth(place, lambda: client(Runner(place.net), way, names))
    assert set(outcome.figures) == kinds
    for figures in outcome.figures.values():
        assert set(figures) == set(names)
        assert bias(figures, truth).count == 20
