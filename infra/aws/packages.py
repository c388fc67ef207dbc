"""Packages: the zip of each app, made by Chalice from a copy, and checked."""

import json
import shutil
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

from infra import ROOT
from infra.aws import chalice
from infra.aws.chalice import PackageError
from infra.aws.installation import App, Installation, config, policy, policy_file

# Lambda's limits for a direct upload (AWS Lambda quotas).
MAX_ZIP_BYTES = 50 * 1024 * 1024
MAX_UNZIPPED_BYTES = 250 * 1024 * 1024


def write_config(app: App, installation: Installation, folder: Path) -> None:
    """Chalice's configuration, and the policies of the stages that have their own."""
    place = folder / ".chalice"
    text = json.dumps(config(app, installation, installation.stages(app)), indent=2)
    (place / "config.json").write_text(text + "\n")
    for stage in installation.stages(app):
        file = place / policy_file(app, stage)
        if file.parent != place or folder != app.folder:  # what is committed there is the source
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(policy(app, installation, stage), indent=2) + "\n")


def copy_project(app: App, installation: Installation, destination: Path) -> None:
    """A copy of the app that `chalice` can work in: links resolved, no caches, own settings.

    Chalice hashes `__pycache__` into the package and reuses old packages after a rename, so
    neither comes along.
    """
    if destination.exists():
        shutil.rmtree(destination)
    shutil.copytree(
        app.folder,
        destination,
        ignore=shutil.ignore_patterns("__pycache__", "deployments", "deployed"),
    )
    write_config(app, installation, destination)


def build(app: App, installation: Installation, destination: Path) -> Path:
    """Packages the app once into `destination`; returns the zip, checked.

    Copies of `destination` deploy without packaging again: Chalice finds the zip by its hash.
    """
    copy_project(app, installation, destination)
    stage = installation.stages(app)[0]
    said = chalice.call(destination, "package", stage, str(destination / "package"))
    if "Could not install dependencies" in said:
        raise PackageError(f"{app.name}: chalice left dependencies out of the zip:\n{said}")
    zip_file = destination / "package" / "deployment.zip"
    check_zip(app, zip_file)
    return zip_file


def build_if_changed(app: App, installation: Installation, destination: Path) -> Path:
    """`build`, unless `destination` holds the package of just these sources and settings."""
    mark = destination.with_name(f"{destination.name}.fingerprint")
    zip_file = destination / "package" / "deployment.zip"
    fingerprint = _fingerprint(app, installation)
    if mark.exists() and mark.read_text() == fingerprint and zip_file.exists():
        return zip_file
    mark.unlink(missing_ok=True)
    build(app, installation, destination)
    mark.write_text(fingerprint)
    return zip_file


def _fingerprint(app: App, installation: Installation) -> str:
    """A digest of all that the package is made from, names and the interpreter included."""
    digest = sha256(f"{sys.version_info[:2]} {installation}".encode())
    for folder in (app.folder, ROOT / "cloudping"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not {"__pycache__", "vendor"} & set(path.parts):
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    digest.update(repr(config(app, installation, installation.stages(app))).encode())
    return digest.hexdigest()


def check_zip(app: App, zip_file: Path) -> None:
    """Raises PackageError unless the zip fits Lambda and holds what the app needs."""
    size = zip_file.stat().st_size
    with zipfile.ZipFile(zip_file) as content:
        names = set(content.namelist())
        unzipped = sum(entry.file_size for entry in content.infolist())
    if size > MAX_ZIP_BYTES or unzipped > MAX_UNZIPPED_BYTES:
        raise PackageError(
            f"{app.name}: {size} bytes zipped, {unzipped} unzipped; "
            f"Lambda takes {MAX_ZIP_BYTES} and {MAX_UNZIPPED_BYTES}"
        )
    needed = ["app.py", "cloudping/__init__.py"]
    needed += [f"{package}/__init__.py" for package in app.must_contain]
    if missing := [name for name in needed if name not in names]:
        raise PackageError(f"{app.name}: the zip lacks {', '.join(missing)}")
