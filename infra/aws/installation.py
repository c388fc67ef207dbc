"""An installation: its three apps, the names that it gives, what each function is to have.

The committed `.chalice/config.json` of an app is what `config()` gives for its default
installation; `python -m infra package --write-config` renews it and a test holds the two together.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloudping.errors import SettingError
from cloudping.regions import CATALOGUE
from cloudping.settings import (
    PROBE_FUNCTION_S,
    TABLE,
    WATCH_SCHEDULE,
    Settings,
    load,
    minute_offset,
    schedule,
)
from infra import ROOT


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
AGGREGATOR = App("aggregator", "aggregate", memory_mb=1024, timeout_s=300, must_contain=("numpy",))
WATCH = App("watch", "regions", memory_mb=256, timeout_s=60)
APPS = {app.name: app for app in (PROBES, AGGREGATOR, WATCH)}

# A failed write's run is in the log for so long: the time that there is for `infra recover`.
LOG_RETENTION_DAYS = 14
# Settings that an installation keeps (settings.py), and their defaults; not those that a stage or
# the site's own stack decides.
_OWN: Final = frozenset({"PROBE_REGION", "FRONTEND_PROXIES"})
KEPT: Final = {
    setting.env: setting.default
    for setting in TABLE
    if setting.env.startswith(("PROBE_", "AGGREGATOR_", "FRONTEND_", "CLOUDPING_EXCLUDE"))
    and setting.env not in _OWN
}
MAX_NAME = 64  # of a Lambda function, an EventBridge rule and an IAM role


def said(environ: Mapping[str, str]) -> dict[str, str]:
    """What an environment says of the settings that are kept; nothing is not said."""
    return {name: environ[name].strip() for name in KEPT if environ.get(name, "").strip()}


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
    def tags(self) -> dict[str, str]:
        """What everything of it carries; what lacks them is somebody else's."""
        return {"Project": "cloudping", "Installation": self.prefix or "default"}

    @property
    def settings(self) -> Settings:
        """What its functions will read."""
        return load(self.environ)

    @property
    def environ(self) -> dict[str, str]:
        """Its settings, with the endpoint that this process works against."""
        endpoint = {k: v for k, v in os.environ.items() if k == "AWS_ENDPOINT_URL"}
        return {**endpoint, **self.environment}

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
    own = {"CLOUDPING_HOME_REGION": installation.home_region}
    for name, value in installation.environment.items():
        if name.startswith(("PROBE_", "AGGREGATOR_")):  # the rest is for the site, or for deploy
            own[name] = value
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
        "tags": installation.tags,
        "stages": {stage: _stage(app, stage) for stage in stages},
    }


def _stage(app: App, stage: str) -> dict[str, Any]:
    # A probe's stage says which region it is for; packaging fails when AWS_DEFAULT_REGION differs.
    if app is not PROBES:
        return {}
    return {
        "iam_policy_file": policy_file(app, stage),
        "environment_variables": {"PROBE_REGION": stage},
    }


def policy_file(app: App, stage: str) -> str:
    """Where a stage's policy is, in `.chalice`: a probe has its own, since it names its source."""
    return f"policies/{stage}.json" if app is PROBES else "policy.json"


# Stands for a probe's own region in the policy that those of the stages are made from.
_SOURCE = '"SOURCE"'


def policy(app: App, installation: Installation, stage: str) -> dict[str, Any]:
    """What a stage's role may do: the committed policy with the installation's names."""
    text = (app.folder / ".chalice" / "policy.json").read_text().replace(_SOURCE, f'"{stage}"')
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
