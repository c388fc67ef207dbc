"""Times TCP connects: non-blocking sockets in one poll loop, and the kernel's own round trip.

The user-space time of a connect includes waiting for this process to be scheduled; the kernel's
does not. Linux stamps SYN and SYN-ACK itself and hands out the difference in TCP_INFO, which is
what this product calls latency (`runs.METHOD_KERNEL`). Where there is no TCP_INFO the user-space
time has to do (`runs.METHOD_CONNECT`); a run says which it was.
"""

import errno
import selectors
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from time import perf_counter_ns
from typing import Any, Final, Generic, NamedTuple, TypeVar

from cloudping.runs import METHOD_CONNECT, METHOD_KERNEL, Attempt

# struct tcp_info of include/uapi/linux/tcp.h: eight bytes, then u32 fields; both are Linux ABI.
_TCP_INFO: Final = 11
_RTT_OFFSET: Final = 68  # tcpi_rtt, µs: after the handshake it is the one sample SYN to SYN-ACK
_TOTAL_RETRANS_OFFSET: Final = 100  # tcpi_total_retrans; tcpi_retransmits is 0 again by then
_TCP_INFO_LENGTH: Final = 104

# Errors of connect() and SO_ERROR by what they mean. ICMP codes become errors by Linux's
# icmp_err_convert and icmpv6_err_convert.
_REASONS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.ENOPROTOOPT: "unreachable",
    errno.EACCES: "unreachable",  # ICMPv6 administratively prohibited, or a `prohibit` route
    errno.ETIMEDOUT: "timeout",
}


class KernelRtt(NamedTuple):
    """What the kernel knows of a fresh connection; `rtt_us` is 0 where it has no sample."""

    rtt_us: int
    retransmits: int


ReadRtt = Callable[[socket.socket], KernelRtt]


def read_tcp_info(sock: socket.socket) -> KernelRtt:
    """Round trip of the SYN and SYNs sent again, from Linux's TCP_INFO; needs no privilege."""
    info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _TCP_INFO_LENGTH)
    return KernelRtt(
        int.from_bytes(info[_RTT_OFFSET : _RTT_OFFSET + 4], sys.byteorder),
        int.from_bytes(info[_TOTAL_RETRANS_OFFSET : _TOTAL_RETRANS_OFFSET + 4], sys.byteorder),
    )


def kernel_rtt() -> ReadRtt | None:
    """How to ask this kernel for its round trip; None where it cannot be asked."""
    if not sys.platform.startswith("linux"):
        return None  # option 11 means something else there
    try:
        return read_tcp_info if _has_tcp_info() else None
    except OSError:  # no file descriptor left: nothing is measured now, and it is not known
        return read_tcp_info


@cache
def _has_tcp_info() -> bool:
    with socket.socket() as sock:
        try:
            known = len(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _TCP_INFO_LENGTH))
        except OSError:
            return False
    return known == _TCP_INFO_LENGTH


def method(read_rtt: ReadRtt | None) -> str:
    """The name under which figures of this way of measuring are stored."""
    return METHOD_CONNECT if read_rtt is None else METHOD_KERNEL


# After this long Linux sends a SYN again (RFC 6298, 2.1 and 5.7). What has not been answered by
# then is lost: an answer that still comes is `retransmitted`, else it is a timeout.
SYN_REPEATED_S: Final = 1.0

# The loop looks at its clock at least this often, and what it comes late by this much or more is a
# stall: far above what a pass takes, far below a scheduling period (20 ms) of a Lambda's CPU share.
GLANCE_NS: Final = 10_000_000
STALL_NS: Final = 2_000_000

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class _Pending(Generic[Key]):
    sock: socket.socket
    key: Key
    began_ns: int
    expires_ns: int


class Connects(Generic[Key]):
    """Connects in flight: `start` one, `wait` for those that are over.

    `timeout_s` is for each connect that has none of its own; above `SYN_REPEATED_S` a SYN that had
    to be repeated is seen as such instead of as a timeout. Closes its sockets when left as a
    context.
    """

    def __init__(self, timeout_s: float, read_rtt: ReadRtt | None) -> None:
        self._timeout_s = timeout_s
        self._read_rtt = read_rtt
        # poll(2) needs no file descriptor of its own, so that it works when there is none left.
        self._selector = selectors.PollSelector()
        self._pending: dict[int, _Pending[Key]] = {}  # by descriptor
        self._over: list[tuple[Key, Attempt]] = []
        self._ran_ns = 0  # when the loop was last known to run; 0: it has not begun
        self._stalls: list[tuple[int, int]] = []  # from when to when it should have run

    def __enter__(self) -> "Connects[Key]":
        return self

    def __exit__(self, *_: object) -> None:
        for pending in self._pending.values():
            pending.sock.close()
        self._pending.clear()
        self._selector.close()

    def start(self, key: Key, address: str, port: int, timeout_s: float | None = None) -> None:
        """Starts a connect to an IP address; its outcome comes from `wait` under this key."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # no file descriptor left, or no IPv6 in this kernel
            self._over.append((key, Attempt(None, reason="local_error")))
            return
        sock.setblocking(False)
        began_ns = perf_counter_ns()
        code = sock.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            sock.close()
            self._over.append((key, _failure(code, None)))
            return
        patience_s = self._timeout_s if timeout_s is None else timeout_s
        expires_ns = began_ns + int(patience_s * 1e9)
        self._pending[sock.fileno()] = _Pending(sock, key, began_ns, expires_ns)
        self._selector.register(sock, selectors.EVENT_WRITE)

    def wait(self, until_ns: int | None = None) -> list[tuple[Key, Attempt]]:
        """The connects that are over, as (key, attempt).

        Returns as soon as there is one, at `until_ns` (of `perf_counter_ns`) at the latest.
        """
        if not self._over:
            self._poll(until_ns)
        over, self._over = self._over, []
        return over

    def _poll(self, until_ns: int | None) -> None:
        limits_ns = [] if until_ns is None else [until_ns]
        limits_ns += [pending.expires_ns for pending in self._pending.values()]
        if not limits_ns:
            return
        ready, now_ns = self._select(min(limits_ns))
        for entry, _ in ready:
            pending = self._remove(entry.fd)
            outcome = self._outcome(pending, now_ns)
            stall_ms = self._stall_ms(pending.began_ns)
            self._over.append((pending.key, replace(outcome, stall_ms=stall_ms)))
        expired = [p for p in self._pending.values() if p.expires_ns <= now_ns]
        for pending in expired:
            self._remove(pending.sock.fileno()).sock.close()
            self._over.append((pending.key, Attempt(None, reason="timeout")))

    def _select(self, limit_ns: int) -> tuple[list[Any], int]:
        """What is ready, by the limit at the latest, and the one stamp for all of it."""
        while True:
            asked_ns = perf_counter_ns()
            if self._ran_ns:
                self._note_stall(self._ran_ns, asked_ns)
            awake_ns = max(asked_ns, min(limit_ns, asked_ns + GLANCE_NS))
            ready = self._selector.select((awake_ns - asked_ns) / 1e9)
            now_ns = perf_counter_ns()
            self._note_stall(awake_ns, now_ns)
            self._ran_ns = now_ns
            if ready or now_ns >= limit_ns:
                return ready, now_ns

    def _note_stall(self, due_ns: int, came_ns: int) -> None:
        if came_ns - due_ns >= STALL_NS:
            self._stalls.append((due_ns, came_ns))

    def _stall_ms(self, began_ns: int) -> float:
        """The longest stall of which a part lies after a moment."""
        longest_ns = 0
        for due_ns, came_ns in reversed(self._stalls):
            if came_ns <= began_ns:
                break
            longest_ns = max(longest_ns, came_ns - due_ns)
        return longest_ns / 1e6

    def _remove(self, descriptor: int) -> _Pending[Key]:
        pending = self._pending.pop(descriptor)
        self._selector.unregister(pending.sock)
        return pending

    def _outcome(self, pending: _Pending[Key], now_ns: int) -> Attempt:
        connect_ms = (now_ns - pending.began_ns) / 1e6
        with pending.sock as sock:
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return _failure(code, connect_ms)
            if self._read_rtt is None:
                return _timed(connect_ms)
            try:
                rtt_us, retransmits = self._read_rtt(sock)
            except OSError:
                return Attempt(None, connect_ms, reason="local_error")
        if retransmits:
            # With TCP timestamps the kernel still has a figure, in steps of a millisecond; without
            # them none. A packet was lost (or the true round trip is above a second) either way.
            return Attempt(None, connect_ms, retransmits, "retransmitted")
        if not rtt_us:
            return Attempt(None, connect_ms, reason="local_error")
        return Attempt(rtt_us / 1000, connect_ms)


def _timed(connect_ms: float) -> Attempt:
    # Without TCP_INFO a repeated SYN can only be told by its time.
    if connect_ms >= SYN_REPEATED_S * 1000:
        return Attempt(None, connect_ms, 1, "retransmitted")
    return Attempt(connect_ms, connect_ms)


def _failure(code: int, connect_ms: float | None) -> Attempt:
    return Attempt(None, connect_ms, reason=_REASONS.get(code, "local_error"))
