"""The `chalice` command: packages and deploys, each stage into the region of its name."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

from cloudping.errors import CloudPingError
from infra.aws.installation import App


class PackageError(CloudPingError):
    """An app could not be packaged, or its package is not what Lambda needs."""


class DeployError(CloudPingError):
    """`chalice deploy` failed for a stage; carries the end of what it said."""


def package_of(project: Path) -> Path:
    """Where a project that was packaged has its zip."""
    return project / "package" / "package.zip"


def deploy(app: App, project: Path, stage: str) -> None:
    """`chalice deploy` of one stage into the region of the same name; raises DeployError.

    Chalice takes a package that is there under the name that it would give it. The name follows
    from the order in which the file system lists a project's files, so that each copy has its own.
    """
    from chalice.deploy.packager import DependencyBuilder, LambdaDeploymentPackager
    from chalice.utils import UI, OSUtils

    packager = LambdaDeploymentPackager(OSUtils(), DependencyBuilder(OSUtils()), UI())
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    offered = Path(packager.deployment_package_filename(str(project), python))
    offered.parent.mkdir(exist_ok=True)
    if not offered.exists():
        os.link(package_of(project), offered)
    said = call(project, "deploy", stage)
    if "Reusing existing deployment package" not in said:
        raise DeployError(f"{app.name} {stage}: chalice made a package of its own: {said}")


def deploy_all(
    app: App, project: Path, stages: Sequence[str], parallel: int
) -> Iterator[tuple[str, DeployError | None]]:
    """Deploys many stages from one built project; yields each stage with its error, as they end.

    Chalice keeps one working state a project folder, so each of the parallel workers has a copy
    of the built project, its package included.
    """
    copies: Queue[Path] = Queue()
    with TemporaryDirectory(prefix="cloudping-deploy-") as folder:
        for number in range(min(parallel, len(stages))):
            copy = Path(folder) / str(number)
            shutil.copytree(project, copy)
            copies.put(copy)

        def one(stage: str) -> DeployError | None:
            copy = copies.get()
            try:
                deploy(app, copy, stage)
            except DeployError as error:
                return error
            finally:
                copies.put(copy)
            return None

        with ThreadPoolExecutor(max_workers=parallel) as pool:
            try:
                futures = {pool.submit(one, stage): stage for stage in stages}
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(cancel_futures=True)


def call(project: Path, command: str, stage: str, *arguments: str) -> str:
    """Runs Chalice in a project; returns what it said, raises PackageError or DeployError."""
    environment = {
        **os.environ,
        "AWS_DEFAULT_REGION": stage,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("AWS_REGION", None)  # set, it would win over the stage's region
    done = subprocess.run(
        [Path(sys.executable).with_name("chalice"), command, "--stage", stage, *arguments],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode != 0:
        error = PackageError if command == "package" else DeployError
        last = [line for line in said.splitlines() if line.strip()][-3:]
        raise error(f"chalice {command} --stage {stage} failed: {' / '.join(last)}")
    return said
