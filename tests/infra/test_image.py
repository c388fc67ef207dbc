"""The front end's image: builds, runs as nobody on a read-only file system, serves the matrix."""

import json
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from stat import S_ISGID, S_ISUID
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.summaries import Figures, Summary, SummaryTable
from cloudping.times import utc_now
from infra import TEMPLATES
from infra.aws import stacks
from tests.conftest import ROOT
from tests.infra import ministack

pytestmark = pytest.mark.slow
MISSING = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Stands in for python:3.13-slim where no registry is reachable: the same Python, from Debian.
BASE = f"""FROM scratch
ADD base.tar /
RUN /usr/bin/python3 -m venv /usr/local
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PIP_CERT={CERTIFICATES}
"""


class Buildah:
    """buildah with a storage of its own, so that nothing of the machine's is touched."""

    def __init__(self, folder: Path) -> None:
        self.options = [
            "--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--storage-driver", "vfs",
        ]  # fmt: skip

    def __call__(self, command: str, *words: str) -> str:
        done = subprocess.run(
            ["buildah", *self.options, command, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()

    def build(self, file: Path, name: str, context: Path, *words: str) -> None:
        self(
            "build", "--isolation", "chroot", "--format", "docker", "--network", "host",
            "-f", str(file), "-t", name, *words, str(context),
        )  # fmt: skip


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """With the image `site` and, under it, a base made by debootstrap."""
    if MISSING:
        pytest.skip(f"{' and '.join(MISSING)} missing; .ci/run installs them")
    folder = tmp_path_factory.mktemp("image")
    tool = Buildah(folder)
    context = folder / "base"
    rootfs = folder / "rootfs"
    context.mkdir()
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3,python3-venv", "trixie", rootfs],
        check=True,
        capture_output=True,
    )
    # The machine's own certificates, so that pip reaches PyPI as this machine does.
    (rootfs / CERTIFICATES.relative_to("/")).write_bytes(CERTIFICATES.read_bytes())
    with tarfile.open(context / "base.tar", "w") as archive:
        archive.add(rootfs, ".", filter=lambda entry: None if entry.isdev() else entry)
    (context / "Dockerfile").write_text(BASE)
    tool.build(context / "Dockerfile", "localhost/base", context)
    file = ROOT / "Dockerfile.frontend"
    tool.build(file, "localhost/site", ROOT, "--build-arg", "PYTHON=localhost/base")
    yield tool
    shutil.rmtree(folder)


def configuration(buildah: Buildah) -> dict[str, Any]:
    inspected = json.loads(buildah("inspect", "--type", "image", "localhost/site"))
    found: dict[str, Any] = inspected["Docker"]["config"]
    return found


def test_the_image_runs_as_nobody_and_says_how_it_is(buildah: Buildah) -> None:
    config = configuration(buildah)
    assert config["User"] == "10001"
    assert config["Cmd"][0] == "gunicorn"
    assert "/healthz" in " ".join(config["Healthcheck"]["Test"])


def test_no_program_gives_rights_to_whoever_runs_it(buildah: Buildah) -> None:
    """In Fargate, where "no new privileges" cannot be said."""
    root = Path(buildah("mount", buildah("from", "localhost/site")))
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 1000
    assert [path for path in files if path.stat().st_mode & (S_ISUID | S_ISGID)] == []


def test_it_serves_the_matrix_from_a_read_only_file_system(
    buildah: Buildah, tmp_path: Path
) -> None:
    config = configuration(buildah)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    container = buildah("from", "localhost/site")
    root = buildah("mount", container)
    with ministack.local_aws(tmp_path) as aws:
        fill(aws)
        environment = [
            *config["Env"],
            *(f"{name}={value}" for name, value in aws.items() if name.startswith("AWS_")),
            "HOST=127.0.0.1",
            f"PORT={port}",
        ]
        # As a container has it: the image read-only, /proc, and a /dev with shared memory.
        script = f"""set -e
            mount --make-rprivate /
            mount --bind {root} {root}
            mount -t proc proc {root}/proc
            mount -t tmpfs tmpfs {root}/dev
            cd {root}/dev && mkdir -m 1777 shm
            mknod -m 666 {root}/dev/null c 1 3
            mknod -m 444 {root}/dev/urandom c 1 9
            mount -o remount,bind,ro {root}
            cd {root}
            exec chroot --userspec={config["User"]}:{config["User"]} {root} \\
                /bin/sh -c 'cd {config["WorkingDir"]}; exec env -i "$@"' sh "$@"
        """
        log = tmp_path / "site.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", *environment, *config["Cmd"]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            page = fetch(f"http://127.0.0.1:{port}/readyz", process, log)
            assert json.loads(page)["status"] == "ready"
            page = fetch(f"http://127.0.0.1:{port}/", process, log)
            assert "us-east-1" in page
            assert "76.5" in page
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert "Uid:\t10001\t10001\t10001\t10001" in status
            mounts = Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
            options = [line.split()[5] for line in mounts if line.split()[4] == "/"]
            assert options[-1].split(",")[0] == "ro"
            with pytest.raises(OSError, match="Read-only file system"):
                Path(f"/proc/{process.pid}/root/app/written").write_text("")
        finally:
            process.terminate()
            process.wait(20)
    buildah("umount", container)
    buildah("rm", container)


def fill(aws: dict[str, str]) -> None:
    """Two sources and a figure between them."""
    stacks.apply(
        ministack.client(aws, "cloudformation"),
        "cloudping-tables",
        TEMPLATES / "tables.yaml",
        {"Prefix": "", "DeletionProtection": "false"},
    )
    client = ministack.client(aws, "dynamodb")
    for code in ("us-east-1", "eu-west-1"):
        RegionTable(client).put(RegionState(CATALOGUE[code], True, True, 300))
    now = utc_now()
    figures = Figures(
        samples=1440, mean=76.6, percentiles={50: 76.5}, loss_pct=0.0, coverage_pct=100.0,
        first_sample=now - timedelta(days=1), last_sample=now,
    )  # fmt: skip
    SummaryTable(client).write(
        Summary("1D", source, target, figures, now - timedelta(days=1), now, now, "aws")
        for source, target in (("us-east-1", "eu-west-1"), ("eu-west-1", "us-east-1"))
    )


def fetch(url: str, process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + 40
    while True:
        assert process.poll() is None, log.read_text()
        try:
            with urlopen(url, timeout=5) as answer:  # noqa: S310 - a URL of this machine
                content: bytes = answer.read()
                return content.decode()
        except (URLError, TimeoutError) as error:
            assert time.monotonic() < deadline, f"{error}\n{log.read_text()}"
            time.sleep(0.3)
