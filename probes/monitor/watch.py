"""Measures one target at fixed times with the probe's own code, in a thread."""

import ipaddress
from collections.abc import Callable, Mapping
from threading import Event, Thread
from time import monotonic, time
from typing import Final, Protocol

from chalicelib.resolve import LOOKUP_TIMEOUT_S, Family
from chalicelib.sweep import Plan, SweepResult, Target, measure

from cloudping.runs import Attempt
from monitor.logs import log
from monitor.observations import Observation
from monitor.settings import Watched

_IN_WORDS: Final = {
    "timeout": "no answer within {timeout_s:g} s",
    "refused": "the connection was refused: nothing listens there",
    "reset": "the connection was reset while it was being set up",
    "unreachable": "the network says that it cannot be reached",
    "retransmitted": "it connected, but a SYN had to be sent again, so there is no exact figure",
    "local_error": "the monitor itself could not try: out of file descriptors, or no such network",
    "not_tried": "the monitor was held up until it was too late to try",
}


class Measure(Protocol):
    """`sweep.measure`, or what stands in for it."""

    def __call__(self, targets: Mapping[str, Target], plan: Plan) -> SweepResult: ...


class Watch(Thread):
    """Measures a target at start + k x interval, until stopped.

    A measurement that takes longer than the interval makes the times it ran into `missed`; what
    comes after is on time again. `observe` is called with each observation, `miss` with how many
    times were missed.
    """

    def __init__(
        self,
        target: Watched,
        interval_s: float,
        timeout_s: float,
        observe: Callable[[Observation], None],
        miss: Callable[[Watched, int], None],
        delay_s: float = 0.0,
        over_network: Measure = measure,
    ) -> None:
        super().__init__(name=f"watch {target.key}", daemon=True)
        self.target = target
        self._interval_s, self._timeout_s, self._delay_s = interval_s, timeout_s, delay_s
        self._observe, self._miss = observe, miss
        self._over_network = over_network
        self._ending = Event()

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> None:
        start = monotonic() + self._delay_s
        slot = 0
        while True:
            due = start + slot * self._interval_s
            if self._ending.wait(max(0.0, due - monotonic())):
                return
            try:
                self._observe(self.once(monotonic() - due))
            except Exception as error:  # whatever it is, the next measurement may succeed
                log("not_measured", target=self.target.key, error=repr(error))
            # A time is missed when the next one has come as well; one that is merely late is not.
            now = int((monotonic() - start) / self._interval_s)
            if now > slot + 1:
                self._miss(self.target, now - slot - 1)
            slot = max(slot + 1, now)

    def once(self, late_s: float = 0.0) -> Observation:
        """One measurement, now: a lookup where the host is a name, and one connect."""
        at = time() - late_s
        target = self.target
        # No deadline of its own: a lookup and a connect are each bounded.
        plan = Plan(1, self._timeout_s, LOOKUP_TIMEOUT_S + 2 * self._timeout_s, 0, family(target))
        measured = self._over_network({target.key: Target(target.host, target.port)}, plan)
        result = measured.results[target.key]
        address = result.addresses[0] if result.addresses else None
        return Observation(
            target=target.key,
            at=at,
            late_s=late_s,
            address=address,
            dns_ms=result.dns_ms,
            attempt=result.attempts[0],
            method=measured.method,
            error=self._error(result.attempts[0], address, measured.dns_errors.get(target.key)),
        )

    def _error(self, attempt: Attempt, address: str | None, dns_error: str | None) -> str | None:
        if attempt.reason is None:
            return None
        if dns_error is not None:
            what = "does not resolve" if attempt.reason == "dns_error" else "was not looked up"
            return f"{attempt.reason}: {self.target.host} {what}: {dns_error}"
        words = _IN_WORDS[attempt.reason].format(timeout_s=self._timeout_s)
        place = self.target.key if address == self.target.host else f"{self.target.key} ({address})"
        return f"{attempt.reason}: {place}: {words}"


def family(target: Watched) -> Family:
    """IPv6 for an IPv6 address; names are looked up in IPv4, as the probes do."""
    try:
        return 6 if ipaddress.ip_address(target.host).version == 6 else 4
    except ValueError:
        return 4
