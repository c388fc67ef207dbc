"""The monitor's Prometheus metrics: base units, and the original's three names beside them."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cloudping.runs import METHOD_KERNEL, REASONS
from monitor.observations import Observation
from monitor.settings import Watched

# 22 µs to 4.7 s, six bounds a decade: the E6 series of preferred numbers (IEC 60063), each a factor
# of about 1.5 above the one before.
_E6: Final = ("1.0", "1.5", "2.2", "3.3", "4.7", "6.8")
BUCKETS_S: Final = tuple(float(f"{m}e{power}") for power in range(-5, 1) for m in _E6)[2:-1]
_LABELS: Final = ("target_host", "target_port")


class Metrics:
    """Counts since this process began; every series is there from the first scrape on."""

    def __init__(self, targets: tuple[Watched, ...]) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, documentation: str) -> Gauge:
            return Gauge(name, documentation, _LABELS, registry=self.registry)

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(name, documentation, (*_LABELS, *labels), registry=self.registry)

        self._rtt = Histogram(
            "cloudping_monitor_rtt_seconds",
            "Round trip of SYN and SYN-ACK, by the kernel where it says, else user-space time.",
            _LABELS,
            registry=self.registry,
            buckets=BUCKETS_S,
        )
        self._last_rtt = gauge(
            "cloudping_monitor_last_rtt_seconds", "The newest round trip; NaN before the first."
        )
        self._last_connect = gauge(
            "cloudping_monitor_last_connect_seconds",
            "User-space time of the newest connect that was answered.",
        )
        self._last_lookup = gauge(
            "cloudping_monitor_last_lookup_seconds",
            "Time of the newest name lookup; NaN where an address was given.",
        )
        self._last_success = gauge(
            "cloudping_monitor_last_success_timestamp_seconds",
            "When the newest round trip was measured; 0 before the first.",
        )
        self._up = gauge("cloudping_monitor_up", "1 when the newest measurement has a figure.")
        self._kernel = gauge(
            "cloudping_monitor_kernel_timed", "1 when round trips are the kernel's, else 0."
        )
        self._attempts = counter("cloudping_monitor_attempts_total", "Measurements made.")
        self._failures = counter(
            "cloudping_monitor_failures_total", "Measurements without a figure.", "reason"
        )
        self._retransmits = counter("cloudping_monitor_retransmits_total", "SYNs sent again.")
        self._missed = counter(
            "cloudping_monitor_missed_total",
            "Measurements not made because one before them took longer than the interval.",
        )
        self._original_latency = gauge(
            "network_latency_ms", "Latest measured TCP connect latency in milliseconds."
        )
        self._original_success = counter(
            "network_latency_success_total", "Number of successful measurements."
        )
        self._original_failure = counter(
            "network_latency_failure_total", "Number of failed measurements."
        )
        for target in targets:
            labels = _labels(target)
            for unknown in (self._last_rtt, self._last_connect, self._last_lookup):
                unknown.labels(*labels).set(float("nan"))
            self._original_latency.labels(*labels).set(float("nan"))
            for metric in (self._rtt, self._last_success, self._up, self._kernel, self._attempts,
                           self._retransmits, self._missed, self._original_success,
                           self._original_failure):  # fmt: skip
                metric.labels(*labels)
            for reason in REASONS:
                self._failures.labels(*labels, reason)

    def observe(self, target: Watched, observation: Observation) -> None:
        labels = _labels(target)
        attempt = observation.attempt
        self._attempts.labels(*labels).inc()
        self._retransmits.labels(*labels).inc(attempt.retransmits)
        self._kernel.labels(*labels).set(observation.method == METHOD_KERNEL)
        self._up.labels(*labels).set(attempt.latency_ms is not None)
        if observation.dns_ms is not None:
            self._last_lookup.labels(*labels).set(observation.dns_ms / 1000)
        if attempt.connect_ms is not None:
            self._last_connect.labels(*labels).set(attempt.connect_ms / 1000)
        if attempt.latency_ms is None:
            self._failures.labels(*labels, attempt.reason).inc()
            self._original_failure.labels(*labels).inc()
            return
        self._rtt.labels(*labels).observe(attempt.latency_ms / 1000)
        self._last_rtt.labels(*labels).set(attempt.latency_ms / 1000)
        self._last_success.labels(*labels).set(observation.at)
        self._original_latency.labels(*labels).set(attempt.latency_ms)
        self._original_success.labels(*labels).inc()

    def miss(self, target: Watched, count: int) -> None:
        self._missed.labels(*_labels(target)).inc(count)


def _labels(target: Watched) -> tuple[str, str]:
    return target.host, str(target.port)
