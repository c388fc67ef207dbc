"""The site under attack, at half a core: `python -m bench.attacks`; `--help` tells what to choose.

The attacker is one address, 127.0.0.66, in a process of its own. Meanwhile an innocent client
(127.0.0.7) asks for pages at a steady pace and a health check for /healthz, each over a new
connection; what is printed counts from when a request was due. `--behind` puts nginx between as the
load balancer would stand there: it takes whole heads, asks one request at a time over a pool of
connections, hands answers on unbuffered, and adds X-Forwarded-For. `--server` tries a stock server
with the same application (waitress and granian have to be installed for it). Needs Linux, root for
the control group, and nginx for `--behind`. Only this machine is asked, `--seconds` an attack.
"""

import argparse
import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.frontend import free_port, until_ready

sys.path.append(str(Path(__file__).resolve().parent.parent / "probes"))
from chalicelib.sweep import LAMBDA_MB_PER_CORE

from bench.cpu_quota import CpuQuota

ROOT: Final = Path(__file__).parent.parent
ATTACKER, INNOCENT, CHECKER = "127.0.0.66", "127.0.0.7", "127.0.0.8"
CONNECTIONS: Final = 700
HALF_A_CORE_MB: Final = LAMBDA_MB_PER_CORE // 2
PATHS: Final = ("/", "/status", "/api/latencies", "/api/v1/matrix")
NO_ANSWER_S: Final = 10.0

SERVERS: Final = {
    "ours": "gunicorn -c frontend/serving/gunicorn.conf.py bench.frontend:ours()",
    "gthread": "gunicorn --worker-class gthread --threads 16 --keep-alive 75"
    " --worker-connections 1000 --bind 127.0.0.1:{port} bench.frontend:ours()",
    "waitress": "waitress --threads 16 --connection-limit 1000 --asyncore-use-poll"
    " --channel-timeout 75 --listen 127.0.0.1:{port} --call bench.frontend:ours",
    "granian": "granian --interface wsgi --blocking-threads 16 --host 127.0.0.1 --port {port}"
    " --factory bench.frontend:ours",
}

# What AWS documents of an Application Load Balancer: an idle timeout of 60 s on both sides, request
# lines and headers of up to 16 KiB, a pool of connections to the targets, no pipelining to them.
BALANCER: Final = """
daemon off; worker_processes 1; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  client_header_timeout 60; send_timeout 60; keepalive_timeout 3600; keepalive_requests 100000;
  client_header_buffer_size 16k; large_client_header_buffers 4 16k;
  upstream site {{ server 127.0.0.1:{site}; keepalive 512; keepalive_timeout 60; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off; proxy_read_timeout 60; proxy_send_timeout 60; proxy_next_upstream off;
    }}
  }}
}}
"""


def get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\n{more}\r\n".encode()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(port: int, source: str, receive_buffer: int = 0) -> Streams:
    """A connection from one of this machine's addresses; with a small buffer it takes little."""
    client = socket.socket()
    client.setblocking(False)
    client.bind((source, 0))
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=client, limit=2**22)


async def answer(reader: asyncio.StreamReader) -> int:
    """Reads one answer; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    at = head.lower().find(b"content-length: ")
    if at >= 0:
        await reader.readexactly(int(head[at + 16 : head.index(b"\r\n", at)]))
    elif b"transfer-encoding: chunked" in head.lower():
        while int((await reader.readuntil(b"\r\n")).strip() or b"0", 16):
            await reader.readuntil(b"\r\n")
    if b"connection: close" in head.lower():
        raise ConnectionResetError("the server closes")
    return status


async def again_and_again(
    one: Callable[[float], Awaitable[None]], seconds: float, connections: int = CONNECTIONS
) -> None:
    """Each connection begins anew when it has ended, at most twice a second."""
    end = time.monotonic() + seconds

    async def connection(number: int) -> None:
        await asyncio.sleep(number / connections)  # not all in one instant
        while (left := end - time.monotonic()) > 0:
            begun = time.monotonic()
            try:
                async with asyncio.timeout(left):
                    await one(left)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                pass
            await asyncio.sleep(max(0.0, begun + 0.5 - time.monotonic()))

    await asyncio.gather(*(connection(k) for k in range(connections)))


async def pipelined(port: int, seconds: float) -> None:
    """700 connections that each send 200 requests and read nothing."""

    async def one(left: float) -> None:
        _, writer = await connect(port, ATTACKER, 4096)
        writer.write(200 * get("/"))
        await asyncio.sleep(left)
        writer.transport.abort()

    await again_and_again(one, seconds)


async def closed_loop(port: int, seconds: float) -> None:
    """700 connections that are kept and ask again as soon as they are answered."""

    async def one(_: float) -> None:
        reader, writer = await connect(port, ATTACKER)
        try:
            while True:
                writer.write(get("/"))
                await answer(reader)
        finally:
            writer.transport.abort()

    await again_and_again(one, seconds)


async def dear(port: int, seconds: float) -> None:
    """600 requests a minute, the first 60 at once, that are never in a cache and dear to answer."""
    numbers = itertools.count()
    kinds = itertools.cycle(
        ("/metrics?x={}", "/api/v1/matrix?within={}", "/status?x={}", "/?within={}")
    )

    async def ask(due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        path = next(kinds).format(next(numbers))
        reader, writer = await connect(port, ATTACKER)
        try:
            writer.write(get(path, "Connection: close\r\n"))
            await reader.read(-1)
        finally:
            writer.transport.abort()

    start = time.monotonic()
    due = [start] * 60 + [start + k / 10 for k in range(int(10 * seconds))]
    await asyncio.wait([asyncio.create_task(ask(at)) for at in due], timeout=seconds)


async def slow_heads(port: int, seconds: float) -> None:
    """700 connections whose head comes a byte a second."""

    async def one(seconds: float) -> None:
        _, writer = await connect(port, ATTACKER)
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(1)
        finally:
            writer.transport.abort()

    await again_and_again(one, seconds)


async def slow_readers(port: int, seconds: float) -> None:
    """700 connections that ask for the largest answer, unpacked, and read a little a second."""
    large = b"GET /api/v1/matrix HTTP/1.1\r\nHost: bench\r\n\r\n"

    async def one(_: float) -> None:
        reader, writer = await connect(port, ATTACKER, 4096)
        reader._limit = 1024  # type: ignore[attr-defined]  # else asyncio takes more than is asked for
        writer.write(large)
        try:
            while await reader.read(100):
                await asyncio.sleep(1)
        finally:
            writer.transport.abort()

    await again_and_again(one, seconds)


async def downloads(port: int, seconds: float) -> None:
    """32 connections that each take a bulk download as slowly as they can."""

    async def one(_: float) -> None:
        reader, writer = await connect(port, ATTACKER, 4096)
        writer.write(get("/api/v1/daily.zip"))
        try:
            while await reader.read(10):
                await asyncio.sleep(1)
        finally:
            writer.transport.abort()

    await again_and_again(one, seconds, 32)


async def no_http(port: int, seconds: float) -> None:
    """100 connections that say what is no HTTP/1.1: TLS, HTTP/0.9, a bare line feed, bytes."""
    said = itertools.cycle(
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /\r\n", b"GET / HTTP/1.1\n\n",
         b"\n", b"\x00\xff\r\n\r\n")
    )  # fmt: skip

    async def one(_: float) -> None:
        reader, writer = await connect(port, ATTACKER)
        try:
            writer.write(next(said))
            await reader.read(-1)
        finally:
            writer.transport.abort()

    await again_and_again(one, seconds, 100)


Attack = Callable[[int, float], Coroutine[Any, Any, None]]
ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        pipelined, closed_loop, dear, slow_heads, slow_readers, downloads, no_http,
    )
}  # fmt: skip


@contextmanager
def under_attack(name: str, port: int, seconds: float) -> Iterator[None]:
    """The attack from a process of its own, which ends with the context."""
    command = [sys.executable, "-m", "bench.attacks", "--port", str(port), "--attack", name,
               "--seconds", str(seconds)]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def visits(
    port: int, source: str, paths: tuple[str, ...], a_second: float, seconds: float
) -> list[tuple[float, int]]:
    """Seconds from when each request was due to its whole answer, and its status; 0: none."""

    async def one(due: float, path: str) -> tuple[float, int]:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        status = 0
        try:
            async with asyncio.timeout(NO_ANSWER_S):
                reader, writer = await connect(port, source)
                try:
                    writer.write(get(path, "Connection: close\r\n"))
                    said = await reader.read(-1)
                    status = int(said.split(b" ", 2)[1]) if said else 0
                finally:
                    writer.transport.abort()
        except OSError:
            pass
        return time.monotonic() - due if status else NO_ANSWER_S, status

    start, turn = time.monotonic(), itertools.cycle(paths)
    return list(await asyncio.gather(
        *(one(start + k / a_second, next(turn)) for k in range(int(seconds * a_second)))
    ))  # fmt: skip


async def both(port: int, seconds: float) -> tuple[list[tuple[float, int]], ...]:
    return tuple(
        await asyncio.gather(
            visits(port, INNOCENT, PATHS, 9, seconds),
            visits(port, CHECKER, ("/healthz",), 2, seconds),
        )
    )


def half_a_core(command: str, port: int, proxies: int, quota: CpuQuota) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port),
               "FRONTEND_PROXIES": str(proxies)}  # fmt: skip
    words = [sys.executable, "-m", *command.format(port=port).split()]
    return subprocess.Popen(quota.command(*words), cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)


@contextmanager
def serving(server: str, behind: bool) -> Iterator[int]:
    """The site at half a core on a free port, by one of `SERVERS`; perhaps behind a balancer."""
    with tempfile.TemporaryDirectory() as folder, CpuQuota(HALF_A_CORE_MB) as quota:
        site = free_port()
        processes = [half_a_core(SERVERS[server], site, int(behind), quota)]
        port = site
        try:
            until_ready(site, 60)
            if behind:
                port = free_port()
                config = Path(folder, "nginx.conf")
                config.write_text(BALANCER.format(folder=folder, site=site, port=port))
                processes.append(subprocess.Popen(["nginx", "-c", str(config)]))
                until_ready(port, 10)
            yield port
        finally:
            for process in reversed(processes):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def measure(server: str, behind: bool, attacks: list[str], seconds: float) -> None:
    """Prints a line an attack; 2 s after its beginning, so that it is under way."""
    for name in attacks:
        with serving(server, behind) as port:
            asyncio.run(visits(port, "127.0.0.9", PATHS, 8, 1))  # all pages rendered once
            with under_attack(name, port, seconds + 4):
                time.sleep(2)
                pages, checks = asyncio.run(both(port, seconds))
        print(
            f"{server:9}{'behind' if behind else 'direct':8}{name:14}"
            f"{summary(pages):38}{summary(checks)}",
            flush=True,
        )


def summary(found: list[tuple[float, int]]) -> str:
    times = sorted(seconds for seconds, _ in found)
    good = sum(status == 200 for _, status in found)
    p99 = times[int(0.99 * (len(times) - 1))]
    return f"{times[len(times) // 2]:6.2f} s {p99:6.2f} s {good:4} of {len(found)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--server", choices=SERVERS, default="ours")
    parser.add_argument("--behind", action="store_true", help="behind nginx, as a load balancer")
    parser.add_argument("--attack", choices=ATTACKS, action="append", help="again for several")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--port", type=int, help="attack only what listens there, on this machine")
    args = parser.parse_args()
    if args.port:
        asyncio.run(ATTACKS[args.attack[0]](args.port, args.seconds))
    else:
        print(f"{'server':9}{'':8}{'attack':14}{'innocent: p50, p99, answered':38}/healthz")
        measure(args.server, args.behind, args.attack or list(ATTACKS), args.seconds)


if __name__ == "__main__":
    main()
