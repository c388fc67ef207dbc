"""The test bed as tests and benchmarks use it: start it, run things inside, ask what the wire saw.

Needs root and Linux with /dev/net/tun; `needs_root` marks and skips tests accordingly.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple, ParamSpec, TypeVar

import pytest

from tests.testbed import netns, packets
from tests.testbed.packets import ACK, SYN
from tests.testbed.rules import Name, Rule, Rules

ROOT = Path(__file__).resolve().parent.parent.parent
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_SO_RCVBUFFORCE = 33
_ETH_P_ALL = 3

P = ParamSpec("P")
T = TypeVar("T")


_CAPABILITIES = 1 << 21 | 1 << 12  # CAP_SYS_ADMIN, CAP_NET_ADMIN of linux/capability.h


def _effective_capabilities() -> str:
    status = Path("/proc/self/status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))


def why_not() -> str | None:
    """Why the test bed cannot run here; None when it can."""
    if not sys.platform.startswith("linux"):
        return "the test bed needs Linux"
    if int(_effective_capabilities(), 16) & _CAPABILITIES != _CAPABILITIES:
        return "the test bed needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN, for its namespaces"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "the test bed needs /dev/net/tun"
    if missing := [tool for tool in ("ip", "ss", "nsenter") if shutil.which(tool) is None]:
        return f"the test bed needs {', '.join(missing)} (iproute2, util-linux)"
    return None


needs_root = [
    pytest.mark.testbed,
    pytest.mark.skipif(why_not() is not None, reason=why_not() or "can run"),
]


class Handshake(NamedTuple):
    """A connect as the wire saw it: times in seconds since the epoch, by the kernel's stamps."""

    syns: tuple[float, ...]
    syn_ack: float | None

    @property
    def rtt_ms(self) -> float | None:
        """From the first SYN to the SYN-ACK; None without one."""
        return None if self.syn_ack is None else (self.syn_ack - self.syns[0]) * 1000


class Capture:
    """Every packet of the client's device, stamped by the kernel; read it when all is over."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 * 1024 * 1024)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock.bind(("tun0", _ETH_P_ALL))
        self._sock.setblocking(False)

    def handshakes(self) -> dict[tuple[str, int], Handshake]:
        """Connects since the capture began, by target address and client port, in their order."""
        syns: dict[tuple[str, int], list[float]] = {}
        answers: dict[tuple[str, int], float] = {}
        while True:
            try:
                raw, ancillary, _, _ = self._sock.recvmsg(65536, 64)
            except BlockingIOError:
                break
            packet = packets.parse(raw)
            if packet is None or packet.protocol != packets.TCP:
                continue
            segment = packets.parse_tcp(packet.payload)
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            stamp = seconds + nanoseconds / 1e9
            if segment.flags & (SYN | ACK) == SYN:
                key = (socket.inet_ntoa(packet.target), segment.source_port)
                syns.setdefault(key, []).append(stamp)
            elif segment.flags & SYN:
                answers.setdefault((socket.inet_ntoa(packet.source), segment.target_port), stamp)
        return {key: Handshake(tuple(sent), answers.get(key)) for key, sent in syns.items()}

    def close(self) -> None:
        self._sock.close()


class Bed:
    """A network of its own with known targets; `link` puts real servers behind a known delay."""

    def __init__(
        self,
        targets: Mapping[str, Rule],
        names: Mapping[str, Name] | None = None,
        seed: int = 1,
        link: bool = False,
    ) -> None:
        module = "tests.testbed.link" if link else "tests.testbed.responder"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(Rules(targets, names or {}, seed).to_json() + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().split()
        if not said or said[0] != "ready":
            self.close()
            raise RuntimeError(f"{module} did not start; see its error output")
        self._client = Path(f"/proc/{self._process.pid}/ns")
        self._server = Path(said[1]) if link else None

    def __enter__(self) -> "Bed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=5)
        self._process.stdout.close()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function in a thread that is inside: its sockets, names and threads are too."""
        outcome: list[T] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                netns.unshare(netns.CLONE_FS)
                netns.setns(self._client / "net", netns.CLONE_NEWNET)
                netns.setns(self._client / "mnt", netns.CLONE_NEWNS)
                outcome.append(function(*args, **kwargs))
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def capture(self) -> Capture:
        return self.call(Capture)

    def command(self, *command: str) -> list[str]:
        """A command line that runs a program inside, on the client's side."""
        enter = ["nsenter", f"--net={self._client / 'net'}", f"--mount={self._client / 'mnt'}"]
        return [*enter, f"--wdns={Path.cwd()}", "--", *command]

    def serve(self, *command: str, port: int = 80) -> "subprocess.Popen[bytes]":
        """Starts a server on a link's far side and waits until it listens."""
        assert self._server is not None, "only a link has a far side"
        server = subprocess.Popen(["nsenter", f"--net={self._server}", "--", *command])
        deadline = perf_counter() + 5
        while not _listens(self._server, port):
            if perf_counter() > deadline or server.poll() is not None:
                server.kill()
                raise RuntimeError(f"{command[0]} does not listen on {port}")
            sleep(0.02)
        return server


def _listens(namespace: Path, port: int) -> bool:
    listening = subprocess.run(
        ["nsenter", f"--net={namespace}", "--", "ss", "-Hltn", f"sport = :{port}"],
        check=True,
        capture_output=True,
    )
    return bool(listening.stdout.strip())
