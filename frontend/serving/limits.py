"""A WSGI layer that limits what a client may ask, and what all may cost: 429 and 503 beyond.

The generic cell rate algorithm (ITU-T I.371): of a client only one time is kept, the one at which
all that it has asked so far is paid off. Over a bounded LRU that is less than a library would need
to be set up, and clients cannot fill the memory. What is dear to answer, in CPU time or bytes,
counts as several requests once it is known. SECURITY.md has the sum of what is let through.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import ceil
from typing import Final

from cachetools import LRUCache
from werkzeug.http import HTTP_STATUS_CODES

from frontend.serving.cache import Environ, StartResponse, Wsgi
from frontend.serving.clients import origin
from frontend.serving.refusals import refusal

# In the environ: whom the request counts as, and what may be read of the tables for it.
CLIENT, READS = "cloudping.client", "cloudping.reads"
# About 200 bytes each. Whoever is pushed out begins anew; it takes as many other clients to do so.
MAX_CLIENTS: Final = 20_000
ALL: Final = "all"  # no client is called so

# What a request may take for one. At the default limit of ten a second a client has at most a
# twentieth of a core, a tenth of a task of infra/templates/frontend.yaml, and 160 KiB/s.
CPU_S: Final = 0.005
BYTES: Final = 16 * 2**10
HEAD_BYTES: Final = 2**10  # what an answer has beside its body, about
# The load balancer asks for these eight times a minute; whoever else does is limited by itself.
HEALTH: Final = ("/healthz", "/readyz")
HEALTH_PER_MINUTE: Final = 120
# DynamoDB's read units for what is asked of the tables, in a second and, after a pause, at once:
# a month of a pair by the hour is some 200, the bulk download of a year some 22,000.
READS_A_SECOND, READS_AT_ONCE = 25, 100_000
CLIENTS_READS_A_SECOND, CLIENTS_READS_AT_ONCE = 10, 25_000
# Of a day's traffic, what may go at once.
TRAFFIC_AT_ONCE: Final = 0.1
DAY_S: Final = 86_400


class Limit:
    """Of each client `a_second`, and up to `at_once` after a pause."""

    def __init__(
        self, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each_s, self._window_s, self._clock = 1 / a_second, at_once / a_second, clock
        self._paid_at: LRUCache[str, float] = LRUCache(MAX_CLIENTS)
        self._lock = threading.Lock()

    def ask(self, who: str, cost: float = 1) -> float:
        """Seconds until `who` may have that; 0: it may now, and this is counted."""
        now, each_s = self._clock(), self._each_s
        with self._lock:
            paid_at = max(now, self._paid_at.get(who, now)) + cost * each_s
            if paid_at - now > self._window_s + each_s / 2:
                return paid_at - now - self._window_s
            self._paid_at[who] = paid_at
        return 0

    def charge(self, who: str, cost: float) -> None:
        """Counts what was let through before it was known what it costs."""
        now = self._clock()
        with self._lock:
            self._paid_at[who] = max(now, self._paid_at.get(who, now)) + cost * self._each_s


class Reads:
    """What may be read of the tables for one request: by its client, and by all together."""

    __slots__ = ("all", "own", "who")

    def __init__(self, who: str, own: Limit, all: Limit) -> None:
        self.who, self.own, self.all = who, own, all

    def wait_s(self) -> float:
        """Seconds until something may be read; 0: now."""
        return max(self.own.ask(self.who, 0), self.all.ask(ALL, 0))

    def charge(self, units: float) -> None:
        self.own.charge(self.who, units)
        self.all.charge(ALL, units)


class _Stream:
    """An answer that is made while it is sent, by one thread that does nothing else meanwhile."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        charge: Callable[[float, int], None],
        cpu: Callable[[], float],
        begun: float,
    ) -> None:
        self._chunks, self._charge, self._cpu, self._begun = chunks, charge, cpu, begun
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._sent += len(chunk)
            yield chunk

    def close(self) -> None:
        if (close := getattr(self._chunks, "close", None)) is not None:
            close()
        self._charge(self._cpu() - self._begun, self._sent)


class Limits:
    """Wraps a WSGI application; with 0 `per_minute` or `gigabytes_per_day` these have no limit.

    A client is its REMOTE_ADDR, or behind `proxies` of ours whom the first of them heard from.
    """

    def __init__(
        self,
        app: Wsgi,
        per_minute: int,
        gigabytes_per_day: int = 0,
        proxies: int = 0,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._app, self._per_minute, self._proxies, self._cpu = app, per_minute, proxies, cpu
        a_day = gigabytes_per_day * 1e9
        self._requests = Limit(per_minute / 60, per_minute, clock) if per_minute else None
        self._traffic = Limit(a_day / DAY_S, a_day * TRAFFIC_AT_ONCE, clock) if a_day else None
        self._health = Limit(HEALTH_PER_MINUTE / 60, HEALTH_PER_MINUTE, clock)
        self._reads = Limit(READS_A_SECOND, READS_AT_ONCE, clock)
        self._clients_reads = Limit(CLIENTS_READS_A_SECOND, CLIENTS_READS_AT_ONCE, clock)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        peer = environ.get("REMOTE_ADDR") or ""
        who = origin(peer, environ.get("HTTP_X_FORWARDED_FOR", ""), self._proxies)
        environ[CLIENT], environ[READS] = who, Reads(who, self._clients_reads, self._reads)
        if environ["PATH_INFO"] in HEALTH:
            if wait_s := self._health.ask(who):
                message = f"More than {HEALTH_PER_MINUTE} requests a minute"
                return _refuse(429, message, wait_s, environ, start_response)
            return self._app(environ, start_response)
        if self._requests and (wait_s := self._requests.ask(who)):
            message = f"More than {self._per_minute} requests a minute, or fewer that are dear"
            return _refuse(429, message, wait_s, environ, start_response)
        if self._traffic and (wait_s := self._traffic.ask(ALL, 0)):
            message = "The site has sent as much as it may"
            return _refuse(503, message, wait_s, environ, start_response)
        begun = self._cpu()
        chunks = self._app(environ, start_response)
        if isinstance(chunks, list):
            self._charge(who, self._cpu() - begun, sum(map(len, chunks)))
            return chunks
        charge = partial(self._charge, who)
        return _Stream(chunks, charge, self._cpu, begun)

    def _charge(self, who: str, cpu_s: float, sent: int) -> None:
        sent += HEAD_BYTES
        if self._traffic:
            self._traffic.charge(ALL, sent)
        requests = max(cpu_s / CPU_S, sent / BYTES)
        if self._requests and requests > 1:
            self._requests.charge(who, requests - 1)


def _refuse(
    code: int, message: str, wait_s: float, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    after_s = ceil(wait_s)
    text = f"{message}; try again in {after_s} s."
    headers, body = refusal(environ["PATH_INFO"], code, text, after_s)
    start_response(f"{code} {HTTP_STATUS_CODES[code].upper()}", list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
