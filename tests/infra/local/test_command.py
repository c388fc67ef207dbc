"""`python -m infra local`: choosing regions, one at a time, errors in one line."""

import os
import socket
from pathlib import Path

import pytest

from cloudping.errors import UnknownRegionError
from cloudping.regions import CATALOGUE
from infra.__main__ import main
from infra.local.command import chosen_regions, only_one
from infra.local.server import LocalError


def test_all_is_every_commercial_source_and_every_target() -> None:
    sources, targets = chosen_regions("all")
    assert len(sources) == 34
    assert {place.partition for place in sources} == {"aws"}
    assert targets == list(CATALOGUE.values())


def test_a_list_is_both_ends() -> None:
    sources, targets = chosen_regions("eu-west-1, cn-north-1")
    assert [place.code for place in sources] == ["eu-west-1", "cn-north-1"]
    assert targets == sources


def test_wrong_regions() -> None:
    with pytest.raises(UnknownRegionError, match="'eu-wst-1'; did you mean"):
        chosen_regions("us-east-1,eu-wst-1")
    with pytest.raises(LocalError, match="REGIONS=',' names no region"):
        chosen_regions(",")


def test_two_stacks_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        only_one(tmp_path),
        pytest.raises(LocalError, match=rf"another `make run` \(pid {os.getpid()}\) uses"),
        only_one(tmp_path),
    ):
        pytest.fail("the second got in")
    with only_one(tmp_path):
        assert (tmp_path / "lock").exists()


def test_a_busy_port_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        code = main(["local", "--folder", str(tmp_path), "--port", str(port)])
    assert code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is not free" in said
