"""What was observed of each target within the last hour, kept in a file across restarts."""

import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from threading import Lock
from typing import Any, Final

from cloudping.runs import LOSS_REASONS, NOT_MEASURED_REASONS, Attempt
from monitor.logs import log

KEEP_S: Final = 3600.0
# Samples that a percentile needs, as many as leave one beyond it: see docs/method.md.
_MINIMUM_SAMPLES: Final = {50: 2, 90: 10, 99: 100}


@dataclass(frozen=True, slots=True)
class Observation:
    """One measurement of a target: when it was due (epoch seconds), where to, what came of it.

    `late_s` is by how much it began later than due; `error` says in words why there is no
    latency.
    """

    target: str
    at: float
    late_s: float
    address: str | None
    dns_ms: float | None
    attempt: Attempt
    method: str
    error: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Observation":
        """The inverse of `to_json`; raises ValueError or TypeError for anything else."""
        content: dict[str, Any] = json.loads(line)
        return cls(**{**content, "attempt": Attempt(**content["attempt"])})


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures over some observations; a percentile is None where there are too few samples."""

    attempts: int
    samples: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    loss_pct: float | None
    retransmits: int
    failures: dict[str, int]


def figures(observations: Sequence[Observation]) -> Figures:
    """Percentiles interpolate linearly, as everywhere in CloudPing; loss is of what was tried."""
    attempts = [observation.attempt for observation in observations]
    latencies = [a.latency_ms for a in attempts if a.latency_ms is not None]
    failures = Counter(a.reason for a in attempts if a.reason is not None)
    tried = len(attempts) - sum(failures[reason] for reason in NOT_MEASURED_REASONS)
    lost = sum(failures[reason] for reason in LOSS_REASONS)
    cuts = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else []

    def percentile(p: int) -> float | None:
        return cuts[p - 1] if len(latencies) >= _MINIMUM_SAMPLES[p] else None

    return Figures(
        attempts=len(attempts),
        samples=len(latencies),
        p50_ms=percentile(50),
        p90_ms=percentile(90),
        p99_ms=percentile(99),
        loss_pct=100 * lost / tried if tried else None,
        retransmits=sum(a.retransmits for a in attempts),
        failures=dict(failures),
    )


class History:
    """The last hour of observations, oldest first; safe to use from several threads.

    With a file each observation is a line appended to it, so that a process killed at any moment
    loses at most the one it was writing. The file is written anew when most of it is too old.
    """

    def __init__(self, file: Path | None, now: float) -> None:
        self._lock = Lock()
        self._file = file
        self._lines = 0
        self._kept = deque(self._load(now))
        self.since = self._kept[0].at if self._kept else now
        if file is not None:
            self._rewrite(file)

    def add(self, observation: Observation) -> None:
        with self._lock:
            self._kept.append(observation)
            while self._kept[0].at < observation.at - KEEP_S:
                self._kept.popleft()
            if self._file is not None:
                self._append(self._file, observation)

    def close(self) -> None:
        """Closes the file; what is added afterwards is kept in memory only."""
        with self._lock:
            if self._file is not None:
                self._output.close()
                self._file = None

    def of(self, target: str, start: float = 0.0) -> list[Observation]:
        """The target's observations that were due at or after `start`."""
        with self._lock:
            return [o for o in self._kept if o.target == target and o.at >= start]

    def _append(self, file: Path, observation: Observation) -> None:
        try:
            self._output.write(observation.to_json() + "\n")
            self._output.flush()
            self._lines += 1
            if self._lines > 2 * len(self._kept) + 1000:
                self._output.close()
                self._rewrite(file)
        except OSError as error:  # a full disk must not stop the measuring
            log("history_unwritable", file=str(file), error=str(error), until="the next restart")
            self._file = None
            with suppress(OSError):
                self._output.close()

    def _load(self, now: float) -> Iterator[Observation]:
        if self._file is None or not self._file.exists():
            return
        for line in self._file.read_text(errors="replace").splitlines():
            try:
                observation = Observation.from_json(line)
            except (ValueError, TypeError, KeyError):
                continue  # cut off when the process was killed
            if now - KEEP_S <= observation.at <= now:
                yield observation

    def _rewrite(self, file: Path) -> None:
        fresh = file.with_name(f"{file.name}.new")
        fresh.write_text("".join(f"{observation.to_json()}\n" for observation in self._kept))
        fresh.replace(file)
        self._lines = len(self._kept)
        self._output = file.open("a")
