"""Children of the local stack: ports, start, stop, and what is left of them."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local.server import Child, LocalError, check_port_free
from tests.conftest import ROOT


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


@pytest.mark.parametrize("port", [0, -1, 65536, 99999])
def test_what_is_no_port_is_said_at_once(port: int) -> None:
    with pytest.raises(LocalError, match=rf"^PORT={port} is no port; choose one from 1 to 65535$"):
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


def running(group: int) -> list[str]:
    """The processes of a group that have not ended; some wait for an init that collects them."""
    listed = subprocess.check_output(["ps", "-A", "-o", "pgid=,stat=,args="], text=True)
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [row[-1] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


PARENT = """
import sys, time
from pathlib import Path
from infra.local.server import Child
child = Child("a child", [sys.executable, "-c", sys.argv[1]], {}, Path(sys.argv[2]))
print(child.pid, flush=True)
time.sleep(120)
"""
CHILD = """
import signal, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
def end(*_): print("saved", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(120)
"""


def test_children_end_in_order_when_their_parent_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    deadline = time.monotonic() + 30
    while not (log.exists() and "up" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.communicate()
    while running(group):
        assert time.monotonic() < deadline, f"process group {group} outlived its parent"
        time.sleep(0.05)
    assert log.read_text().split() == ["up", "saved"]


def test_a_killed_command_is_seen_by_its_code(tmp_path: Path) -> None:
    child = python("import os; os.kill(os.getpid(), 9)", tmp_path)
    with pytest.raises(LocalError, match=r"a child ended with code 137;"):
        child.wait_until_up("http://127.0.0.1:1/", 20)
    child.stop(1)


def test_a_log_is_kept_until_the_start_after_the_next_and_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        child = python(f"print('run {number}')", tmp_path)
        deadline = time.monotonic() + 20
        while child.code is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.stop(1)
    logs = tmp_path / "logs"
    assert "run 2" in child.log.read_text()
    assert "run 1" in (logs / "child.log.1").read_text()
    assert len(list(logs.iterdir())) == 2
    child.trim_log()
    assert child.said("run") == "run 2"
    monkeypatch.setattr("infra.local.server.LOG_BYTES", 3)
    child.trim_log()
    assert child.said("run") == ""
