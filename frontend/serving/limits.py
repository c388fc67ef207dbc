"""A WSGI layer that limits how often a client may ask: 429 beyond, with when to come back.

The generic cell rate algorithm (ITU-T I.371): of a client only one time is kept, the one at which
all that it has asked so far is paid off. Over a bounded LRU that is less than a library would need
to be set up, and clients cannot fill the memory.
"""

import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from cachetools import LRUCache

from frontend.serving.cache import Environ, StartResponse, Wsgi
from frontend.serving.refusals import refusal

# About 200 bytes each. Whoever is pushed out begins anew; it takes as many other clients to do so.
MAX_CLIENTS: Final = 20_000
UNLIMITED: Final = ("/healthz", "/readyz")  # the load balancer's


class RateLimit:
    """Wraps a WSGI application: of each client, `per_minute` requests a minute, also all at once.

    A client is its REMOTE_ADDR: behind proxies, werkzeug's ProxyFix has to come before.
    """

    def __init__(
        self, app: Wsgi, per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._per_minute, self._clock = app, per_minute, clock
        self._paid_at: LRUCache[str, float] = LRUCache(MAX_CLIENTS)
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in UNLIMITED:
            wait_s = self._ask(client(environ.get("REMOTE_ADDR") or ""))
            if wait_s > 0:
                return self._refuse(ceil(wait_s), environ, start_response)
        return self._app(environ, start_response)

    def _ask(self, who: str) -> float:
        """Seconds until `who` may ask; 0: it may now, and this is counted."""
        each_s, now = 60 / self._per_minute, self._clock()
        with self._lock:
            paid_at = max(now, self._paid_at.get(who, now)) + each_s
            if paid_at - now > 60 + each_s / 2:
                return paid_at - now - 60
            self._paid_at[who] = paid_at
        return 0

    def _refuse(
        self, wait_s: int, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        message = f"More than {self._per_minute} requests a minute; try again in {wait_s} s."
        headers, body = refusal(environ["PATH_INFO"], 429, message, wait_s)
        start_response("429 TOO MANY REQUESTS", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def client(address: str) -> str:
    """Whom an address counts as: of IPv6 its /64, since that is what one subscriber has."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped) if ip.ipv4_mapped else ip.exploded[:19]
