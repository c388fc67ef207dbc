"""What `bench.measuring` runs inside the test bed, perhaps under a CPU quota: one way of measuring.

Reads the job as JSON from its input; prints JSON: wall and CPU seconds of the measuring itself, how
often the quota held it back, and for each host its figures in ms in the order of the connects.
"""

import json
import random
import socket
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "probes"))
from chalicelib import sweep
from chalicelib.sweep import Plan, Target


def core(job: dict[str, Any]) -> dict[str, list[list[float | None]]]:
    """The product: per connect the kernel's round trip and the user-space time."""
    if "in_flight" in job:  # as fast as it goes, to see what many in flight do
        sweep.MAX_IN_FLIGHT = job["in_flight"]  # type: ignore[misc] # Final, but for this table
        sweep.MIN_PACE_S = 0.0
    plan = Plan(job["attempts"], 2.5, 60, job.get("memory_mb", 0))
    measured = sweep.measure({host: Target(host) for host in job["hosts"]}, plan)
    return {
        host: [[attempt.latency_ms, attempt.connect_ms] for attempt in result.attempts]
        for host, result in measured.results.items()
    }


def blocking(job: dict[str, Any]) -> dict[str, list[list[float | None]]]:
    """As the original CloudPing, without its sleeps: one after another, the lookup in the timer."""
    figures: dict[str, list[list[float | None]]] = {}
    for host in random.sample(job["hosts"], len(job["hosts"])):
        for _ in range(job["attempts"]):
            began = perf_counter()
            try:
                socket.create_connection((host, 443), timeout=1).close()
            except OSError:
                took = None
            else:
                took = (perf_counter() - began) * 1000
            figures.setdefault(host, []).append([took])
    return figures


def held_back(cpu_stat: str | None) -> tuple[int, int]:
    """Periods of a CPU quota so far in which there was work, and those in which it was stopped."""
    if cpu_stat is None:
        return 0, 0
    stat = dict(line.split() for line in Path(cpu_stat).read_text().splitlines())
    return int(stat["nr_periods"]), int(stat["nr_throttled"])


def main() -> None:
    job = json.load(sys.stdin)
    way = {"core": core, "blocking": blocking}[job["way"]]
    periods, stopped = held_back(job["cpu_stat"])
    wall, cpu = perf_counter(), process_time()
    figures = way(job)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    periods_after, stopped_after = held_back(job["cpu_stat"])
    answer = {
        "wall_s": wall,
        "cpu_s": cpu,
        "periods": periods_after - periods,
        "held_back": stopped_after - stopped,
        "figures": figures,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
