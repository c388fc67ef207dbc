"""Real sockets against gunicorn with the image's configuration, one worker of sixteen threads."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from frontend.api.schemas import ErrorSchema
from frontend.serving.refusals import HEADERS
from frontend.serving.worker import (
    MAX_CONNECTIONS,
    MAX_RUNNING,
    MAX_WAITING,
)
from tests.frontend.serving.plain_app import SIZES

ROOT = Path(__file__).parents[3]
THREADS, PLACES = 16, 800  # of gunicorn.conf.py
SLOW = "127.0.0.2"  # another client than the one that the tests ask as
A_MINUTE_S = 60.0


@contextmanager
def serving(log: Path, proxies: int = 0, **constants: float) -> Iterator[int]:
    """Where the server listens; what it says is in a file, and holds no trace at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "-c", "frontend/serving/gunicorn.conf.py",
               "tests.frontend.serving.plain_app:app"]  # fmt: skip
    environ = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port),
               "FRONTEND_PROXIES": str(proxies), "WORKER": json.dumps(constants)}  # fmt: skip
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=out)
    try:
        for _ in range(300):
            try:
                get(port, "/")
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        ended = server.wait(15)
    assert ended == 0
    said = log.read_text()
    assert said.count("Booting worker") == 1  # it has not been replaced
    assert said.count("Traceback") == said.count("RuntimeError: a secret"), said


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("worker") / "log") as number:
        yield number


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Behind one proxy, from which all connections come."""
    with serving(tmp_path_factory.mktemp("proxied") / "log", proxies=1) as number:
        yield number


def get(port: int, path: str, timeout: float = 5, source: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout, (source, 0))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def request(path: str, *more: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *more, "", ""]).encode()


def raw(port: int, said: bytes, receive_buffer: int = 0, source: str = SLOW) -> socket.socket:
    """A connection that has said something; with a small buffer it takes little of an answer."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.bind((source, 0))
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(said)
    return client


def all_of(client: socket.socket) -> bytes:
    """Until the server closes, or resets."""
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def answer_to(port: int, said: str) -> tuple[http.client.HTTPResponse, bytes]:
    with raw(port, said.encode()) as client, http.client.HTTPResponse(client) as answer:
        answer.begin()
        return answer, answer.read()


def opened(port: int) -> int:
    return int(get(port, "/open")[1])


def at_rest(port: int) -> int:
    """How many files the server has open when nothing is under way any more."""
    found = opened(port)
    while True:
        time.sleep(0.2)
        if (now := opened(port)) == found:
            return found
        found = now


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.05)


# Clients that are slow.


@pytest.mark.parametrize(
    ("said", "buffer"),
    [
        (b"", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow", 0),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx", 0),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx", 0),
        (request("/large"), 4096),
        (request("/", "Connection: close"), 0),
        (b"\r\n\r\n\r\n\r\n", 0),
    ],
    ids=["silent", "slow head", "slow body", "slow chunks", "slow reader", "never closes",
         "empty lines"],
)  # fmt: skip
def test_slow_clients_leave_the_threads_to_others(port: int, said: bytes, buffer: int) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(raw(port, said, buffer))
        time.sleep(0.3)
        start = time.monotonic()
        for _ in range(5):
            assert get(port, "/") == (200, b"/")
        assert time.monotonic() - start < 1.5


def test_a_head_that_does_not_come_in_time_is_refused(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "log", HEAD_S=0.5) as port,
        raw(port, b"GET /api HTTP/1.1\r\n") as half,
        raw(port, b"") as silent,
    ):
        assert all_of(half).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert all_of(silent) == b""


def test_an_answer_that_is_not_taken_in_time_ends(tmp_path: Path) -> None:
    with serving(tmp_path / "log", SEND_S=0.5) as port:
        before = at_rest(port)
        with raw(port, request("/large"), 4096) as client:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
            wait_until(lambda: opened(port) <= before)
            assert len(all_of(client)) < SIZES["/large"]


def test_a_client_that_never_closes_is_left(tmp_path: Path) -> None:
    with serving(tmp_path / "log", CLOSE_S=0.5) as port:
        before = at_rest(port)
        with raw(port, request("/", "Connection: close")):
            wait_until(lambda: opened(port) > before)
            wait_until(lambda: opened(port) <= before)


def test_a_slow_reader_gets_the_whole_answer(port: int) -> None:
    with raw(port, request("/large", "Connection: close"), 4096) as client:
        time.sleep(0.5)
        assert len(all_of(client).split(b"\r\n\r\n", 1)[1]) == SIZES["/large"]


def test_a_download_that_is_hardly_taken_ends(tmp_path: Path) -> None:
    """A little again and again does not keep the thread: the rate counts."""
    with serving(tmp_path / "log", SEND_S=0.5, SEND_RATE=10**8) as port:
        before = at_rest(port)
        with raw(port, request("/endless"), 4096) as client:
            wait_until(lambda: bool(client.recv(2**16)) and opened(port) <= before)


def test_a_download_that_is_taken_goes_on(tmp_path: Path) -> None:
    """However long its thread has waited in all, as long as the rate is met."""
    with (
        serving(tmp_path / "log", SEND_S=0.5, SEND_RATE=2**20) as port,
        raw(port, request("/endless")) as client,
    ):
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert client.recv(2**18)
            time.sleep(0.02)


def test_what_clients_do_not_take_is_bounded_and_the_one_with_most_pays(tmp_path: Path) -> None:
    size, ask = SIZES["/medium"], request("/medium", "Connection: close")
    with (
        serving(tmp_path / "log", MAX_UNSENT_TOTAL=4 * size) as port,
        ExitStack() as stack,
        raw(port, ask, 4096, "127.0.0.3") as other,
    ):
        clients = [stack.enter_context(raw(port, ask, 4096)) for _ in range(12)]
        at_rest(port)
        whole = sum(len(all_of(client)) > size for client in clients)
        assert 3 <= whole <= 4
        assert len(all_of(other)) > size


def test_what_comes_with_a_request_and_is_not_read_is_bounded(tmp_path: Path) -> None:
    with serving(tmp_path / "log", CLOSE_S=A_MINUTE_S) as port:
        said = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        with raw(port, said) as client, pytest.raises((ConnectionError, BrokenPipeError)):
            client.recv(1)  # the answer does not wait for the body
            for _ in range(200):
                client.sendall(b"x" * 2**20)


@contextmanager
def hanging(port: int) -> Iterator[ExitStack]:
    """A stack for clients that ask for /hang; at the end they are answered, and all is at rest."""
    with ExitStack() as stack:
        yield stack
    get(port, "/healthz?release", source="127.0.0.10")
    at_rest(port)


# Requests of many, or of one that wants all.


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


def test_of_one_clients_connections_the_oldest_makes_room(port: int) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(raw(port, b"GET / HTTP/1.1\r\n"))
            for _ in range(MAX_CONNECTIONS + 1)
        ]
        assert all_of(clients[0]) == b""
        clients[1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            clients[1].recv(1)
        clients[-1].sendall(b"\r\n")
        assert clients[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_a_client_whose_connections_have_all_asked_gets_no_more(port: int) -> None:
    with hanging(port) as stack:
        for _ in range(MAX_RUNNING + MAX_WAITING):
            stack.enter_context(raw(port, request("/hang")))
        for _ in range(
            2 * MAX_CONNECTIONS
        ):  # beyond what may wait; held for a moment, then refused
            stack.enter_context(raw(port, request("/hang")))
        assert get(port, "/") == (200, b"/")


def test_behind_a_proxy_the_client_with_most_connections_makes_room(proxied: int) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(raw(proxied, b"GET / HTTP/1.1\r\n", source="127.0.0.5"))
        first = stack.enter_context(raw(proxied, b"GET / HTTP/1.1\r\n"))
        for _ in range(PLACES):
            stack.enter_context(raw(proxied, b"GET / HTTP/1.1\r\n"))
        assert get(proxied, "/") == (200, b"/")
        assert all_of(first) == b""
        other.sendall(b"\r\n")
        assert other.recv(15) == b"HTTP/1.1 200 OK"


def test_a_connection_whose_request_waits_can_make_room(proxied: int) -> None:
    """All places are with requests that wait for a thread; 64 of them a second get one."""
    with ExitStack() as stack:
        for k in range(PLACES):
            forwarded = f"X-Forwarded-For: 192.0.2.{k % (PLACES // MAX_WAITING)}"
            stack.enter_context(raw(proxied, 3 * request("/slow", forwarded)))
        assert get(proxied, "/", timeout=3)[0] in (200, 503)


def test_a_client_with_many_requests_waits_for_itself(tmp_path: Path) -> None:
    """And what is beyond its share is refused late, so that asking again at once gains nothing."""
    with serving(tmp_path / "log", REFUSED_AFTER_S=3) as port, hanging(port) as stack:
        begun = time.monotonic()
        clients = [stack.enter_context(raw(port, request("/hang"))) for _ in range(60)]
        assert get(port, "/") == (200, b"/")
        for client in clients[MAX_RUNNING + MAX_WAITING :]:
            assert client.recv(12) == b"HTTP/1.1 503"
            assert time.monotonic() - begun > 2.5


def test_who_asks_too_often_is_told_later(tmp_path: Path) -> None:
    """And holds no thread meanwhile: 30 are told at once."""
    with serving(tmp_path / "log", REFUSED_AFTER_S=3) as port, ExitStack() as stack:
        begun = time.monotonic()
        clients = [stack.enter_context(raw(port, request("/refused"))) for _ in range(30)]
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 429"
            assert time.monotonic() - begun > 2.5
        assert time.monotonic() - begun < 3 * 30 / MAX_RUNNING / 2
        clients[0].sendall(request("/next", "Connection: close"))
        assert all_of(clients[0]).endswith(b"/next")


def test_behind_a_proxy_a_share_is_the_clients_and_not_the_proxys(proxied: int) -> None:
    with ExitStack() as stack:
        for k in range(60):
            forwarded = f"X-Forwarded-For: 198.51.100.{k}, 203.0.113.7:{1024 + k}"
            stack.enter_context(raw(proxied, request("/slow", forwarded)))
        begun = time.monotonic()
        with raw(proxied, request("/", "X-Forwarded-For: 203.0.113.8")) as other:
            assert other.recv(15) == b"HTTP/1.1 200 OK"
        assert time.monotonic() - begun < 1


def test_overload_by_many_is_turned_away_at_once(port: int) -> None:
    """Sixteen threads of 0.25 s serve 64 requests/s; here come 160/s for two seconds."""
    with ThreadPoolExecutor(340) as pool:
        asked = []
        for second in range(8):  # over two seconds: what waits no longer than half a one is taken
            asked += [
                pool.submit(get, port, "/slow", 10, f"127.1.{second}.{k + 1}") for k in range(40)
            ]
            time.sleep(0.25)
        health = pool.submit(get, port, "/readyz", 10)
        found = [job.result() for job in asked]
    statuses = [status for status, _ in found]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 64
    assert statuses.count(503) >= 16
    assert health.result()[0] == 200
    assert get(port, "/slow")[0] == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_has_threads_of_its_own(port: int, path: str) -> None:
    with hanging(port) as stack:
        for k in range(2 * THREADS):
            stack.enter_context(raw(port, request("/hang"), source=f"127.2.0.{k + 1}"))
        begun = time.monotonic()
        assert get(port, path, source="127.0.0.9") == (200, path.encode())
        assert time.monotonic() - begun < 5  # half of what the others hang


def test_who_hammers_health_does_not_keep_it_from_others(port: int) -> None:
    with hanging(port) as stack:
        for _ in range(MAX_CONNECTIONS - 1):
            stack.enter_context(raw(port, request("/healthz?hang")))
        begun = time.monotonic()
        assert get(port, "/healthz", source="127.0.0.9")[0] == 200
        assert time.monotonic() - begun < 5


# What is refused.


@pytest.mark.parametrize(
    "said",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /\r\n", b"GET / HTTP/1.1\n", b"\n",
     b"GET / HTTP/1.1\r\nHost: x\n\n", b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"get / HTTP/1.1\r\n",
     b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ids=["TLS", "HTTP/0.9", "bare line feed", "line feed", "bare line feed later", "bytes",
         "no target", "small letters", "version", "HTTP/2", "header's name", "two lengths"],
)  # fmt: skip
def test_what_is_no_request_is_refused_at_once(tmp_path: Path, port: int, said: bytes) -> None:
    with raw(port, said) as client:
        client.settimeout(5)  # half of what a head has to come
        head, _, body = all_of(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"<" not in body


LONG = "x" * 8_200


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (f"GET /api/{LONG} HTTP/1.1\r\n\r\n", 414),
        (f"GET /api HTTP/1.1\r\nX: {LONG}\r\n\r\n", 431),
        ("GET /api HTTP/1.1\r\n" + 101 * "X: y\r\n" + "\r\n", 431),
        ("GET /api HTTP/1.1\r\nX: " + 2 * LONG, 431),
        ("GET /api HTTP/1.1\r\nHost: x\r\nExpect: the unexpected\r\n\r\n", 417),
        ("GET /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: unheard-of\r\n\r\n", 501),
        ("GET /api HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET /api/broken HTTP/1.1\r\nHost: x\r\n\r\n", 500),
        ("GET /api HTTP/1.0.0\r\n", 400),
    ],
)
def test_under_api_every_refusal_has_the_shape_of_every_error(
    port: int, said: str, code: int
) -> None:
    answer, text = answer_to(port, said)
    body: dict[str, Any] = json.loads(text)
    assert ErrorSchema().validate(body) == {}
    assert (answer.status, body["code"], body["status"]) == (code, code, answer.reason)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "secret" not in body["message"]


def test_elsewhere_a_refusal_is_plain_text_with_all_headers(port: int) -> None:
    answer, text = answer_to(port, f"GET / HTTP/1.1\r\nX: {2 * LONG}")
    assert text == b"Address and headers together may have 16384 bytes.\n"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_a_line_and_a_header_of_eight_kilobytes_are_taken(port: int) -> None:
    path = "/" + "x" * 8_000
    with raw(port, request(path, "X: " + "y" * 8_000, "Connection: close")) as client:
        assert all_of(client).endswith(path.encode())


def test_errors_tell_nothing_from_inside(port: int) -> None:
    status, page = get(port, "/broken")
    assert status == 500
    assert b"secret" not in page
    assert b"Traceback" not in page


def test_no_client_says_where_the_site_is(port: int) -> None:
    said = request("/environ", "SCRIPT_NAME: /env", "X-Forwarded-Proto: https", "Connection: close")
    with raw(port, said, source="127.0.0.1") as client:
        assert all_of(client).endswith(b'["", "http"]')
