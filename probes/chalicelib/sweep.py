"""Measures many targets in one sweep: interleaved rounds in random order, paced and bounded.

Bursts and Python work between a packet's arrival and its time stamp are what falsifies figures on
a small CPU share. So connects start one by one, a pace apart; targets take turns, in a fresh
order each round, so that no disturbance meets all attempts at one of them; and no target has two
connects in flight that can still be answered in time, so that a dead one delays nobody.

A target that does not answer would make a run several times as long, and as dear. What is not
answered until its SYN is repeated is lost, whatever comes later; waiting on tells only which kind
of loss it is. So the next attempt does not wait for that, and after two such attempts in a run the
target is taken for silent: its others start together and are waited for just until that moment. A
SYN is sent and an answer in time is a latency all the same, so that every attempt counts as it
would have: docs/method.md.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter_ns, process_time
from typing import Final

from chalicelib.connect import SYN_REPEATED_S, Connects, ReadRtt, kernel_rtt, method
from chalicelib.resolve import Family, resolve

from cloudping.runs import Attempt, TargetResult
from cloudping.times import utc_now

MAX_IN_FLIGHT: Final = 32
SILENT_AFTER: Final = 2  # lost attempts in a run; one alone is a lost packet
SPREAD: Final = 0.1  # each gap is up to this share shorter or longer, at random

# Memory at which a Lambda has one full core (AWS Lambda documentation, "Memory and computing
# power"); below, its share of a core is proportional.
LAMBDA_MB_PER_CORE: Final = 1769
# CPU that one connect costs in this loop on a current core (`python -m bench.measuring`), the
# starting value of what a sweep then sees; and how many times that is left between starts.
CPU_PER_CONNECT_S: Final = 0.0004
PACE_HEADROOM: Final = 2.5
MIN_PACE_S, MAX_PACE_S = 0.005, 0.050


def pace_s(memory_mb: int, cpu_per_connect_s: float = CPU_PER_CONNECT_S) -> float:
    """Seconds between starts that a Lambda of this size can keep up with; 0 MB: not in Lambda."""
    if not memory_mb:
        return MIN_PACE_S
    wanted_s = PACE_HEADROOM * cpu_per_connect_s * LAMBDA_MB_PER_CORE / memory_mb
    return min(MAX_PACE_S, max(MIN_PACE_S, wanted_s))


def lookups_at_once(memory_mb: int) -> int:
    """Parallel lookups: below some 512 MB threads only take each other's CPU time."""
    return 1 if 0 < memory_mb < 512 else 8


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: a host name or an IP address, and a port."""

    host: str
    port: int = 443


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, how patiently and for how long in all; the memory decides the pace."""

    attempts: int
    timeout_s: float
    deadline_s: float
    memory_mb: int = 0
    family: Family = 4


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep's results by target, how they came to be, and the lookups that found nothing.

    `started_at` is when the first connect was due, after all lookups.
    """

    results: Mapping[str, TargetResult]
    method: str
    started_at: datetime
    dns_errors: Mapping[str, str]


KernelRttFinder = Callable[[], ReadRtt | None]


def measure(
    targets: Mapping[str, Target],
    plan: Plan,
    rng: random.Random | None = None,
    find_rtt: KernelRttFinder = kernel_rtt,
) -> SweepResult:
    """Resolves all targets, then connects to them; every attempt has a latency or a reason."""
    began_ns = perf_counter_ns()
    hosts = [target.host for target in targets.values()]
    lookups = resolve(hosts, plan.family, lookups_at_once(plan.memory_mb))
    found = {name: lookups[target.host] for name, target in targets.items()}
    routes = {
        name: Route(found[name].addresses[: plan.attempts], target.port)
        for name, target in targets.items()
        if found[name].addresses
    }
    read_rtt = find_rtt()
    started_at = utc_now()
    attempts = sweep(routes, plan, began_ns, read_rtt, rng or random.SystemRandom())

    def unresolved(name: str) -> tuple[Attempt, ...]:
        reason = "local_error" if found[name].is_local_error else "dns_error"
        return (Attempt(None, reason=reason),) * plan.attempts

    return SweepResult(
        results={
            name: TargetResult(
                host=target.host,
                addresses=routes[name].addresses if name in routes else (),
                dns_ms=found[name].dns_ms,
                attempts=attempts[name] if name in attempts else unresolved(name),
            )
            for name, target in targets.items()
        },
        method=method(read_rtt),
        started_at=started_at,
        dns_errors={name: look.error for name, look in found.items() if look.error is not None},
    )


@dataclass(frozen=True, slots=True)
class Route:
    """The addresses that a target's attempts take turns at, and the port."""

    addresses: tuple[str, ...]
    port: int


@dataclass(slots=True)
class _Progress:
    """How far the attempts at a route are; those that are over, by number.

    The newest one holds back the next until `held_until_ns` (0: it does not).
    """

    over: dict[int, Attempt] = field(default_factory=dict)
    started: int = 0
    lost: int = 0
    held_until_ns: int = 0

    @property
    def is_silent(self) -> bool:
        return self.lost >= SILENT_AFTER

    def is_free(self, now_ns: int) -> bool:
        """Whether the next may start; notes that the newest was not answered in time."""
        if self.held_until_ns and now_ns >= self.held_until_ns:
            self.lost += 1
            self.held_until_ns = 0
        return not self.held_until_ns

    def end(self, number: int, attempt: Attempt) -> None:
        self.over[number] = attempt
        if self.held_until_ns and number == self.started - 1:
            self.lost += attempt.reason in ("timeout", "retransmitted")
            self.held_until_ns = 0

    def attempts(self, planned: int) -> tuple[Attempt, ...]:
        """In the order of their starts; what was not started is `not_tried`."""
        left = (Attempt(None, reason="not_tried"),) * (planned - self.started)
        return (*(self.over[number] for number in range(self.started)), *left)


def sweep(
    routes: Mapping[str, Route],
    plan: Plan,
    began_ns: int,
    read_rtt: ReadRtt | None,
    rng: random.Random,
) -> dict[str, tuple[Attempt, ...]]:
    """`plan.attempts` attempts at every route; the deadline counts from `began_ns`.

    No connect starts that could outlast the deadline: what is left by then is `not_tried`.
    """
    queue = [name for _ in range(plan.attempts) for name in rng.sample(list(routes), len(routes))]
    progress = {name: _Progress() for name in routes}
    in_time_s = min(SYN_REPEATED_S, plan.timeout_s)
    in_flight = started = 0
    cpu_began = process_time()
    next_ns = perf_counter_ns()
    last_ns = began_ns + int((plan.deadline_s - plan.timeout_s) * 1e9)
    with Connects[tuple[str, int]](plan.timeout_s, read_rtt) as connects:
        while queue or in_flight:
            now_ns = perf_counter_ns()
            if now_ns >= last_ns:
                queue.clear()
            free = None
            if in_flight < MAX_IN_FLIGHT:
                places = (at for at, name in enumerate(queue) if progress[name].is_free(now_ns))
                free = next(places, None)
            if free is not None and now_ns >= next_ns:
                name = queue.pop(free)
                of_name, addresses = progress[name], routes[name].addresses
                number = of_name.started
                connects.start(
                    (name, number),
                    addresses[number % len(addresses)],
                    routes[name].port,
                    in_time_s if of_name.is_silent else None,
                )
                of_name.started += 1
                if not of_name.is_silent:
                    of_name.held_until_ns = perf_counter_ns() + int(in_time_s * 1e9)
                in_flight += 1
                started += 1
                cost_s = max(CPU_PER_CONNECT_S, (process_time() - cpu_began) / started)
                gap_s = pace_s(plan.memory_mb, cost_s) * rng.uniform(1 - SPREAD, 1 + SPREAD)
                # From now, not from when it was due: a late loop must not catch up in a burst.
                next_ns = now_ns + int(gap_s * 1e9)
                continue
            until_ns = last_ns if queue else None
            if free is not None:
                until_ns = min(next_ns, last_ns)
            elif queue and in_flight < MAX_IN_FLIGHT:  # all that is left is held back
                until_ns = min(last_ns, *(progress[name].held_until_ns for name in queue))
            for (name, number), attempt in connects.wait(until_ns):
                in_flight -= 1
                progress[name].end(number, attempt)
    return {name: of_name.attempts(plan.attempts) for name, of_name in progress.items()}
