"""A loop that handles packets as they come and sends others at their due time, to some 50 µs."""

import heapq
import os
import select
import sys
from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter

SPIN_S = 0.0002  # sleep until this long before a packet is due, then watch the clock


class Sender:
    """Packets to be written to a device at a due time (of `perf_counter`)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, bytes]] = []
        self._order = count()

    def push(self, due: float, device: int, packet: bytes) -> None:
        heapq.heappush(self._heap, (due, next(self._order), device, packet))

    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def send_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            _, _, device, packet = heapq.heappop(self._heap)
            os.write(device, packet)


def serve(
    devices: Sequence[int], sender: Sender, handle: Callable[[int, bytes, float], None]
) -> None:
    """Calls `handle(device, packet, arrival)` for each packet, until standard input ends."""
    stdin = sys.stdin.fileno()
    while True:
        due = sender.next_due()
        wait = None if due is None else due - perf_counter() - SPIN_S
        if wait is None or wait > 0:
            ready, _, _ = select.select([*devices, stdin], [], [], wait)
            if stdin in ready:
                return
        for device in devices:
            try:
                packet = os.read(device, 65536)
            except BlockingIOError:
                continue
            handle(device, packet, perf_counter())
        sender.send_due(perf_counter())
