"""Real sockets against gunicorn with the image's configuration, one worker of sixteen threads."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from frontend.api.schemas import ErrorSchema
from tests.frontend.serving.plain_app import LARGE

ROOT = Path(__file__).parents[3]
SLOW_CLIENTS = 64  # four for each thread


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the server listens; what it says is in a file, and holds no trace at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    log = tmp_path_factory.mktemp("worker") / "log"
    command = [sys.executable, "-m", "gunicorn", "-c", "frontend/serving/gunicorn.conf.py",
               "tests.frontend.serving.plain_app:app"]  # fmt: skip
    environ = {**os.environ, "HOST": "127.0.0.1", "PORT": str(number)}
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=out)
    try:
        for _ in range(300):
            try:
                get(number, "/")
                break
            except OSError:
                time.sleep(0.1)
        yield number
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) == 0
    said = log.read_text()
    assert said.count("Booting worker") == 1  # it has not been replaced
    assert said.count("Traceback") == said.count("RuntimeError: a secret"), said


def get(port: int, path: str, timeout: float = 5) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def raw(port: int, said: bytes, receive_buffer: int = 0) -> socket.socket:
    """A connection that has said something; with a small buffer it takes little of an answer."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(5)
    client.connect(("127.0.0.1", port))
    client.sendall(said)
    return client


def all_of(client: socket.socket) -> bytes:
    found = b""
    while data := client.recv(65536):
        found += data
    return found


@pytest.mark.parametrize(
    ("said", "buffer"),
    [
        (b"", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow", 0),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx", 0),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx", 0),
        (b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", 4096),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 0),
        (b"\r\n\r\n\r\n\r\n", 0),
    ],
    ids=["silent", "slow head", "slow body", "slow chunks", "slow reader", "never closes",
         "empty lines"],
)  # fmt: skip
def test_slow_clients_leave_the_threads_to_others(port: int, said: bytes, buffer: int) -> None:
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            stack.enter_context(raw(port, said, buffer))
        time.sleep(0.3)
        start = time.monotonic()
        for _ in range(5):
            assert get(port, "/") == (200, b"/")
        assert time.monotonic() - start < 1.5


def test_a_slow_reader_gets_the_whole_answer(port: int) -> None:
    with raw(port, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 4096) as client:
        time.sleep(0.5)
        assert len(all_of(client).split(b"\r\n\r\n", 1)[1]) == LARGE


def test_a_head_may_come_in_pieces_and_with_the_next_one(port: int) -> None:
    one = b"GET /%d HTTP/1.1\r\nHost: x\r\n"
    with raw(port, one % 1) as client:
        time.sleep(0.1)
        client.sendall(b"\r\n" + (one % 2 + b"\r\n") + (one % 3)[:-4])
        time.sleep(0.1)
        client.sendall((one % 3)[-4:] + b"Connection: close\r\n\r\n")
        assert [part[-2:] for part in all_of(client).split(b"HTTP/1.1 200 OK")[1:]] == [
            b"/1", b"/2", b"/3"
        ]  # fmt: skip


def test_a_connection_is_used_again(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.connect()
    local = connection.sock.getsockname()
    for k in range(20):
        connection.request("GET", f"/{k}")
        assert connection.getresponse().read() == f"/{k}".encode()
        assert connection.sock.getsockname() == local
    connection.close()


def test_a_head_without_end_is_refused(port: int) -> None:
    with raw(port, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 17_000) as client:
        head, _, body = all_of(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
    assert body == b"Address and headers together may have 16384 bytes.\n"


def test_under_api_a_refusal_has_the_shape_of_every_error(port: int) -> None:
    with raw(port, b"GET /api/v1/matrix HTTP/1.1\r\nX-Long: " + b"x" * 17_000) as client:
        body = json.loads(all_of(client).partition(b"\r\n\r\n")[2])
    assert ErrorSchema().validate(body) == {}
    assert (body["code"], body["status"]) == (431, "Request Header Fields Too Large")


def test_a_download_that_nobody_takes_ends(port: int) -> None:
    with raw(port, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n", 4096) as client:
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert get(port, "/")[0] == 200  # the thread was told that the client has gone


def test_more_connections_than_places_push_out_the_oldest(port: int) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(raw(port, b"GET / HTTP/1.1\r\n"))
        for _ in range(520):
            stack.enter_context(raw(port, b"GET / HTTP/1.1\r\n"))
        assert get(port, "/") == (200, b"/")
        assert first.recv(1) == b""


def test_overload_is_turned_away_at_once_and_health_is_not(port: int) -> None:
    """Sixteen threads of 0.25 s serve 64 requests/s; here come 160/s for two seconds."""
    with ThreadPoolExecutor(340) as pool:
        asked = []
        for _ in range(8):  # over two seconds: what waits no longer than half a one is taken
            asked += [pool.submit(get, port, "/slow", 10) for _ in range(40)]
            time.sleep(0.25)
        health = pool.submit(get, port, "/readyz", 10)
        found = [job.result() for job in asked]
    statuses = [status for status, _ in found]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 64
    assert statuses.count(503) >= 16
    assert health.result()[0] == 200
    assert get(port, "/slow")[0] == 200


def test_errors_tell_nothing_from_inside(port: int) -> None:
    status, page = get(port, "/broken")
    assert status == 500
    assert b"secret" not in page
    assert b"Traceback" not in page


@pytest.mark.parametrize(
    "said",
    [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused(port: int, said: bytes) -> None:
    with raw(port, said) as client:
        answer = all_of(client)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert b"Traceback" not in answer
