"""Chalice as it is called: a stage is its region, and what is deployed is what was packaged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.aws import chalice, packages
from infra.aws.chalice import DeployError
from infra.aws.installation import PROBES, Installation

DEFAULT = Installation()


def test_a_copy_deploys_the_zip_as_it_is_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chalice would make a package of its own under another name, with other bytes."""
    copy = tmp_path / "copy"
    packages.copy_project(PROBES, DEFAULT, copy)
    chalice.package_of(copy).parent.mkdir()
    chalice.package_of(copy).write_bytes(b"ours")
    said = ["Reusing existing deployment package.\n", "Creating deployment package.\n"]
    monkeypatch.setattr(chalice, "call", lambda *_: said.pop(0))
    chalice.deploy(PROBES, copy, "eu-west-1")
    (offered,) = (copy / ".chalice" / "deployments").iterdir()
    assert offered.read_bytes() == b"ours"
    with pytest.raises(DeployError, match="a package of its own"):
        chalice.deploy(PROBES, copy, "eu-west-1")


def test_a_stage_of_another_region_cannot_be_packaged(tmp_path: Path) -> None:
    packages.copy_project(PROBES, DEFAULT, tmp_path / "probes")
    done = subprocess.run(
        [Path(sys.executable).with_name("chalice"), "package", "--stage", "eu-west-1", "out"],
        cwd=tmp_path / "probes",
        env={**os.environ, "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "eu-west-1" in done.stderr
    assert "us-east-1" in done.stderr
    assert "Traceback" not in done.stderr
