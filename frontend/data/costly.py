"""What takes seconds to compute: one at a time in a process, few waiting, kept for others."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar, cast

from cachetools import LRUCache

from frontend.data.store import BusyError

T = TypeVar("T")

KEPT: Final = 64
# They wait on threads, of which everything else needs some.
WAITING: Final = 3
WAIT_S: Final = 8.0


class Costly:
    """Answers by what was asked, the latest `KEPT` of them."""

    def __init__(self) -> None:
        self._answers: LRUCache[Hashable, Any] = LRUCache(KEPT)
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(1 + WAITING)

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The answer; BusyError at once where others wait already, or when it takes too long."""
        with self._lock:
            if key in self._answers:
                return cast(T, self._answers[key])
        if not self._places.acquire(blocking=False):
            raise BusyError
        try:
            if not self._turn.acquire(timeout=WAIT_S):
                raise BusyError
            try:
                with self._lock:
                    if key in self._answers:
                        return cast(T, self._answers[key])
                answer = compute()
                with self._lock:
                    self._answers[key] = answer
                return answer
            finally:
                self._turn.release()
        finally:
            self._places.release()
