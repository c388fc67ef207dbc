"""The monitor as it runs: gunicorn with its own configuration, as a child process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.conftest import ROOT

GUNICORN = Path(sys.executable).with_name("gunicorn")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def environment(**settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'probes'}", "HOST": "127.0.0.1", **settings}


def start(
    settings: dict[str, str], wrap: Callable[..., Sequence[str]] = lambda *words: words
) -> "subprocess.Popen[str]":
    """gunicorn with its configuration and nothing else, as in the image and in `make pair`."""
    return subprocess.Popen(
        wrap(str(GUNICORN), f"--config={ROOT / 'probes' / 'monitor' / 'gunicorn.conf.py'}"),
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def running(**settings: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The monitor's address and process, once it answers."""
    port = free_port()
    process = start({"PORT": str(port), **settings})
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: get(f"{url}/health/live")[0] == 200, 15)
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5)


def get(url: str, accept: str = "*/*") -> tuple[int, str]:
    """Code and text of an answer; code 0 while nothing listens."""
    try:
        with urlopen(Request(url, headers={"Accept": accept}), timeout=5) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def get_json(url: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(get(url)[1])
    return content


def until(holds: Callable[[], bool], within_s: float) -> None:
    deadline = monotonic() + within_s
    while not holds():
        assert monotonic() < deadline, f"not so within {within_s} s"
        sleep(0.05)
