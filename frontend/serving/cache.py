"""A WSGI layer that compresses answers, gives them an ETag, and keeps those made of the snapshot.

A view that reads nothing but the snapshot says so with `keep()`. Its answer is stored as the bytes
that go over the wire and served without entering Flask again, until the snapshot is renewed. Then
one request renders it anew while others still get the old one; the first time, others wait for it.
Two are rendered at a time: more would only share the interpreter, and keep from it the main loop of
the worker, which has to turn away what is too much.
"""

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from cachetools import LRUCache
from flask import request

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

KEEP, TURN = "cloudping.keep", "cloudping.turn"
RENDERED_AT_ONCE: Final = 2
MAX_BYTES: Final = 16 * 2**20
# An address longer than this is not worth a place in memory.
MAX_KEY_LENGTH: Final = 512
# For another request that is making the same answer; whoever waited longer makes its own.
MAX_WAIT_S: Final = 5.0
COMPRESSIBLE: Final = ("text/", "application/json", "application/x-ndjson", "image/svg+xml")


def keep() -> None:
    """Called by a view whose answer depends on nothing but the address and the snapshot.

    Returns when it is its turn, so it comes before what takes time.
    """
    environ = request.environ
    if KEEP not in environ:
        environ[KEEP] = True
        if turn := environ.get(TURN):
            turn.acquire()


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer, compressed; a client that cannot take it so is rare enough to unpack for."""

    number: int
    etag: str
    status: str
    headers: list[tuple[str, str]]
    gzipped: bytes

    @property
    def size(self) -> int:
        return len(self.gzipped) + 4096


class PageCache:
    """Wraps a WSGI application; `number` tells which snapshot is current."""

    def __init__(self, app: Wsgi, number: Callable[[], int]) -> None:
        self._app, self._number = app, number
        self._entries: LRUCache[tuple[str, str], Entry] = LRUCache(
            MAX_BYTES, getsizeof=lambda entry: entry.size
        )
        self._lock = threading.Lock()
        self._turn = threading.Semaphore(RENDERED_AT_ONCE)
        self._filling: dict[tuple[str, str], threading.Event] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return self._app(environ, start_response)
        key = (environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
        number = self._number()
        entry, other = self._look(key, number)
        if entry is None and other is not None:
            other.wait(MAX_WAIT_S)
            entry, other = self._look(key, number)
        if entry is not None and (entry.number == number or other is not None):
            return _send(entry, environ, start_response)
        environ[TURN] = self._turn
        try:
            return self._fill(key, number, environ, start_response)
        finally:
            if KEEP in environ:
                self._turn.release()
            if other is None:
                with self._lock:
                    self._filling.pop(key).set()

    def _look(
        self, key: tuple[str, str], number: int
    ) -> tuple[Entry | None, threading.Event | None]:
        """What is kept, and what tells when another request has renewed it.

        When there is neither a current entry nor another request, it is the caller's to fill.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.number == number:
                return entry, None
            other = self._filling.get(key)
            if other is None:
                self._filling[key] = threading.Event()
            return entry, other

    def _fill(
        self, key: tuple[str, str], number: int, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        head: list[Any] = []

        def remember(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            head[:] = [status, headers]

        # A HEAD has the headers of its GET: both are answered from the same entry.
        method, environ["REQUEST_METHOD"] = environ["REQUEST_METHOD"], "GET"
        chunks = self._app(environ, remember)
        environ["REQUEST_METHOD"] = method
        status, headers = head
        names = {name.lower(): value for name, value in headers}
        whole = status.startswith("200") and "content-length" in names
        if not whole or not names.get("content-type", "").startswith(COMPRESSIBLE):
            start_response(status, headers)
            return chunks if method == "GET" else _closed(chunks)
        body = b"".join(chunks)
        _closed(chunks)
        entry = _entry(number, status, headers, body)
        if environ.get(KEEP) and sum(map(len, key)) <= MAX_KEY_LENGTH:
            with self._lock:
                self._entries[key] = entry
        return _send(entry, environ, start_response)


def _closed(chunks: Iterable[bytes]) -> list[bytes]:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
    return []


def _entry(number: int, status: str, headers: list[tuple[str, str]], body: bytes) -> Entry:
    etag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    replaced = {"content-length", "etag", "vary"}
    common = [(name, value) for name, value in headers if name.lower() not in replaced]
    common += [("ETag", etag), ("Vary", "Accept-Encoding")]
    return Entry(number, etag, status, common, gzip.compress(body, 6, mtime=0))


def _send(entry: Entry, environ: Environ, start_response: StartResponse) -> list[bytes]:
    known = environ.get("HTTP_IF_NONE_MATCH", "")
    if known and entry.etag.removeprefix("W/") in known:
        start_response("304 NOT MODIFIED", [h for h in entry.headers if h[0] != "Content-Type"])
        return []
    headers, body = list(entry.headers), entry.gzipped
    if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
        headers.append(("Content-Encoding", "gzip"))
    else:
        body = gzip.decompress(body)
    headers.append(("Content-Length", str(len(body))))
    start_response(entry.status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
