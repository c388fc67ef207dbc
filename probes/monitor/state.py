"""The running monitor: its threads, what they observed, and what is known of each target now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import time
from typing import Final

from cloudping.settings import Settings
from monitor.logs import log
from monitor.metrics import Metrics
from monitor.observations import History, Observation, WindowFigures, figures
from monitor.recording import Recorder
from monitor.settings import MonitorSettings, Watched
from monitor.watch import Watch

WINDOW_S: Final = 900  # 180 samples at the default interval: enough for a P99


@dataclass(slots=True)
class Known:
    """The newest observations of a target, and how many measurements were missed."""

    latest: Observation | None = None
    success: Observation | None = None
    failure: Observation | None = None
    missed: int = 0

    def note(self, observation: Observation) -> None:
        self.latest = observation
        if observation.error is None:
            self.success = observation
        else:
            self.failure = observation


class Monitor:
    """Watches every target once started; `tables` are where runs are recorded, if they are."""

    def __init__(
        self,
        settings: MonitorSettings,
        tables: Settings | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.targets)
        self.clock = clock
        file = Path(settings.history_file) if settings.history_file else None
        self.history = History(file, clock())
        self._targets = {target.key: target for target in settings.targets}
        self._known = {key: Known() for key in self._targets}
        self._lock = Lock()
        for key, known in self._known.items():
            for observation in self.history.of(key):
                known.note(observation)
        count = len(settings.targets)
        # Targets take turns, so that no two are measured at the same moment.
        self._threads: list[Watch | Recorder] = [
            Watch(target, settings.interval_s, settings.timeout_s, self.observe, self.miss,
                  delay_s=number * settings.interval_s / count)
            for number, target in enumerate(settings.targets)
        ]  # fmt: skip
        if settings.source and tables is not None:
            self._threads.append(Recorder(settings, tables, self.history))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for thread in self._threads:
            thread.stop()
        for thread in self._threads:
            thread.join()
        self.history.close()

    @property
    def is_alive(self) -> bool:
        """False as soon as one of the threads has ended."""
        return all(thread.is_alive() for thread in self._threads)

    def observe(self, observation: Observation) -> None:
        with self._lock:
            known = self._known[observation.target]
            before = known.latest
            known.note(observation)
        if before is None or (before.error is None) != (observation.error is None):
            # Only when it changes: at the default interval a day has 17,280 measurements.
            log(
                "failing" if observation.error else "measured",
                target=observation.target,
                error=observation.error or "",
            )
        self.history.add(observation)
        self.metrics.observe(self._targets[observation.target], observation)

    def miss(self, target: Watched, count: int) -> None:
        with self._lock:
            self._known[target.key].missed += count
        self.metrics.miss(target, count)

    def known(self, target: Watched) -> Known:
        with self._lock:
            known = self._known[target.key]
            return Known(known.latest, known.success, known.failure, known.missed)

    def is_fresh(self, target: Watched) -> bool:
        """True while the newest success is no older than the interval warrants."""
        success = self.known(target).success
        return success is not None and self.clock() - success.at <= self.settings.stale_after_s

    def figures(self, target: Watched) -> WindowFigures:
        """Figures of the last `WINDOW_S` seconds."""
        return figures(self.history.of(target.key, self.clock() - WINDOW_S))
