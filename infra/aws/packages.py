"""Packages: the zip of each app, made by Chalice from a copy, and checked."""

import json
import shutil
import sys
import zipfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from infra import ROOT
from infra.aws import chalice
from infra.aws.chalice import PackageError
from infra.aws.installation import App, Installation, config, policy, policy_file

# Lambda's limits for a direct upload (AWS Lambda quotas).
MAX_ZIP_BYTES = 50 * 1024 * 1024
MAX_UNZIPPED_BYTES = 250 * 1024 * 1024
STORED_BYTES = 5 * 1024 * 1024  # below, a package is not compressed

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can say
_UNIX, _MODE = 3, 0o100644  # whoever runs a function may read its files
_TESTED = "numpy"


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
    """Packages the app once into `destination`; returns the zip, the same for the same sources.

    Copies of `destination` deploy it as it is: `chalice.deploy` lets Chalice find it.
    """
    copy_project(app, installation, destination)
    stage = installation.stages(app)[0]
    package = destination / "package"
    said = chalice.call(destination, "package", stage, str(package))
    if "Could not install dependencies" in said:
        raise PackageError(f"{app.name}: chalice left dependencies out of the zip:\n{said}")
    shutil.rmtree(
        destination / ".chalice" / "deployments"
    )  # Chalice's own, which is never deployed
    made, zip_file = package / "deployment.zip", chalice.package_of(destination)
    normalise(made, zip_file)
    made.unlink()
    check_zip(app, zip_file)
    return zip_file


def normalise(made: Path, zip_file: Path) -> None:
    """Writes a zip anew so that its bytes follow from the content of its files alone.

    Chalice takes over the files' modes (what a umask of 077 leaves cannot be imported in Lambda),
    their times, and the order in which the file system lists them. The tests of numpy, a fifth of
    its size, stay out. A small package is stored: what deflate makes of it differs with
    the implementation of zlib, and each difference deploys every region anew.
    """
    with zipfile.ZipFile(made) as content:
        entries = [e for e in content.infolist() if not e.is_dir() and _is_needed(e.filename)]
        is_small = sum(entry.file_size for entry in entries) < STORED_BYTES
        method = zipfile.ZIP_STORED if is_small else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(zip_file, "w") as normal:
            for entry in sorted(entries, key=lambda entry: entry.filename):
                same = zipfile.ZipInfo(entry.filename, _EPOCH)
                same.create_system, same.external_attr = _UNIX, _MODE << 16
                same.compress_type = method
                normal.writestr(same, content.read(entry))


def _is_needed(name: str) -> bool:
    folders = name.split("/")
    return not (folders[0] == _TESTED and "tests" in folders)


def build_if_changed(app: App, installation: Installation, destination: Path) -> Path:
    """`build`, unless `destination` holds the package of just these sources and settings."""
    mark = destination.with_name(f"{destination.name}.fingerprint")
    zip_file = chalice.package_of(destination)
    wanted = fingerprint(app, installation)
    if mark.exists() and mark.read_text() == wanted and zip_file.exists():
        return zip_file
    mark.unlink(missing_ok=True)
    build(app, installation, destination)
    mark.write_text(wanted)
    return zip_file


def fingerprint(app: App, installation: Installation, root: Path = ROOT) -> str:
    """A digest of all that the package is made from, names and the interpreter included.

    `root` is the checkout, wherever it is.
    """
    digest = sha256(f"{sys.version_info[:2]} {version('chalice')} {installation}".encode())
    digest.update(Path(__file__).read_bytes())
    for folder in (root / app.name, root / "cloudping"):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not {"__pycache__", "vendor"} & set(name.parts):
                digest.update(f"{name}\0".encode() + path.read_bytes())
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
