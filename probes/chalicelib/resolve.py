"""Looks names up before anything is measured, each timed by itself, none waiting for a slow one."""

import errno
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Final, Literal

Family = Literal[4, 6]

# A lookup that takes longer no longer holds back the ones behind it.
STALLED_S: Final = 0.1
# glibc asks again after 5 s: one lost packet is survived, a dead resolver is not waited for.
LOOKUP_TIMEOUT_S: Final = 6.0
# What getaddrinfo passes on (EAI_SYSTEM) where it could not ask: no descriptor, no memory.
_LOCAL_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a host resolved to, in one address family; `error` says why there is no address.

    `dns_ms` is None where nothing was looked up: the host is an address, or no answer came.
    `is_local_error` where it is this machine that could not ask.
    """

    addresses: tuple[str, ...]
    dns_ms: float | None = None
    error: str | None = None
    is_local_error: bool = False


def lookup(host: str, family: Family) -> Lookup:
    """Asks the system's resolver, blocking; a failure is a Lookup with an error."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if address.version == family:
            return Lookup((host,))
        return Lookup((), error=f"{host} is not an IPv{family} address")
    wanted = socket.AF_INET6 if family == 6 else socket.AF_INET
    began = perf_counter()
    try:
        found = socket.getaddrinfo(host, None, wanted, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        is_local = not isinstance(error, socket.gaierror) and (
            getattr(error, "errno", None) in _LOCAL_ERRORS
        )
        return Lookup((), _ms_since(began), said, is_local)
    dns_ms = _ms_since(began)
    return Lookup(tuple(dict.fromkeys(str(entry[4][0]) for entry in found)), dns_ms)


def _ms_since(began: float) -> float:
    return (perf_counter() - began) * 1000


def resolve(
    hosts: Iterable[str],
    family: Family,
    parallel: int,
    timeout_s: float = LOOKUP_TIMEOUT_S,
    look_up: Callable[[str, Family], Lookup] = lookup,
) -> dict[str, Lookup]:
    """Every host's lookup, `parallel` at a time.

    getaddrinfo cannot be interrupted, so each runs in a thread that is left behind when it takes
    longer than `timeout_s`; after `STALLED_S` it no longer counts against `parallel`.
    """
    answers: SimpleQueue[tuple[str, Lookup]] = SimpleQueue()
    waiting = deque(dict.fromkeys(hosts))
    began: dict[str, float] = {}
    found: dict[str, Lookup] = {}

    def ask(host: str) -> None:
        answers.put((host, look_up(host, family)))

    while waiting or began:
        now = perf_counter()
        for host in [host for host, at in began.items() if now - at >= timeout_s]:
            del began[host]
            found[host] = Lookup((), error=f"no answer within {timeout_s:g} s")
        fresh = [at for at in began.values() if now - at < STALLED_S]
        while waiting and len(fresh) < parallel:
            host = waiting.popleft()
            began[host] = now
            fresh.append(now)
            try:
                threading.Thread(target=ask, args=(host,), daemon=True).start()
            except RuntimeError as error:  # no thread left
                answers.put((host, Lookup((), error=str(error), is_local_error=True)))
        if not began:
            break
        limits = [at + timeout_s for at in began.values()]
        if waiting:
            limits.append(min(fresh) + STALLED_S)
        try:
            host, answer = answers.get(timeout=max(0.0, min(limits) - perf_counter()))
        except Empty:
            continue
        if began.pop(host, None) is not None:
            found[host] = answer
    return found
