"""Four times the load that it can serve: the site turns away what is too much, and recovers."""

import asyncio
import itertools
import logging
import time
from dataclasses import dataclass

import pytest

from bench.frontend import memory_mb, serving

log = logging.getLogger(__name__)

SATURATE_S, OVERLOAD_S = 6, 20
# Pages that are rendered for each request: an address of this length is not kept.
PADDING = "x" * 600


@dataclass(frozen=True)
class Answer:
    """What a request got: the status (0: none), whether it says when to come back, seconds."""

    status: int
    retry_after: bool
    seconds: float


async def ask(port: int, number: int) -> Answer:
    start = time.monotonic()
    try:
        async with asyncio.timeout(30):
            own = f"127.3.{number // 250 % 250}.{number % 250 + 1}"  # each another client
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(own, 0))
            try:
                path = f"/?within={number}&padding={PADDING}"
                head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                text = await reader.read(-1)
            finally:
                writer.transport.abort()
    except OSError:
        return Answer(0, False, time.monotonic() - start)
    answer = text.split(b"\r\n\r\n", 1)[0]
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    return Answer(status, b"\r\nRetry-After: " in answer, time.monotonic() - start)


async def saturate(port: int) -> float:
    """Pages per second when sixteen clients each ask again at once."""
    numbers, end = itertools.count(), time.monotonic() + SATURATE_S

    async def one() -> int:
        served = 0
        while time.monotonic() < end:
            served += (await ask(port, next(numbers))).status == 200
        return served

    return sum(await asyncio.gather(*(one() for _ in range(16)))) / SATURATE_S


async def overload(port: int, rate: float) -> list[Answer]:
    """Requests that come whether or not those before them were answered."""
    start, tasks = time.monotonic(), []
    for k in range(int(rate * OVERLOAD_S)):
        await asyncio.sleep(start + k / rate - time.monotonic())
        tasks.append(asyncio.create_task(ask(port, k)))
    return await asyncio.gather(*tasks)


@pytest.mark.slow
def test_four_times_the_load_that_saturates_it() -> None:
    with serving("ours") as (port, master):
        rate = asyncio.run(saturate(port))
        before = memory_mb(master)
        answers = asyncio.run(overload(port, 4 * rate))
        stopped = time.monotonic()
        while (last := asyncio.run(ask(port, 0))).status != 200 or last.seconds > 0.5:
            assert time.monotonic() - stopped < 10, "it does not recover"
        recovered_s = time.monotonic() - stopped
        after = memory_mb(master)
    served = [a for a in answers if a.status == 200]
    shed = [a for a in answers if a.status == 503]
    slowest = sorted(a.seconds for a in answers)[int(0.99 * len(answers))]
    log.info(
        "saturated %.0f/s; of %d at four times that served %d, shed %d, 99 %% within %.2f s; "
        "recovered in %.1f s; memory %.0f -> %.0f MB",
        rate, len(answers), len(served), len(shed), slowest, recovered_s, before, after,
    )  # fmt: skip
    # One of 1,226 went without an answer on a machine at load 9; none did on a calmer one.
    assert len(served) + len(shed) >= 0.99 * len(answers)
    assert len(served) >= rate * OVERLOAD_S / 2
    assert shed
    assert all(a.retry_after for a in shed)
    assert slowest < 20  # nobody waits for long; how long exactly depends on the machine
    assert recovered_s < 10
    assert after < before + 30
