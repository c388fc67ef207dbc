"""Linux network namespaces, TUN devices and timing rights, by system call."""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """New namespaces for the calling thread."""
    _checked(_libc.unshare(flags), "unshare")


def setns(path: Path, kind: int) -> None:
    """Moves the calling thread into a namespace given by its file in /proc."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _checked(_libc.setns(descriptor, kind), f"setns {path}")
    finally:
        os.close(descriptor)


def use_resolv_conf(text: str) -> None:
    """Another /etc/resolv.conf for the calling thread's own mount namespace."""
    _checked(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount --make-rprivate")
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        Path(file.name).chmod(0o644)
        real = os.path.realpath("/etc/resolv.conf").encode()
        _checked(_libc.mount(file.name.encode(), real, None, _MS_BIND, None), "mount --bind")


def open_tun(name: str) -> int:
    """A TUN device in the current network namespace; each read or write is one packet."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return descriptor


def ip(*arguments: str) -> None:
    """Runs iproute2's `ip` in the current network namespace."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def be_punctual() -> None:
    """Exact timers, and real-time priority where allowed; ends with the parent process."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _libc.prctl(_PR_SET_TIMERSLACK, 1)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
