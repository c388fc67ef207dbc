"""The three Chalice apps as artefacts: their configuration, their package, their deployment.

The committed `.chalice/config.json` of an app is what `config()` gives for its default
installation; `python -m infra package --write-config` renews it and a test holds the two together.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from cloudping.errors import CloudPingError, SettingError
from cloudping.regions import CATALOGUE
from cloudping.settings import (
    PROBE_FUNCTION_S,
    WATCH_SCHEDULE,
    Settings,
    load,
    minute_offset,
    schedule,
)

ROOT = Path(__file__).resolve().parent.parent

# Lambda's limits for a direct upload (AWS Lambda quotas).
MAX_ZIP_BYTES = 50 * 1024 * 1024
MAX_UNZIPPED_BYTES = 250 * 1024 * 1024


class PackageError(CloudPingError):
    """An app could not be packaged, or its package is not what Lambda needs."""


class DeployError(CloudPingError):
    """`chalice deploy` failed for a stage; carries the end of what it said."""


@dataclass(frozen=True, slots=True)
class App:
    """A Chalice app of this repository and what its function needs."""

    name: str
    function: str
    memory_mb: int
    timeout_s: int
    must_contain: tuple[str, ...] = ()  # packages that the zip may not lack

    @property
    def folder(self) -> Path:
        return ROOT / self.name


PROBES = App("probes", "probe", memory_mb=256, timeout_s=PROBE_FUNCTION_S)
AGGREGATOR = App(
    "aggregator", "aggregate", memory_mb=1024, timeout_s=300, must_contain=("numpy", "pandas")
)
WATCH = App("watch", "regions", memory_mb=256, timeout_s=60)
APPS = {app.name: app for app in (PROBES, AGGREGATOR, WATCH)}

# A failed write's run is in the log for so long: the time that there is for `infra recover`.
LOG_RETENTION_DAYS = 14
NOT_FOUND = frozenset({"ResourceNotFoundException", "NoSuchEntity"})  # Lambda, EventBridge, IAM
MAX_NAME = 64  # of a Lambda function, an EventBridge rule and an IAM role


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation of CloudPing in an account: a prefix, a home region, its settings.

    `home_credentials` names the secret with which probes of another partition write home;
    `more_regions` are regions that the account has and the catalogue does not know yet.
    """

    prefix: str = ""
    home_region: str = "us-east-2"
    environment: Mapping[str, str] = field(default_factory=dict)
    home_credentials: str = ""
    more_regions: tuple[str, ...] = ()

    def app_name(self, app: App) -> str:
        return f"{self.prefix}cloudping-{app.name}"

    # The names that Chalice gives; all that is ever deleted goes by them.
    def function_name(self, app: App, stage: str) -> str:
        return f"{self.app_name(app)}-{stage}-{app.function}"

    def rule_name(self, app: App, stage: str) -> str:
        return f"{self.function_name(app, stage)}-event"

    def role_name(self, app: App, stage: str) -> str:
        return self.function_name(app, stage)  # one a function, since the policy is a file

    def log_group(self, app: App, stage: str) -> str:
        return f"/aws/lambda/{self.function_name(app, stage)}"

    def stack_name(self, template: str) -> str:
        return f"{self.prefix}cloudping-{template}"

    @property
    def settings(self) -> Settings:
        """What its functions will read."""
        return load({**os.environ, **self.environment})

    def stages(self, app: App) -> list[str]:
        """A probe in every region known; the other apps at home."""
        return [*CATALOGUE, *self.more_regions] if app is PROBES else [self.home_region]

    def check_names(self) -> None:
        """Raises SettingError when a prefix makes a name too long for AWS."""
        names = [self.rule_name(app, stage) for app in APPS.values() for stage in self.stages(app)]
        longest = max(names, key=len)
        if (over := len(longest) - MAX_NAME) > 0:
            most = len(self.prefix) - over
            raise SettingError("CLOUDPING_PREFIX", self.prefix, f"at most {most} characters here")


def config(app: App, installation: Installation, stages: Iterable[str]) -> dict[str, Any]:
    """The `.chalice/config.json` of an app: a stage is named after its region."""
    own = {"CLOUDPING_HOME_REGION": installation.home_region, **installation.environment}
    if installation.prefix:
        own["CLOUDPING_PREFIX"] = installation.prefix
    if installation.home_credentials and app is PROBES:
        own["CLOUDPING_HOME_CREDENTIALS"] = installation.home_credentials
    return {
        "version": "2.0",
        "app_name": installation.app_name(app),
        "autogen_policy": False,
        "iam_policy_file": "policy.json",
        "lambda_memory_size": app.memory_mb,
        "lambda_timeout": app.timeout_s,
        "log_retention_in_days": LOG_RETENTION_DAYS,
        "environment_variables": own,
        "tags": {"Project": "cloudping", "Installation": installation.prefix or "default"},
        "stages": {stage: _stage(app, stage) for stage in stages},
    }


def _stage(app: App, stage: str) -> dict[str, Any]:
    # A probe's stage says which region it is for; packaging fails when AWS_DEFAULT_REGION differs.
    return {"environment_variables": {"PROBE_REGION": stage}} if app is PROBES else {}


def write_config(app: App, installation: Installation, folder: Path) -> None:
    text = json.dumps(config(app, installation, installation.stages(app)), indent=2)
    (folder / ".chalice" / "config.json").write_text(text + "\n")


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
    wanted = policy(app, installation)
    (destination / ".chalice" / "policy.json").write_text(json.dumps(wanted, indent=2) + "\n")


def policy(app: App, installation: Installation) -> dict[str, Any]:
    """What the app's role may do: the committed policy with the installation's names."""
    text = (app.folder / ".chalice" / "policy.json").read_text()
    for before in (":table/", "/aws/lambda/", ":sns:*:*:"):
        text = text.replace(before, f"{before}{installation.prefix}")
    found: dict[str, Any] = json.loads(text)
    if installation.home_credentials and app is PROBES:
        secret = f"arn:*:secretsmanager:*:*:secret:{installation.home_credentials}-??????"
        found["Statement"].append(
            {
                "Sid": "ReadHomeCredentials",
                "Effect": "Allow",
                "Action": "secretsmanager:GetSecretValue",
                "Resource": secret,
            }
        )
    return found


def build(app: App, installation: Installation, destination: Path) -> Path:
    """Packages the app once into `destination`; returns the zip, checked.

    Copies of `destination` deploy without packaging again: Chalice finds the zip by its hash.
    """
    copy_project(app, installation, destination)
    stage = installation.stages(app)[0]
    said = _chalice(destination, "package", stage, str(destination / "package"))
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


def deploy(app: App, project: Path, stage: str) -> None:
    """`chalice deploy` of one stage into the region of the same name; raises DeployError."""
    said = _chalice(project, "deploy", stage)
    if "Could not install dependencies" in said:
        raise DeployError(f"{app.name} {stage}: chalice left dependencies out of the zip")


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


def _chalice(project: Path, command: str, stage: str, *arguments: str) -> str:
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


def is_current(
    app: App, installation: Installation, stage: str, zip_file: Path, session: Any
) -> bool:
    """True when the stage runs this zip with this configuration, schedule, policy and log group.

    Lets a second deployment leave alone what has not changed. `session` is a boto3 session, best
    one for all stages: it keeps the service models that every client needs.
    """
    from botocore.exceptions import ClientError

    wanted = config(app, installation, [stage])
    environment = {
        **wanted["environment_variables"],
        **wanted["stages"][stage].get("environment_variables", {}),
    }
    name = installation.function_name(app, stage)
    role = installation.role_name(app, stage)

    def client(service: str) -> Any:
        return session.client(service, region_name=stage)

    try:
        deployed = client("lambda").get_function_configuration(FunctionName=name)
        rule_name = installation.rule_name(app, stage)
        rule = client("events").describe_rule(Name=rule_name)
        targets = client("events").list_targets_by_rule(Rule=rule_name)["Targets"]
        callers = client("lambda").get_policy(FunctionName=name)["Policy"]
        allowed = client("iam").get_role_policy(RoleName=role, PolicyName=role)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return False
        raise
    group = installation.log_group(app, stage)
    groups = client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    retention = {found["logGroupName"]: found.get("retentionInDays") for found in groups}
    return bool(
        deployed["CodeSha256"] == b64encode(sha256(zip_file.read_bytes()).digest()).decode()
        and deployed["MemorySize"] == app.memory_mb
        and deployed["Timeout"] == app.timeout_s
        and deployed.get("Environment", {}).get("Variables") == environment
        and rule["State"] == "ENABLED"
        and rule["ScheduleExpression"] == schedule_expression(app, installation, stage)
        and [target["Arn"] for target in targets] == [deployed["FunctionArn"]]
        and rule["Arn"] in callers
        and allowed["PolicyDocument"] == policy(app, installation)
        and retention.get(group) == LOG_RETENTION_DAYS
    )


def schedule_expression(app: App, installation: Installation, stage: str) -> str:
    """The EventBridge schedule that the app's handler declares for a stage."""
    settings = installation.settings
    if app is PROBES:
        fields_ = schedule(settings.probe_interval_minutes, minute_offset(stage))
    elif app is AGGREGATOR:
        fields_ = schedule(settings.aggregator_interval_minutes, settings.aggregator_grace_minutes)
    else:
        fields_ = schedule(*WATCH_SCHEDULE)
    return f"cron({' '.join(fields_.values())})"


def scheduled_event(region: str, moment: datetime, detail: Mapping[str, Any]) -> dict[str, Any]:
    """What EventBridge sends for a schedule, for invoking a function by hand."""
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": [],
        "detail": dict(detail),
    }
