"""A WSGI layer that compresses answers, gives them an ETag, and keeps those made of the snapshot.

A view that reads nothing but the snapshot says so with `keep()`. Its answer is stored as the bytes
that go over the wire and served without entering Flask again, until the snapshot is renewed. Then
one request renders it anew while others still get the old one; the first time, others wait for it.
Two are rendered at a time: more would only share the interpreter, and keep from it the main loop of
the worker, which has to turn away what is too much. What an answer depends on of its address are
the path and those parameters that its view has read: an unknown parameter does not make a new page.
"""

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import flask
from cachetools import LRUCache
from werkzeug.datastructures import ImmutableMultiDict, MultiDict
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.http import parse_accept_header, parse_etags

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]
Key = tuple[str, tuple[tuple[str, str], ...]]

MAKING: Final = "cloudping.making"
RENDERED_AT_ONCE: Final = 2
MAX_BYTES: Final = 16 * 2**20
MAX_PATHS: Final = 10_000
# An address longer than this is not worth a place in memory.
MAX_KEY_LENGTH: Final = 512
# For a turn, or for another request that is making the same answer.
MAX_WAIT_S: Final = 5.0
COMPRESSIBLE: Final = ("text/", "application/json", "application/x-ndjson", "image/svg+xml")
EVERY: Final = "*"  # among the names read: the view has gone through all parameters


def keep() -> None:
    """Called by a view whose answer depends on nothing but the address and the snapshot.

    Returns when it is its turn, so it comes before what takes time. When another request has made
    the same answer meanwhile, it does not return: that answer is served. 503 after MAX_WAIT_S.
    """
    making = flask.request.environ.get(MAKING)
    if making is not None:
        making.begin()


class Query(ImmutableMultiDict[str, str]):
    """The parameters of a request; notes which were read."""

    def __init__(self, given: MultiDict[str, str], read: set[str]) -> None:
        super().__init__(given)
        self._read = read

    def __getitem__(self, name: str) -> str:
        self._read.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._read.add(str(name))
        return super().__contains__(name)

    def getlist(self, name: str, *more: Any) -> list[Any]:
        self._read.add(name)
        return super().getlist(name, *more)

    def __iter__(self) -> Iterator[str]:
        self._read.add(EVERY)
        return super().__iter__()

    def __len__(self) -> int:
        self._read.add(EVERY)
        return super().__len__()

    def keys(self) -> Any:
        self._read.add(EVERY)
        return super().keys()

    def values(self) -> Any:
        self._read.add(EVERY)
        return super().values()

    def items(self, multi: bool = False) -> Any:
        self._read.add(EVERY)
        return super().items(multi)

    def lists(self) -> Any:
        self._read.add(EVERY)
        return super().lists()

    def listvalues(self) -> Any:
        self._read.add(EVERY)
        return super().listvalues()

    def to_dict(self, flat: Any = True) -> Any:
        self._read.add(EVERY)
        return super().to_dict(flat)


class Request(flask.Request):
    """The application's requests, whose parameters note that they are read."""

    @cached_property
    def args(self) -> Query:
        making = self.environ.get(MAKING)
        return Query(super().args, set() if making is None else making.read)


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


class Making:
    """One request that makes an answer, with what it holds meanwhile; a context of PageCache."""

    def __init__(self, cache: "PageCache", path: str, query: str, number: int) -> None:
        self._cache, self.path, self.query, self.number = cache, path, query, number
        self.read: set[str] = set()  # the parameters that the view has looked at
        self.is_kept = self._has_turn = False
        self.made_by_another: Entry | None = None
        self.is_over = threading.Event()

    def __enter__(self) -> "Making":
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_turn:
            self._cache.turns.release()
        self._cache.forget(self)
        self.is_over.set()

    def begin(self) -> None:
        """Waits for whoever makes the same, then for a turn."""
        if self.is_kept:
            return
        self.is_kept = True
        other = self._cache.note(self)
        if other is not None:
            other.is_over.wait(MAX_WAIT_S)
            entry = self._cache.find(self.path, self.query)
            if entry is not None and entry.number >= self.number:
                self.made_by_another = entry
                flask.abort(flask.Response())
        self._has_turn = self._cache.turns.acquire(timeout=MAX_WAIT_S)
        if not self._has_turn:
            message = "Too many pages are being made; please try again in a few seconds."
            raise ServiceUnavailable(message, retry_after=5)


class PageCache:
    """Wraps a WSGI application; `number` tells which snapshot is current."""

    def __init__(self, app: Wsgi, number: Callable[[], int]) -> None:
        self._app, self._number = app, number
        self._entries: LRUCache[Key, Entry] = LRUCache(
            MAX_BYTES, getsizeof=lambda entry: entry.size
        )
        self._read: dict[str, frozenset[str]] = {}  # by path, the parameters
        self._makers: dict[tuple[str, str], Making] = {}
        self._lock = threading.Lock()
        self.turns = threading.BoundedSemaphore(RENDERED_AT_ONCE)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return self._app(environ, start_response)
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        number = self._number()
        entry = self.find(path, query)
        if entry is not None and (entry.number == number or (path, query) in self._makers):
            return _send(entry, environ, start_response)
        with Making(self, path, query, number) as making:
            environ[MAKING] = making
            return self._make(making, environ, start_response)

    def find(self, path: str, query: str) -> Entry | None:
        """The answer that is kept for an address."""
        with self._lock:
            key = self._key(path, query)
            return None if key is None else self._entries.get(key)

    def note(self, making: Making) -> Making | None:
        """Who is making the same already; else it is this one, for those that come now."""
        with self._lock:
            other = self._makers.setdefault((making.path, making.query), making)
        return None if other is making else other

    def forget(self, making: Making) -> None:
        with self._lock:
            if self._makers.get((making.path, making.query)) is making:
                del self._makers[making.path, making.query]

    def _key(self, path: str, query: str) -> Key | None:
        """What an answer depends on; None while no answer to this path was kept."""
        read = self._read.get(path)
        if read is None:
            return None
        if not query or not read:
            return path, ()
        given = parse_qsl(query, keep_blank_values=True)
        return path, tuple(sorted(pair for pair in given if EVERY in read or pair[0] in read))

    def _make(
        self, making: Making, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        head: list[Any] = []

        def remember(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            head[:] = [status, headers]

        # A HEAD has the headers of its GET: both are answered from the same entry.
        method, environ["REQUEST_METHOD"] = environ["REQUEST_METHOD"], "GET"
        chunks = self._app(environ, remember)
        environ["REQUEST_METHOD"] = method
        if making.made_by_another is not None:
            _closed(chunks)
            return _send(making.made_by_another, environ, start_response)
        status, headers = head
        names = {name.lower(): value for name, value in headers}
        whole = status.startswith("200") and "content-length" in names
        if not whole or not names.get("content-type", "").startswith(COMPRESSIBLE):
            start_response(status, headers)
            return chunks if method == "GET" else _closed(chunks)
        body = b"".join(chunks)
        _closed(chunks)
        entry = _entry(making.number, status, headers, body)
        if making.is_kept and len(making.path) + len(making.query) <= MAX_KEY_LENGTH:
            with self._lock:
                # A name that was not read before makes other keys; what has the old ones goes.
                known = self._read.get(making.path, frozenset())
                if len(self._read) >= MAX_PATHS:
                    self._read.clear()
                self._read[making.path] = known | making.read
                self._entries[cast(Key, self._key(making.path, making.query))] = entry
        return _send(entry, environ, start_response)


def _closed(chunks: Iterable[bytes]) -> list[bytes]:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
    return []


def _entry(number: int, status: str, headers: list[tuple[str, str]], body: bytes) -> Entry:
    etag = hashlib.blake2b(body, digest_size=12).hexdigest()
    replaced = {"content-length", "etag", "vary"}
    common = [(name, value) for name, value in headers if name.lower() not in replaced]
    common += [("ETag", f'W/"{etag}"'), ("Vary", "Accept-Encoding")]
    return Entry(number, etag, status, common, gzip.compress(body, 6, mtime=0))


@lru_cache(256)
def _takes_gzip(accepted: str) -> bool:
    return parse_accept_header(accepted)["gzip"] > 0


def _send(entry: Entry, environ: Environ, start_response: StartResponse) -> list[bytes]:
    known = environ.get("HTTP_IF_NONE_MATCH")
    if known and parse_etags(known).contains_weak(entry.etag):
        start_response("304 NOT MODIFIED", [h for h in entry.headers if h[0] != "Content-Type"])
        return []
    headers, body = list(entry.headers), entry.gzipped
    if _takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
        headers.append(("Content-Encoding", "gzip"))
    else:
        body = gzip.decompress(body)
    headers.append(("Content-Length", str(len(body))))
    start_response(entry.status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
