"""MiniStack as a child process: started on 127.0.0.1 only, stopped so that it keeps its state."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from cloudping.errors import CloudPingError
from infra import ROOT

HOST = "127.0.0.1"
MINISTACK = ROOT / ".local" / "aws-venv" / "bin" / "ministack"


class LocalError(CloudPingError):
    """The local stack cannot start or has stopped; says what to do."""


def check_port_free(port: int, setting: str) -> None:
    """Raises LocalError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalError(
                f"port {port} on {HOST} is not free ({error.strerror}); "
                f"choose another with {setting}="
            ) from None


class Child:
    """A process of the local stack with a log of its own, ended with everything it started."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._output: IO[bytes] = log.open("ab")
        # A session of its own: Ctrl-C in the terminal reaches only the parent, which then ends
        # its children in the right order.
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check_alive(self) -> None:
        """Raises LocalError with the end of the log when the process has ended."""
        if (code := self._process.poll()) is not None:
            said = self.log.read_text(errors="replace").strip().splitlines()[-5:]
            raise LocalError(
                f"{self.name} ended with code {code}; {self.log} ends with:\n" + "\n".join(said)
            )

    def wait_until_up(self, url: str, timeout_s: float) -> None:
        """Returns when the URL answers; raises LocalError when the process ends or time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.check_alive()
            try:
                with urlopen(url, timeout=2):  # noqa: S310 - a URL of this machine, built above
                    return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LocalError(
                        f"{self.name} does not answer at {url} after {timeout_s:g} s "
                        f"({error}); see {self.log}"
                    ) from error
            time.sleep(0.1)

    def stop(self, timeout_s: float) -> None:
        """SIGTERM, which saves the state; SIGKILL after the timeout and for what is left of it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        with suppress(ProcessLookupError):  # the usual case: nothing of its session is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._output.close()


def start_ministack(folder: Path, port: int, region: str) -> Child:
    """Starts MiniStack with its state under `folder/state`; returns once it answers.

    It runs in a clean environment, which its Lambda workers inherit: none of the caller's
    credentials or settings reach the functions.
    """
    if not MINISTACK.exists():
        raise LocalError(f"{MINISTACK} is missing; run `make run`, which installs it")
    state, scratch = folder / "state", folder / "tmp"
    # The functions' unpacked code, some 10 MB each, which MiniStack does not remove at its end.
    shutil.rmtree(scratch, ignore_errors=True)
    for place in (state, scratch):
        place.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": f"{MINISTACK.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state),
        "TMPDIR": str(scratch),
        "MINISTACK_REGION": region,
        "LOG_LEVEL": "WARNING",
    }
    child = Child("MiniStack", [str(MINISTACK)], environment, folder / "logs" / "ministack.log")
    try:
        child.wait_until_up(f"http://{HOST}:{port}/_ministack/health", 30)
    except BaseException:
        child.stop(5)
        raise
    return child
