"""What was observed of each target within the last hour, kept in a file across restarts."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from statistics import quantiles
from threading import Lock
from typing import Any, Final, TypeVar

from cloudping.runs import LOSS_REASONS, NOT_MEASURED_REASONS, REASONS, Attempt
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
        """The inverse of `to_json`; raises ValueError for anything else."""
        try:
            content: dict[str, Any] = json.loads(line)
            attempt = content["attempt"]
            return cls(
                target=_text(content["target"]),
                at=_number(content["at"]),
                late_s=_number(content["late_s"]),
                address=_optional(_text, content["address"]),
                dns_ms=_optional(_number, content["dns_ms"]),
                attempt=Attempt(
                    latency_ms=_optional(_number, attempt["latency_ms"]),
                    connect_ms=_optional(_number, attempt["connect_ms"]),
                    retransmits=int(_number(attempt["retransmits"])),
                    reason=_optional(_reason, attempt["reason"]),
                ),
                method=_text(content["method"]),
                error=_optional(_text, content["error"]),
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no observation: {error!r}") from error


T = TypeVar("T")


def _optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def _reason(value: Any) -> str:
    if value not in REASONS:
        raise ValueError(f"{value!r} is no reason")
    return str(value)


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """Figures over some observations; a percentile is None where there are too few samples."""

    attempts: int
    samples: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    loss_pct: float | None
    retransmits: int
    failures: dict[str, int]


def figures(observations: Sequence[Observation]) -> WindowFigures:
    """Percentiles interpolate linearly, as everywhere in CloudPing; loss is of what was tried."""
    attempts = [observation.attempt for observation in observations]
    latencies = [a.latency_ms for a in attempts if a.latency_ms is not None]
    failures = Counter(a.reason for a in attempts if a.reason is not None)
    tried = len(attempts) - sum(failures[reason] for reason in NOT_MEASURED_REASONS)
    lost = sum(failures[reason] for reason in LOSS_REASONS)
    cuts = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else []

    def percentile(p: int) -> float | None:
        return cuts[p - 1] if len(latencies) >= _MINIMUM_SAMPLES[p] else None

    return WindowFigures(
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
    loses at most the one it was writing. The file is written anew when most of it is too old. A
    file that cannot be read or written is logged and given up: measuring goes on in memory.
    """

    def __init__(self, file: Path | None, now: float) -> None:
        self._lock = Lock()
        self._file = file
        self._lines = 0
        self._kept: deque[Observation] = deque()
        if file is not None:
            try:
                self._kept.extend(sorted(_read(file, now), key=lambda o: o.at))
                self._rewrite(file)
            except OSError as error:
                self._give_up(file, error)
        self.since = self._kept[0].at if self._kept else now

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
            self._give_up(file, error)
            with suppress(OSError):
                self._output.close()

    def _give_up(self, file: Path, error: OSError) -> None:
        log("history_unwritable", file=str(file), error=str(error), until="the next restart")
        self._file = None

    def _rewrite(self, file: Path) -> None:
        fresh = file.with_name(f"{file.name}.new")
        fresh.write_text("".join(f"{observation.to_json()}\n" for observation in self._kept))
        fresh.replace(file)
        self._lines = len(self._kept)
        self._output = file.open("a")


def _read(file: Path, now: float) -> Iterator[Observation]:
    """The observations of the hour before `now`; lines that are none are left out."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            observation = Observation.from_json(line)
        except ValueError:
            continue  # cut off when the process was killed, or not ours
        if now - KEEP_S <= observation.at <= now:
            yield observation
