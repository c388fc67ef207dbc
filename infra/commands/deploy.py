"""Deploy everything, or what is missing of it, to the AWS account of your credentials.

In this order: the tables, the operations stack (topic, alarms, dashboard), the aggregator and the
watch for new regions in the home region, a probe in every enabled region, the front end. What is
there and unchanged is left alone, so run it again after a failure, after a change, or for a new
region: it does what is missing. Settings come from the environment (docs/settings.md), e.g.
PROBE_INTERVAL_MINUTES=15 python -m infra deploy. Nothing is changed before you have seen the plan
and agreed. Exits with 1 when something failed; it says what.

In another partition (China, GovCloud, European Sovereign Cloud) only probes are deployed; they
write to the home region with the key in --home-credentials. See docs/deploying.md.
"""

import argparse
import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from cloudping import dynamo
from cloudping.account import ENABLED, region_status, register
from cloudping.errors import CloudPingError
from cloudping.regions import CATALOGUE, RegionTable, partition_of
from cloudping.times import utc_now
from infra import ROOT, TEMPLATES
from infra.aws import account, chalice, functions, packages, stacks
from infra.aws.account import Account, in_parallel
from infra.aws.installation import AGGREGATOR, PROBES, WATCH, App
from infra.commands import terminal

PARALLEL_DEPLOYMENTS = 10
# The same that Chalice gives a role, so that either can make it.
_LAMBDA_MAY_ASSUME = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "",
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


class DeployFailedError(CloudPingError):
    """Some parts could not be deployed; the others are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    account.add_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--alarm-email", default=None, help="who is told of alarms and new regions")
    parser.add_argument(
        "--no-frontend",
        action="store_true",
        help="without load balancer and Fargate: leave the front end's stack as it is",
    )
    parser.add_argument(
        "--image",
        help="the front end's image, as REGISTRY/NAME:TAG (default: keep the one that is deployed; "
        "when there is none, build it with docker, podman or buildah and push it)",
    )
    parser.add_argument(
        "--build-image", action="store_true", help="build and push a new image in any case"
    )
    parser.add_argument("--certificate", default=None, help="ARN of the site's ACM certificate")
    parser.add_argument(
        "--max-tasks", type=int, default=4, help="tasks of the site at most (default 4)"
    )
    parser.add_argument(
        "--opt-in",
        action="store_true",
        help="enable the regions of the catalogue that the account has not opted in to; takes AWS "
        "minutes to hours, so the next deploy puts probes there",
    )
    parser.add_argument(
        "--home-credentials",
        default="",
        metavar="SECRET",
        help="for another partition: the secret there that holds a key for the home region",
    )
    parser.add_argument(
        "--home-writer",
        action="store_true",
        help="make the user with whose key probes of other partitions write home",
    )


def run(args: argparse.Namespace) -> int:
    found = account.find(args, args.home_credentials)
    if not found.is_home and not args.home_credentials:
        raise CloudPingError(
            f"the tables are in {partition_of(found.installation.home_region)}: a probe in "
            f"{found.partition} needs --home-credentials SECRET (docs/deploying.md)"
        )
    Deployment(found, args).run()
    return 0


@dataclass
class StackPlan:
    """A template and the parameters that this run gives it."""

    template: str
    parameters: dict[str, str]
    outcome: str = "nothing"

    @property
    def path(self) -> Path:
        return TEMPLATES / f"{self.template}.yaml"


class Deployment:
    """One run of `deploy`; nothing is changed before `run` has shown the plan."""

    def __init__(self, found: Account, args: argparse.Namespace) -> None:
        self.account, self.args = found, args
        self.failed: dict[str, str] = {}
        self.changes = 0
        self._began = monotonic()

    def run(self) -> None:
        status, codes = self._regions()
        self._package()
        plans = self._stack_plans() if self.account.is_home else []
        outdated = {
            app: self._outdated(app, codes if app is PROBES else [self.home]) for app in self._apps
        }
        self._show_plan(plans, outdated, codes)
        if self.args.dry_run:
            return
        if any(outdated.values()) or any(plan.outcome != "nothing" for plan in plans):
            terminal.confirm(f"Deploy to account {self.account.number}?", self.args.yes)
        for plan in plans:
            if plan.template == "tables":
                self._apply(plan)  # without them, nothing else makes sense
            elif plan.template == "operations":
                self._apart("operations", self._apply, plan)
        if self.account.is_home:
            self._register(status)
        for app in self._apps:
            self._deploy(app, outdated[app])
        if self.account.is_home:
            self._note_sources(codes)
            for plan in plans:
                if plan.template == "frontend":
                    self._apart("front end", self._frontend, plan)
        self._end()

    def _apart(self, name: str, work: Callable[[StackPlan], None], plan: StackPlan) -> None:
        """Does what the rest need not wait for or fail with."""
        try:
            work(plan)
        except CloudPingError as error:
            self.failed[name] = str(error)

    def say(self, text: str) -> None:
        print(f"[{monotonic() - self._began:6.1f} s] {text}", flush=True)

    @property
    def home(self) -> str:
        return self.account.installation.home_region

    @property
    def _apps(self) -> list[App]:
        return [AGGREGATOR, WATCH, PROBES] if self.account.is_home else [PROBES]

    def _regions(self) -> tuple[dict[str, str], list[str]]:
        """(opt-in status by region, regions for probes)."""
        named = account.chosen(self.args.regions)
        status = region_status(account.session(), self.account.asked)
        if self.args.opt_in:
            status = self._opt_in(status)
        codes = named or sorted(code for code, said in status.items() if said in ENABLED)
        unknown = tuple(code for code in codes if code not in CATALOGUE)
        installation = replace(self.account.installation, more_regions=unknown)
        self.account = replace(self.account, installation=installation)
        waiting = sorted(set(status) - set(codes)) if not named else []
        self.say(
            f"account {self.account.number}, {self.account.partition}: {len(codes)} regions"
            + (f"; not enabled: {', '.join(waiting)}" if waiting else "")
        )
        return status, codes

    def _opt_in(self, status: dict[str, str]) -> dict[str, str]:
        wanted = [code for code, said in status.items() if said == "DISABLED"]
        if self.args.dry_run:
            self.say(f"would opt in to: {', '.join(wanted) or 'nothing'}")
            return status
        service = self.account.client("account", self.account.asked)
        for code, error in in_parallel(lambda code: service.enable_region(RegionName=code), wanted):
            if isinstance(error, Exception):
                self.failed[f"opt-in {code}"] = str(error)
            else:
                self.say(f"opting in to {code}; the next deploy puts a probe there")
        return status

    def _package(self) -> None:
        self._zips = {}
        for app in self._apps:
            project = self._project(app)
            self._zips[app] = packages.build_if_changed(app, self.account.installation, project)
            self.say(f"{app.name} packaged: {self._zips[app].stat().st_size / 1e6:.1f} MB")

    def _project(self, app: App) -> Path:
        installation = self.account.installation
        name = f"{self.account.partition}-{installation.prefix or 'default'}"
        return ROOT / "dist" / "deploy" / name / app.name

    def _stack_plans(self) -> list[StackPlan]:
        installation = self.account.installation
        prefix, settings = {"Prefix": installation.prefix}, installation.settings
        operations = prefix | {
            "AggregatorSeconds": str(settings.aggregator_interval_minutes * 60),
        }
        if self.args.alarm_email is not None:
            operations["AlarmEmail"] = self.args.alarm_email
        if self.args.home_writer:
            operations["OtherPartitions"] = "true"
        plans = [StackPlan("tables", prefix), StackPlan("operations", operations)]
        if not self.args.no_frontend:
            topic = (
                f"arn:{self.account.partition}:sns:{self.home}:{self.account.number}:"
                f"{installation.prefix}cloudping-alarms"
            )
            frontend = prefix | {"TopicArn": topic, "MaxTasks": str(self.args.max_tasks)}
            frontend |= {"BoundaryArn": self._boundary() or ""}
            if self.args.certificate is not None:
                frontend["CertificateArn"] = self.args.certificate
            if self.args.image is not None:
                frontend["Image"] = self.args.image
            plans.append(StackPlan("frontend", frontend))
        for plan in plans:
            self._complete(plan)
        return plans

    def _complete(self, plan: StackPlan) -> None:
        """Finds what is to be done; what this run does not say stays as it is deployed."""
        name = self._stack_name(plan)
        stack = stacks.describe(self._formation, name)
        for parameter in (stack or {}).get("Parameters", ()):
            plan.parameters.setdefault(parameter["ParameterKey"], parameter["ParameterValue"])
        plan.outcome = stacks.plan(self._formation, name, plan.path, plan.parameters)
        if plan.template == "frontend" and self._lacks_image(plan) and plan.outcome == "nothing":
            plan.outcome = "update"

    def _lacks_image(self, plan: StackPlan) -> bool:
        return self.args.build_image or not plan.parameters.get("Image")

    @property
    def _formation(self) -> Any:
        return self.account.client("cloudformation")

    def _stack_name(self, plan: StackPlan) -> str:
        return self.account.installation.stack_name(plan.template)

    def _outdated(self, app: App, codes: Iterable[str]) -> list[str]:
        """The stages that do not run what they should; one that cannot say counts as failed."""
        zip_file, installation = self._zips[app], self.account.installation

        def is_current(code: str) -> bool:
            return functions.is_current(app, installation, code, zip_file, account.session())

        outdated = []
        for code, answer in in_parallel(is_current, list(codes)):
            if isinstance(answer, Exception):
                self.failed[f"{app.name} {code}"] = str(answer)
            elif not answer:
                outdated.append(code)
        return sorted(outdated)

    def _show_plan(
        self, plans: list[StackPlan], outdated: Mapping[App, list[str]], codes: list[str]
    ) -> None:
        for plan in plans:
            self.say(f"plan: stack {self._stack_name(plan)}: {plan.outcome}")
        for app, stages in outdated.items():
            of = len(codes) if app is PROBES else 1
            what = f"{len(stages)} of {of} to deploy" if stages else f"{of} of {of} unchanged"
            self.say(f"plan: {app.name}: {what}{': ' if stages else ''}{', '.join(stages)}")
        for name, value in sorted(self.account.installation.environment.items()):
            self.say(f"plan: setting {name}={value}")

    def _apply(self, plan: StackPlan) -> None:
        name = self._stack_name(plan)
        outcome = stacks.apply(self._formation, name, plan.path, plan.parameters)
        self.changes += outcome != "unchanged"
        self.say(f"stack {name} {outcome}")

    def _table(self) -> RegionTable:
        client = dynamo.client(self.home)
        return RegionTable(client, self.account.installation.prefix)

    def _register(self, status: dict[str, str]) -> None:
        added = register(self._table(), account.session(), self.home, status)
        if added:
            self.changes += len(added)
            self.say(f"{len(added)} regions added as targets")

    def _note_sources(self, codes: Iterable[str]) -> None:
        """Marks the regions whose probe is in place as sources, on their schedule."""
        table = self._table()
        interval_s = self.account.installation.settings.probe_interval_minutes * 60
        known = {state.region.code: state for state in table.all()}
        for code in codes:
            if f"{PROBES.name} {code}" not in self.failed and known[code].interval_s != interval_s:
                table.note_source(code, interval_s)
                self.changes += 1

    def _boundary(self) -> str | None:
        """The ARN of github-oidc.yaml's permissions boundary where the account has it."""
        from botocore.exceptions import ClientError

        name = f"{self.account.installation.prefix}cloudping-boundary"
        arn = f"arn:{self.account.partition}:iam::{self.account.number}:policy/{name}"
        try:
            self.account.client("iam").get_policy(PolicyArn=arn)
        except ClientError:  # none, or no right to look: then none can be asked for either
            return None
        return arn

    def _make_role(self, app: App, code: str, boundary: str | None) -> None:
        """The stage's role, bounded and tagged, as Chalice cannot; its policy is Chalice's."""
        from botocore.exceptions import ClientError

        request: dict[str, Any] = {
            "RoleName": self.account.installation.role_name(app, code),
            "AssumeRolePolicyDocument": json.dumps(_LAMBDA_MAY_ASSUME),
            "Tags": [{"Key": "Project", "Value": "cloudping"}],
        }
        if boundary:
            request["PermissionsBoundary"] = boundary
        try:
            self.account.client("iam", code).create_role(**request)
        except ClientError as error:
            if error.response["Error"]["Code"] != "EntityAlreadyExists":
                raise

    def _deploy(self, app: App, stages: list[str]) -> None:
        if not stages:
            return
        boundary = self._boundary()
        for code, error in in_parallel(lambda code: self._make_role(app, code, boundary), stages):
            if isinstance(error, Exception):
                self.failed[f"{app.name} {code}"] = f"role: {error}"
        stages = [code for code in stages if f"{app.name} {code}" not in self.failed]
        deployed = chalice.deploy_all(app, self._project(app), stages, PARALLEL_DEPLOYMENTS)
        for done, (code, error) in enumerate(deployed, 1):
            if error is not None:
                self.failed[f"{app.name} {code}"] = str(error)
                self.say(f"{app.name} {code}: failed ({done} of {len(stages)}): {error}")
            else:
                self.changes += 1
                self.say(f"{app.name} {code}: deployed ({done} of {len(stages)})")

    def _frontend(self, plan: StackPlan) -> None:
        """The stack with an empty registry first, then its image, then the site."""
        self._apply(plan)
        stack = stacks.describe(self._formation, self._stack_name(plan))
        outputs = stacks.outputs(stack or {})
        if self._lacks_image(plan):
            plan.parameters["Image"] = self._push_image(outputs["Registry"])
            self._apply(plan)
        self.say(f"front end: {outputs['Url']}")

    def _push_image(self, registry: str) -> str:
        """Builds Dockerfile.frontend, pushes it, returns its name; raises where nothing builds."""
        tool = next((t for t in ("docker", "podman", "buildah") if shutil.which(t)), None)
        if tool is None:
            raise CloudPingError(
                "no docker, podman or buildah here to build the image with; install one or say "
                "--image (the workflow `image` on GitHub builds and pushes one)"
            )
        answer = self.account.client("ecr").get_authorization_token()["authorizationData"][0]
        user, _, password = b64decode(answer["authorizationToken"]).decode().partition(":")
        image = f"{registry}:{utc_now():%Y%m%d-%H%M%S}"
        host = registry.partition("/")[0]
        self.say(f"building {image} with {tool}")
        _call(
            tool, "build", "--platform=linux/amd64", "-f", "Dockerfile.frontend", "-t", image, "."
        )
        _call(tool, "login", "--username", user, "--password-stdin", host, said=password)
        _call(tool, "push", image)
        return image

    def _end(self) -> None:
        if self.failed:
            for what, why in sorted(self.failed.items()):
                self.say(f"FAILED {what}: {why}")
            raise DeployFailedError(
                f"{len(self.failed)} parts failed, the rest is in place; run the same again"
            )
        if self.changes:
            self.say("everything is in place; `python -m infra status` says when figures come in")
        else:
            self.say("no change: everything is as it should be")


def _call(*command: str, said: str | None = None) -> None:
    done = subprocess.run(
        command, cwd=ROOT, input=said, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise CloudPingError(f"{' '.join(command[:2])} failed: {last[0]}")
