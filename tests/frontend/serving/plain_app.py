"""A WSGI application for the tests of the worker: small, large, slow and endless answers.

WORKER in the environment replaces constants of the worker, so that tests need not wait for them.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from frontend.serving import worker

# The large one is more than kernel and worker keep, so that its thread has to wait for the client.
SIZES = {"/medium": 1_900_000, "/large": 4_000_000}

for name, value in json.loads(os.environ.get("WORKER", "{}")).items():
    assert hasattr(worker, name)
    setattr(worker, name, value)

gates = [threading.Event()]  # those who hang wait for the last one


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path.endswith("/broken"):
        raise RuntimeError("a secret from inside")
    if path == "/endless":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _endless()
    if path == "/slow" or query == "slow":
        time.sleep(0.25)
    if path == "/hang" or query == "hang":
        gates[-1].wait(10)
    if query == "release":
        gates.append(threading.Event())
        gates[-2].set()
    body = path.encode()
    if path in SIZES:
        body = b"x" * SIZES[path]
    if path == "/open":
        body = str(len(os.listdir("/proc/self/fd"))).encode()  # noqa: PTH208 - links to sockets
    if path == "/environ":
        body = json.dumps([environ["SCRIPT_NAME"], environ["wsgi.url_scheme"]]).encode()
    status = "429 TOO MANY REQUESTS" if path == "/refused" else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536
