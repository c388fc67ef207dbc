"""The three apps as packages: the zip on its own, checked, and the same anywhere."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from infra.aws import chalice, installation, packages
from infra.aws.chalice import PackageError
from infra.aws.installation import AGGREGATOR, APPS, PROBES, App, Installation
from tests.conftest import ROOT

DEFAULT = Installation()


def test_prefixes_keep_two_installations_apart(tmp_path: Path) -> None:
    other = Installation(prefix="blue-")
    assert other.function_name(PROBES, "eu-west-1") == "blue-cloudping-probes-eu-west-1-probe"
    packages.copy_project(PROBES, other, tmp_path / "copy")
    policy = (tmp_path / "copy" / ".chalice" / "policies" / "eu-west-1.json").read_text()
    assert "table/blue-PingTest" in policy
    assert "table/PingTest" not in policy
    config = json.loads((tmp_path / "copy" / ".chalice" / "config.json").read_text())
    assert config["app_name"] == "blue-cloudping-probes"
    assert config["environment_variables"]["CLOUDPING_PREFIX"] == "blue-"


def test_a_copy_has_the_shared_package_and_no_caches(tmp_path: Path) -> None:
    packages.copy_project(PROBES, DEFAULT, tmp_path / "copy")
    vendored = tmp_path / "copy" / "vendor" / "cloudping"
    assert not vendored.is_symlink()
    assert (vendored / "runs.py").is_file()
    assert not list((tmp_path / "copy").rglob("__pycache__"))


@pytest.fixture(scope="module", params=list(APPS))
def packaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(app, zip) of each app, packaged by chalice as a deployment does it."""
    app = APPS[request.param]
    # Module-scoped, so it comes before the function-scoped fixture that sets the credentials.
    zip_file = packages.build(app, DEFAULT, tmp_path_factory.mktemp("build") / app.name)
    return app, zip_file


def test_the_zip_alone_can_be_imported(packaged: tuple[App, Path], tmp_path: Path) -> None:
    """No path but the zip's own: another app's module or a missing package shows here.

    boto3 is not in it: Lambda's runtime has it, and nothing needs it to import.
    """
    app, zip_file = packaged
    with zipfile.ZipFile(zip_file) as content:
        content.extractall(tmp_path)
    # -S and -I keep site-packages and the environment out.
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import app; print(app.app.app_name)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env={"AWS_DEFAULT_REGION": "us-east-2", "AWS_REGION": "us-east-2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"cloudping-{app.name}"


def test_the_packaged_role_has_the_rights_of_the_policy_and_no_more(
    packaged: tuple[App, Path],
) -> None:
    app, zip_file = packaged
    resources = json.loads((zip_file.parent / "sam.json").read_text())["Resources"].values()
    (role,) = [r["Properties"] for r in resources if r["Type"] == "AWS::IAM::Role"]
    (policy,) = role["Policies"]
    assert policy["PolicyDocument"] == {
        "Version": "2012-10-17",
        "Statement": installation.policy(app, DEFAULT, DEFAULT.stages(app)[0])["Statement"],
    }
    assert "ManagedPolicyArns" not in role


def test_the_zip_has_no_tests_caches_or_local_parts(packaged: tuple[App, Path]) -> None:
    _, zip_file = packaged
    with zipfile.ZipFile(zip_file) as content:
        own = [n for n in content.namelist() if n.startswith(("chalicelib/", "cloudping/", "app"))]
    assert "cloudping/runs.py" in own
    assert not [name for name in own if "__pycache__" in name or "test" in name]


def test_a_zip_says_nothing_of_the_machine_that_made_it(tmp_path: Path) -> None:
    """Modes, times, order and the maker's system differ; the content is the same."""
    files = {"app.py": "a", "cloudping/__init__.py": "", "chalicelib/run.py": "r" * 5000}
    made = []
    for number, (names, mode, year) in enumerate(
        [(sorted(files), 0o100600, 2001), (sorted(files, reverse=True), 0o100777, 2026)]
    ):
        with zipfile.ZipFile(tmp_path / f"{number}.made", "w", zipfile.ZIP_DEFLATED) as content:
            for name in names:
                entry = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
                entry.external_attr = mode << 16
                content.writestr(entry, files[name])
        packages.normalise(tmp_path / f"{number}.made", tmp_path / f"{number}.zip")
        made.append((tmp_path / f"{number}.zip").read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "0.zip") as content:
        assert {name: content.read(name).decode() for name in content.namelist()} == files
        assert {entry.external_attr >> 16 for entry in content.infolist()} == {0o100644}


def test_the_tests_of_libraries_stay_out_and_no_others(packaged: tuple[App, Path]) -> None:
    app, zip_file = packaged
    with zipfile.ZipFile(zip_file) as content:
        names = content.namelist()
    assert not [name for name in names if "/tests/" in name]
    if app is AGGREGATOR:
        assert "numpy/testing/__init__.py" in names
        # Nothing in it uses pandas: see docs/architecture.md.
        assert not [name for name in names if name.startswith("pandas/")]


BUILD = """
import sys
from pathlib import Path
from infra.aws import packages
from infra.aws.installation import PROBES, Installation
print(packages.build(PROBES, Installation(), Path(sys.argv[1])))
"""


def test_another_checkout_makes_the_same_zip(tmp_path: Path) -> None:
    """Other umask, other folder (below one called vendor), other file system, other order."""
    memory = Path("/dev/shm")  # noqa: S108 - another file system, where there is one
    where = memory if os.access(memory, os.W_OK) else tmp_path
    built = []
    with TemporaryDirectory(dir=where, ignore_cleanup_errors=True) as folder:
        other = Path(folder) / "vendor" / "checkout"
        paths = [p for part in ("cloudping", "infra", "probes") for p in (ROOT / part).rglob("*")]
        for path in sorted(paths, reverse=True):
            if path.is_file() and "__pycache__" not in path.parts:
                target = other / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        link = other / "probes" / "vendor" / "cloudping"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to("../../cloudping")
        for root, umask in ((ROOT, 0o022), (other, 0o077)):
            out = Path(folder) / f"out-{umask}"
            done = subprocess.run(
                [sys.executable, "-c", BUILD, out],
                cwd=root,
                umask=umask,
                env={**os.environ, "PYTHONPATH": str(root)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            built.append(Path(done.stdout.strip()).read_bytes())
    assert built[0] == built[1]


def test_a_fingerprint_sees_every_source_below_whatever_folder(tmp_path: Path) -> None:
    root = tmp_path / "vendor" / "checkout"
    (root / "cloudping").mkdir(parents=True)
    (root / PROBES.name / "vendor").mkdir(parents=True)
    before = packages.fingerprint(PROBES, DEFAULT, root)
    seen = {before}
    for name in ("cloudping/a.py", "probes/app.py"):
        (root / name).write_text("changed")
        seen.add(packages.fingerprint(PROBES, DEFAULT, root))
    assert len(seen) == 3
    (root / PROBES.name / "vendor" / "x.py").write_text("the link's content counts elsewhere")
    assert packages.fingerprint(PROBES, DEFAULT, root) in seen


def test_the_probes_zip_is_small(packaged: tuple[App, Path]) -> None:
    app, zip_file = packaged
    limit = 1_000_000 if app is PROBES else packages.MAX_ZIP_BYTES  # stored, not compressed
    assert zip_file.stat().st_size < limit


@pytest.mark.parametrize("lacks", ["numpy/__init__.py", "cloudping/__init__.py"])
def test_a_zip_that_lacks_something_is_refused(tmp_path: Path, lacks: str) -> None:
    names = {"app.py", "cloudping/__init__.py", "numpy/__init__.py"}
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as content:
        for name in names - {lacks}:
            content.writestr(name, "")
    with pytest.raises(PackageError, match=f"lacks {lacks}"):
        packages.check_zip(AGGREGATOR, tmp_path / "bad.zip")


def test_a_zip_too_large_for_lambda_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "MAX_UNZIPPED_BYTES", 10)
    with zipfile.ZipFile(tmp_path / "big.zip", "w") as content:
        content.writestr("app.py", "x" * 11)
    with pytest.raises(PackageError, match="11 unzipped; Lambda takes"):
        packages.check_zip(PROBES, tmp_path / "big.zip")


def test_what_chalice_leaves_out_with_exit_0_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chalice prints that line, exits 0, and the zip lacks the package."""
    project = tmp_path / "app"
    shutil.copytree(PROBES.folder, project)
    (project / "requirements.txt").write_text("no-wheel-for-lambda==1.0\n")
    monkeypatch.setattr(
        chalice, "call", lambda *_: "Could not install dependencies:\nno-wheel-for-lambda"
    )
    with pytest.raises(PackageError, match="left dependencies out"):
        packages.build(PROBES, DEFAULT, tmp_path / "copy")
