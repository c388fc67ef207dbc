"""The first minutes of a newcomer: which Python, and an installation that is broken off."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone, in a folder with a space, whose requirements cannot be installed."""
    folder = tmp_path / "cloud ping"
    (folder / "infra" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", "infra/local/requirements.txt"):
        (folder / name).write_text("cloudping-nonexistent==1 --hash=sha256:" + 64 * "a" + "\n")
    return folder


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("python", ["/nonexistent", "/bin/false"])
def test_a_python_that_is_none_is_named(clone: Path, python: str) -> None:
    done = make(clone, f"PYTHON={python}", "run")
    assert done.returncode == 2
    assert (
        f"PYTHON={python} is no Python 3.11, 3.12 or 3.13; name one, or leave it out" in done.stderr
    )
    assert "apt install" not in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("mark", "folder"), [(".venv/bin/.installed", ".venv"),
                         (".local/aws-venv/.installed", ".local/aws-venv")],
)  # fmt: skip
def test_nothing_half_done_is_kept_of_an_installation(clone: Path, mark: str, folder: str) -> None:
    left = clone / folder / "bin" / "python"  # by one that was killed
    left.parent.mkdir(parents=True)
    left.write_text("")
    done = make(clone, mark)
    assert done.returncode == 2
    assert "nothing half done is kept: run make again" in done.stderr
    assert not (clone / folder).exists()


def test_a_whole_installation_outlives_a_renewal_that_fails(clone: Path) -> None:
    mark = clone / ".venv" / "bin" / ".installed"
    mark.parent.mkdir(parents=True)
    mark.write_text("")
    os.utime(mark, (0, 0))
    assert make(clone, ".venv/bin/.installed").returncode == 2
    assert mark.exists() and mark.stat().st_mtime == 0  # and the next make tries again
