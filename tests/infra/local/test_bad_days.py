"""What happens to a laptop: terminals crash, disks fill up, processes are killed, files cut off.

The tables stand for the data; nothing is deployed.
"""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cloudping.regions import CATALOGUE, RegionTable
from infra.__main__ import main
from infra.local import state
from infra.local.command import Stack, only_one
from infra.local.server import LocalError
from tests.conftest import ROOT
from tests.infra.local.test_server import running as processes

SOURCE = CATALOGUE["us-east-1"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack points its whole process at its local AWS; afterwards it is as before."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(folder: Path, lock: int | None = None) -> Iterator[Stack]:
    """The local AWS of a stack, with its tables."""
    stack = Stack(folder, 1, free_port(), [SOURCE], [SOURCE], Event(), False, lock=lock)
    with ExitStack() as ending:
        stack._start_aws(ending)
        yield stack


def regions(stack: Stack) -> RegionTable:
    return RegionTable(stack._client("dynamodb"))


def mark(stack: Stack) -> None:
    """Something that only these data have."""
    regions(stack).note_opt_in(SOURCE.code, "marked")


def is_marked(stack: Stack) -> bool:
    return any(s.opt_in_status == "marked" for s in regions(stack).all() if s.region == SOURCE)


def ministack(stack: Stack) -> int:
    """The process behind the guard."""
    found = subprocess.check_output(["pgrep", "-P", str(stack._aws.pid)], text=True)
    return int(found)


def until(what: Any, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with the data of a run that was stopped well."""
    with running(tmp_path) as stack:
        mark(stack)
    return tmp_path


def test_data_survive_a_stop(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(kept):
        assert "tables unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [None, "[1]", '{"a": 1}', '{"__ministack_format__": 99, "payload": {}}']
)
def test_broken_and_foreign_files_are_set_aside_with_a_word(
    kept: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = kept / state.TABLES
    if content is None:
        content = tables.read_text()[:5000]
    tables.write_text(content)
    with running(kept):
        pass
    said = capsys.readouterr().out
    assert "the data of an earlier run cannot be read; they are in" in said
    assert "this run starts anew" in said
    (aside,) = kept.glob("state-broken-*")
    assert (aside / "dynamodb.json").read_text() == content
    with running(kept):  # and the next start has nothing to complain of
        assert "tables unchanged" in capsys.readouterr().out
    assert list(kept.glob("state-broken-*")) == [aside]


def test_data_are_saved_now_and_then(kept: Path) -> None:
    with (
        pytest.raises(LocalError, match="MiniStack had ended with code 137"),
        running(kept) as stack,
    ):
        assert not is_marked(stack)  # each start writes the regions anew
        mark(stack)
        stack._save()
        until(lambda: (state.saved_at(kept) or stack._saving) > stack._saving)
        os.kill(ministack(stack), signal.SIGKILL)
        until(lambda: stack._aws.code is not None)
    text = (kept / state.TABLES).read_text()
    assert "marked" in text


def test_killed_while_it_runs_or_saves_it_says_what_is_kept(kept: Path) -> None:
    saved = state.saved_at(kept)
    assert saved is not None
    kept_word = f"those of {saved:%d %B %H:%M} UTC are kept"
    said = f"could not be saved, {kept_word}: MiniStack had ended"
    with pytest.raises(LocalError, match=said), running(kept) as stack:
        os.kill(ministack(stack), signal.SIGKILL)
        until(lambda: stack._aws.code is not None)
    (kept / "state" / "dynamodb.json.tmp").write_text("half")
    with running(kept):
        assert not list((kept / "state").glob("*.tmp"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_full_disk_at_the_end_is_no_clean_stop(kept: Path) -> None:
    said = r"could not be saved, .* are kept: .*File too large"
    with pytest.raises(LocalError, match=said), running(kept) as stack:
        resource.prlimit(ministack(stack), resource.RLIMIT_FSIZE, (2000, 2000))
    with running(kept):
        pass


STACK = """
import sys, time
from pathlib import Path
from tests.infra.local.test_bad_days import mark, only_one, running
folder = Path(sys.argv[1])
with only_one(folder) as lock, running(folder, lock) as stack:
    mark(stack)
    print(stack._aws.pid, stack.aws_port, flush=True)
    time.sleep(120)
"""


def test_after_a_kill_of_make_run_the_next_start_waits_until_all_is_saved(tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", STACK, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    said = ""
    while not (said and said.split(maxsplit=1)[0].isdigit()):
        said = killed.stdout.readline()
    group, port = map(int, said.split())
    with pytest.raises(LocalError, match=rf"another `make run` \(pid {killed.pid}\) uses"):
        only_one(tmp_path).__enter__()
    killed.kill()
    killed.communicate()
    with only_one(tmp_path):
        until(lambda: not processes(group))  # the guard, MiniStack and its workers
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        assert "marked" in (tmp_path / state.TABLES).read_text()


def test_what_holds_the_folder_for_ever_is_said(tmp_path: Path) -> None:
    with only_one(tmp_path):
        (tmp_path / "lock").write_text("99999999")  # of a process that is gone
        with pytest.raises(LocalError, match="still held by what an earlier run left"):
            only_one(tmp_path, wait_s=0.3).__enter__()


@pytest.mark.parametrize("port", ["0", "99999"])
@pytest.mark.parametrize("option", ["--port", "--aws-port"])
def test_what_is_no_port_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, port: str
) -> None:
    assert main(["local", "--folder", str(tmp_path), option, port]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"PORT={port} is no port; choose one from 1 to 65535" in said


def test_one_port_for_both_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())
    assert main(["local", "--folder", str(tmp_path), "--port", port, "--aws-port", port]) == 1
    assert f"PORT and AWS_PORT are both {port}; choose two" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["", "state", "logs"])
def test_a_file_in_place_of_a_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    folder = tmp_path / "data"
    if where:
        folder.mkdir()
    (folder / where).write_text("")
    words = ["--port", str(free_port()), "--aws-port", str(free_port())]
    assert main(["local", "--folder", str(folder), *words]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "has to be a folder that can be written" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main(["local", "--folder", str(tmp_path)]) == 1
    assert "has to be a folder that can be written" in capsys.readouterr().err
