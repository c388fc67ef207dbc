"""Child processes, which end with this one, and MiniStack as one of them, on 127.0.0.1 only."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from cloudping.errors import CloudPingError
from infra import ROOT

HOST = "127.0.0.1"
AWS_PYTHON = ROOT / ".local" / "aws-venv" / "bin" / "python"
GUARD = ROOT / "infra" / "local" / "guard.py"
SERVE = ROOT / "infra" / "local" / "serve.py"
LOG_BYTES = 10_000_000


class LocalError(CloudPingError):
    """The local stack cannot start or has stopped; says what to do."""


def check_port_free(port: int, setting: str) -> None:
    """Raises LocalError when there is no such port, or something listens on it already."""
    if not 1 <= port <= 65535:
        raise LocalError(f"{setting}={port} is no port; choose one from 1 to 65535")
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
    """A process with a log of its own, ended with everything it started.

    Also when this process is killed: see guard.py. `keep` are open files that it shall hold.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str],
        log: Path,
        keep: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))  # of the run before
        self._output: IO[bytes] = log.open("ab")
        # A session of its own: Ctrl-C in the terminal reaches only the parent, which then ends
        # its children in the right order.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), *command],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep,
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

    @property
    def code(self) -> int | None:
        """With what it has ended; None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it, and what it has started, without letting it save anything."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def trim_log(self) -> None:
        """Begins the log anew when it has become too large for what it is good for."""
        if self.log.stat().st_size > LOG_BYTES:
            os.truncate(self.log, 0)

    def said(self, word: str) -> str:
        """The last line of its log with a word in it, or nothing."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if word in line), "")

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
        self._close()

    def _close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._output.close()


def start_ministack(folder: Path, port: int, region: str, keep: Sequence[int] = ()) -> Child:
    """Starts MiniStack with its state under `folder/state`; returns once it answers.

    On SIGUSR1 it saves its state, as it does at its end; see serve.py. It runs in a clean
    environment, which its Lambda workers inherit: none of the caller's credentials or settings
    reach the functions.
    """
    if not AWS_PYTHON.with_name("ministack").exists():
        raise LocalError(
            f"{AWS_PYTHON.parent.parent} is missing; run `make run`, which installs it"
        )
    state, scratch = folder / "state", folder / "tmp"
    # The functions' unpacked code, some 10 MB each, which MiniStack does not remove at its end.
    shutil.rmtree(scratch, ignore_errors=True)
    for place in (state, scratch):
        place.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": f"{AWS_PYTHON.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
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
        "LAMBDA_WARM_TTL_SECONDS": "60",  # for what a burst leaves beside a function's first worker
        "LOG_LEVEL": "WARNING",
    }
    command = [str(AWS_PYTHON), str(SERVE)]
    child = Child("MiniStack", command, environment, folder / "logs" / "ministack.log", keep)
    try:
        child.wait_until_up(f"http://{HOST}:{port}/_ministack/health", 30)
    except BaseException:
        child.stop(5)
        raise
    return child
