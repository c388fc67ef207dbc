"""A WSGI application for the tests of the worker: small, large, slow and endless answers."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

LARGE = 4_000_000  # more than the kernel takes, so that the server has to keep some of it


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise RuntimeError("a secret from inside")
    if path == "/endless":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _endless()
    if path == "/slow":
        time.sleep(0.25)
    body = b"x" * LARGE if path == "/large" else path.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536
