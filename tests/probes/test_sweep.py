"""Sweeps on the loopback interface: order, pace, bounds, deadline."""

import os
import random
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

import pytest
from chalicelib import sweep as module
from chalicelib.connect import Connects
from chalicelib.sweep import (
    MAX_IN_FLIGHT,
    MAX_PACE_S,
    MIN_PACE_S,
    Plan,
    Route,
    Target,
    lookups_at_once,
    measure,
    pace_s,
    sweep,
)

PLAN = Plan(attempts=3, timeout_s=1, deadline_s=10)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable, not secret


@pytest.fixture
def ports() -> Iterator[list[int]]:
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
            for _ in range(4)
        ]
        yield [sock.getsockname()[1] for sock in socks]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What was started when, in seconds; the connects are real."""
    seen: list[tuple[str, float]] = []
    start = Connects.start

    def noted(
        self: Any, key: tuple[str, int], address: str, port: int, timeout_s: float | None = None
    ) -> None:
        seen.append((key[0], perf_counter()))
        start(self, key, address, port, timeout_s)

    monkeypatch.setattr(Connects, "start", noted)
    return seen


def test_every_target_is_measured_as_often_as_planned(ports: list[int]) -> None:
    targets = {f"t{port}": Target("127.0.0.1", port) for port in ports}
    measured = measure(targets, PLAN)
    assert set(measured.results) == set(targets)
    for result in measured.results.values():
        assert (result.host, result.addresses, result.dns_ms) == ("127.0.0.1", ("127.0.0.1",), None)
        assert len(result.attempts) == 3
        assert all(a.latency_ms is not None for a in result.attempts)


def test_rounds_are_interleaved_in_a_fresh_order_each(
    ports: list[int], starts: list[tuple[str, float]]
) -> None:
    targets = {str(port): Target("127.0.0.1", port) for port in ports}
    measure(targets, Plan(8, 1, 10), rng=seeded(1))
    order = [key for key, _ in starts]
    rounds = [tuple(order[at : at + 4]) for at in range(0, len(order), 4)]
    assert all(set(one) == set(targets) for one in rounds)
    assert len(set(rounds)) > 1


def test_starts_are_paced(ports: list[int], starts: list[tuple[str, float]]) -> None:
    targets = {str(port): Target("127.0.0.1", port) for port in ports}
    measure(targets, Plan(3, 1, 10, memory_mb=128))
    gaps = [b - a for (_, a), (_, b) in pairwise(starts)]
    assert median(gaps) >= 0.9 * pace_s(128)


def test_pace_follows_the_cpu_share_within_bounds() -> None:
    assert pace_s(0) == pace_s(3008) == MIN_PACE_S
    assert MIN_PACE_S < pace_s(256) < pace_s(128) < MAX_PACE_S
    assert pace_s(256, cpu_per_connect_s=0.002) > pace_s(256)
    assert pace_s(128, cpu_per_connect_s=1) == MAX_PACE_S
    assert lookups_at_once(128) == 1
    assert lookups_at_once(0) == lookups_at_once(1024) == 8


class Silent:
    """Connects to a target that never answers; notes what was started when, and how many fly."""

    def __init__(self, timeout_s: float, _: Any) -> None:
        self._real = Connects[tuple[str, int]](timeout_s, None)
        self._full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._waiting = [socket.socket() for _ in range(4)]
        for sock in self._waiting:  # a listener whose queue is full drops SYNs
            sock.setblocking(False)
            sock.connect_ex(self._full.getsockname())
        self.started: list[tuple[str, int, float, float | None]] = []
        self.flying: set[tuple[str, int]] = set()
        self.flying_at_start: list[int] = []
        self.most = 0

    def __getitem__(self, _: Any) -> Callable[..., "Silent"]:
        return lambda *_: self  # where the sweep says Connects[…](…)

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        self._real.__exit__()
        for sock in (self._full, *self._waiting):
            sock.close()

    def start(
        self, key: tuple[str, int], address: str, port: int, timeout_s: float | None = None
    ) -> None:
        self.flying.add(key)
        self.most = max(self.most, len(self.flying))
        self.started.append((*key, perf_counter(), timeout_s))
        self.flying_at_start.append(len(self.flying))
        host, listening = self._full.getsockname()
        self._real.start(key, host, listening, timeout_s)

    def wait(self, until_ns: int | None) -> list[Any]:
        over = self._real.wait(until_ns)
        self.flying.difference_update(key for key, _ in over)
        return over


def test_silent_targets_never_exceed_the_bound_on_connects_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = Silent(0.05, None)
    monkeypatch.setattr(module, "Connects", silent)
    monkeypatch.setattr(module, "MIN_PACE_S", 0.0001)
    routes = {f"t{n}": Route(("127.0.0.1",), 1) for n in range(50)}
    done = sweep(routes, Plan(4, 0.05, 10), perf_counter_ns(), None, seeded(2))
    assert silent.most == MAX_IN_FLIGHT
    assert all([a.reason for a in attempts] == ["timeout"] * 4 for attempts in done.values())


@pytest.mark.parametrize(("timeout_s", "in_time_s"), [(2.5, 1.0), (0.2, 0.2)])
def test_after_two_lost_attempts_the_rest_are_not_waited_for_at_full_length(
    monkeypatch: pytest.MonkeyPatch, timeout_s: float, in_time_s: float
) -> None:
    """The second begins when the first's SYN is repeated, or it has timed out before that."""
    silent = Silent(timeout_s, None)
    monkeypatch.setattr(module, "Connects", silent)
    routes = {"dead": Route(("127.0.0.1",), 1)}
    done = sweep(routes, Plan(5, timeout_s, 30), perf_counter_ns(), None, seeded(4))
    assert [a.reason for a in done["dead"]] == ["timeout"] * 5
    assert [number for _, number, _, _ in silent.started] == list(range(5))
    assert [patience for *_, patience in silent.started] == [None, None, *[in_time_s] * 3]
    first, second, *rest = (at for _, _, at, _ in silent.started)
    assert second - first >= in_time_s
    assert min(rest) - second >= in_time_s
    if timeout_s > in_time_s:  # the first is waited for still, but holds nobody up
        assert silent.flying_at_start[:2] == [1, 2]


def test_the_deadline_counts_the_lookups_too(ports: list[int]) -> None:
    routes = {"late": Route(("127.0.0.1",), ports[0])}
    ten_seconds_ago = perf_counter_ns() - 10_000_000_000
    done = sweep(routes, Plan(2, 1, 10), ten_seconds_ago, None, seeded(3))
    assert [a.reason for a in done["late"]] == ["not_tried"] * 2


def test_family_is_by_choice_and_never_another(ports: list[int]) -> None:
    measured = measure({"v4": Target("127.0.0.1", ports[0])}, Plan(2, 1, 10, family=6))
    assert [a.reason for a in measured.results["v4"].attempts] == ["dns_error"] * 2
    assert measured.dns_errors == {"v4": "127.0.0.1 is not an IPv6 address"}


def test_no_descriptor_left_is_the_probes_own_fault_also_for_names(ports: list[int]) -> None:
    """A lookup that this machine could not ask for says nothing of the name: no loss."""
    targets = {"name": Target("localhost", ports[0]), "address": Target("127.0.0.1", ports[0])}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        measured = measure(targets, PLAN)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for result in measured.results.values():
        assert [a.reason for a in result.attempts] == ["local_error"] * 3
    assert measured.dns_errors == {"name": "Too many open files"}


def test_nothing_to_measure_is_no_error() -> None:
    assert measure({}, PLAN).results == {}
