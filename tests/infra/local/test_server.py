"""Children of the local stack: ports, start, stop, and what is left of them."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from infra.local.server import Child, LocalError, check_port_free


def python(code: str, tmp_path: Path) -> Child:
    return Child("a child", [sys.executable, "-c", code], {}, tmp_path / "logs" / "child.log")


def test_a_busy_port_is_named_with_the_way_out() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(LocalError, match=rf"port {port} .* choose another with PORT="):
            check_port_free(port, "PORT")
    check_port_free(port, "PORT")


def test_a_child_that_ends_says_how_its_log_ends(tmp_path: Path) -> None:
    child = python("print('no table'); raise SystemExit(3)", tmp_path)
    with pytest.raises(LocalError, match=r"(?s)a child ended with code 3; .*child\.log.*no table"):
        child.wait_until_up("http://127.0.0.1:1/", 20)
    child.stop(1)


def test_a_child_that_never_answers_is_given_up(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path)
    with pytest.raises(LocalError, match=r"does not answer at http://127.0.0.1:1/ after 0.3 s"):
        child.wait_until_up("http://127.0.0.1:1/", 0.3)
    child.stop(5)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_stop_asks_first_and_ends_grandchildren(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "def end(*_): print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print(grandchild.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    child = python(code, tmp_path)
    deadline = time.monotonic() + 20
    while not (said := child.log.read_text()).strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.stop(10)
    assert child.log.read_text().split()[-1] == "saved"
    grandchild = int(said)
    while time.monotonic() < deadline:
        try:
            # A killed orphan stays a zombie until init reaps it.
            state = Path(f"/proc/{grandchild}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {grandchild} outlived its parent")
