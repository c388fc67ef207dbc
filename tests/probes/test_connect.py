"""Connects on the loopback interface: what needs no privilege and no network."""

import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter_ns

import pytest
from chalicelib import connect
from chalicelib.connect import Connects, KernelRtt, ReadRtt, kernel_rtt, method

from cloudping.runs import METHOD_CONNECT, METHOD_KERNEL, Attempt


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        yield sock.getsockname()


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def one(address: str, port: int, read_rtt: ReadRtt | None, timeout_s: float = 2.5) -> Attempt:
    with Connects[str](timeout_s, read_rtt) as connects:
        connects.start("only", address, port)
        ((key, attempt),) = connects.wait()
    assert key == "only"
    return attempt


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP_INFO is Linux's")
def test_kernel_figure_is_below_the_user_space_time(listener: tuple[str, int]) -> None:
    assert method(kernel_rtt()) == METHOD_KERNEL
    attempt = one(*listener, kernel_rtt())
    assert attempt.latency_ms is not None and attempt.connect_ms is not None
    assert 0 < attempt.latency_ms <= attempt.connect_ms


def test_user_space_time_without_tcp_info(listener: tuple[str, int]) -> None:
    assert method(None) == METHOD_CONNECT
    attempt = one(*listener, None)
    assert attempt.latency_ms == attempt.connect_ms
    assert attempt.reason is None


def test_closed_port_is_refused(closed_port: int) -> None:
    attempt = one("127.0.0.1", closed_port, kernel_rtt())
    assert (attempt.reason, attempt.latency_ms) == ("refused", None)


def test_silence_is_a_timeout_after_just_that_long() -> None:
    # A listener whose queue is full drops SYNs.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = []
        try:
            for _ in range(4):
                waiting.append(sock := socket.socket())
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            began_ns = perf_counter_ns()
            attempt = one("127.0.0.1", full.getsockname()[1], kernel_rtt(), timeout_s=0.2)
            took_s = (perf_counter_ns() - began_ns) / 1e9
        finally:
            for sock in waiting:
                sock.close()
    assert attempt == Attempt(None, None, reason="timeout")
    assert 0.2 <= took_s < 1


@pytest.fixture
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptor_left_is_the_probes_own_fault(
    listener: tuple[str, int], no_descriptor_left: None
) -> None:
    with Connects[str](1, None) as connects:
        connects.start("only", *listener)
        assert connects.wait() == [("only", Attempt(None, None, reason="local_error"))]


def test_no_descriptor_left_does_not_decide_how_the_kernel_is_asked_from_then_on(
    no_descriptor_left: None,
) -> None:
    connect._has_tcp_info.cache_clear()
    assert method(kernel_rtt()) == (METHOD_KERNEL if sys.platform == "linux" else METHOD_CONNECT)
    assert connect._has_tcp_info.cache_info().currsize == 0


def test_a_kernel_that_will_not_be_asked_is_the_probes_own_fault(
    listener: tuple[str, int],
) -> None:
    def refuse(_: socket.socket) -> KernelRtt:
        raise OSError(errno.ENOPROTOOPT, "not here")

    attempt = one(*listener, refuse)
    assert (attempt.latency_ms, attempt.reason) == (None, "local_error")


def test_ipv6() -> None:
    try:
        sock = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine's loopback")
    with sock:
        attempt = one("::1", sock.getsockname()[1], kernel_rtt())
    assert attempt.latency_ms is not None


def test_retransmission_seen_by_the_kernel_is_no_latency(listener: tuple[str, int]) -> None:
    attempt = one(*listener, lambda _: KernelRtt(50_000, 1))
    assert (attempt.latency_ms, attempt.reason, attempt.retransmits) == (None, "retransmitted", 1)
    assert attempt.connect_ms is not None


def test_a_kernel_without_a_sample_is_the_probes_own_fault(listener: tuple[str, int]) -> None:
    attempt = one(*listener, lambda _: KernelRtt(0, 0))
    assert (attempt.latency_ms, attempt.reason) == (None, "local_error")


def test_other_systems_have_no_tcp_info(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert kernel_rtt() is None


def test_a_kernel_that_knows_too_little_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(connect, "_TCP_INFO_LENGTH", 10_000)
    connect._has_tcp_info.cache_clear()
    assert kernel_rtt() is None
    connect._has_tcp_info.cache_clear()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.ECONNRESET, "reset"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EADDRNOTAVAIL, "local_error"),
        (errno.ENOBUFS, "local_error"),
    ],
)
def test_errors_by_what_they_mean(
    code: int, reason: str, monkeypatch: pytest.MonkeyPatch, listener: tuple[str, int]
) -> None:
    monkeypatch.setattr(socket.socket, "connect_ex", lambda *_: code)
    assert one(*listener, None) == Attempt(None, None, reason=reason)


def test_sockets_are_closed_when_left_early() -> None:
    before = os.dup(0)
    os.close(before)
    with Connects[str](2.5, None) as connects:
        for number in range(5):
            connects.start(str(number), "127.0.0.1", 1)
    after = os.dup(0)
    os.close(after)
    assert after == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP_INFO is Linux's")
def test_a_connect_during_which_the_process_stood_still_says_so(
    listener: tuple[str, int],
) -> None:
    """Stopped by a signal from outside, as a CPU quota stops it; the kernel goes on meanwhile."""
    with Connects[str](2.5, kernel_rtt()) as connects:
        assert connects.wait(perf_counter_ns() + 1_000_000) == []  # the loop runs
        connects.start("before", *listener)
        stop_for(0.05)
        ((_, stalled),) = connects.wait()
        connects.start("after", *listener)
        ((_, undisturbed),) = connects.wait()
    assert stalled.stall_ms >= 50
    assert stalled.connect_ms is not None and stalled.connect_ms >= 50
    assert stalled.latency_ms is not None and stalled.latency_ms < 10  # the kernel's own stamps
    assert undisturbed.stall_ms < stalled.stall_ms


def stop_for(seconds: float) -> None:
    """Has this process stopped, and continued after a while."""
    shell = f"kill -STOP {os.getpid()}; sleep {seconds}; kill -CONT {os.getpid()}"
    began_ns = perf_counter_ns()
    with subprocess.Popen(["sh", "-c", shell]):
        while perf_counter_ns() - began_ns < seconds * 1e9:
            pass


def test_a_stall_belongs_to_what_was_in_flight() -> None:
    with Connects[str](2.5, None) as connects:
        connects._note_stall(1_000, 2_000_999)  # below what counts
        assert connects._stall_ms(0) == 0
        connects._note_stall(10_000_000, 40_000_000)
        connects._note_stall(90_000_000, 95_000_000)
        assert connects._stall_ms(5_000_000) == 30
        assert connects._stall_ms(39_999_999) == 30
        assert connects._stall_ms(40_000_000) == 5
        assert connects._stall_ms(95_000_000) == 0
