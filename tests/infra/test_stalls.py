"""Which error bound the marked connects of runs support, with stalls of known kind."""

from datetime import UTC, datetime

import numpy as np
import pytest

from cloudping.regions import CATALOGUE
from cloudping.runs import METHOD_CONNECT, METHOD_KERNEL, ORIGIN_AWS, Attempt, Run, TargetResult
from infra import stalls


def run(stands_still: str, stalled: int, method: str = METHOD_KERNEL) -> Run:
    """39 targets, five attempts; during the first at some of them the process or machine stalls."""
    rng = np.random.default_rng(7)
    results = {}
    for number, (code, place) in enumerate(CATALOGUE.items()):
        base_ms = 5.0 + 6 * number
        attempts = []
        for attempt in range(5):
            latency_ms = base_ms + float(rng.exponential(0.1))
            stall_ms = 17.0 if attempt == 0 and number < stalled else 0.0
            late_ms = float(rng.uniform(0, stall_ms))
            if stands_still == "machine":
                latency_ms += late_ms
                late_ms = 0
            attempts.append(Attempt(latency_ms, latency_ms + late_ms + 0.1, stall_ms=stall_ms))
        results[code] = TargetResult(place.endpoint, ("192.0.2.1",), 1.0, tuple(attempts))
    return Run(
        "eu-west-1", datetime(2026, 11, 20, tzinfo=UTC), "aws", 300, 5, method, ORIGIN_AWS, results
    )


@pytest.mark.parametrize(
    ("stands_still", "kept_time", "said"),
    [("process", True, "the narrow bound"), ("machine", False, "the wide bound")],
)
def test_the_runs_tell_which_bound_holds(stands_still: str, kept_time: bool, said: str) -> None:
    found = stalls.of([run(stands_still, 35), run(stands_still, 35)])
    assert (found.connects, found.marked) == (2 * 39 * 5, 70)
    assert found.kernel_kept_time is kept_time
    assert said in str(found)
    assert found.late_ms is not None
    assert (found.late_ms > 4) is kept_time


def test_too_few_say_nothing() -> None:
    found = stalls.of([run("process", 5)])
    assert (found.marked, found.kernel_kept_time, found.late_ms) == (5, None, None)
    assert "too few to tell" in str(found)
    assert "met one (none)" in str(stalls.of([]))


def test_latencies_of_the_program_say_nothing() -> None:
    assert stalls.of([run("process", 35, METHOD_CONNECT)]) == stalls.Stalls(0, 0)
