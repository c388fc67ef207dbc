"""Deploy everything, or what is missing of it, to the AWS account of your credentials.

In this order: the tables, the operations stack (topic, alarms, dashboard), the aggregator and the
watch for new regions in the home region, a probe in every enabled region, the front end. What is
there and unchanged is left alone, so run it again after a failure, after a change, or for a new
region: it does what is missing. Settings (docs/settings.md) are said in the environment once, e.g.
PROBE_INTERVAL_MINUTES=15 python -m infra deploy, and kept with the installation from then on.
Nothing is changed before you have seen the plan and agreed. Exits with 1 when something failed; it
says what.

In another partition (China, GovCloud, European Sovereign Cloud) only probes are deployed; they
write to the home region with the key in --home-credentials. See docs/deploying.md.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cloudping.account import ENABLED, region_status
from cloudping.errors import CloudPingError
from cloudping.regions import CATALOGUE, partition_of
from infra.aws import account, home, roles, settings, tables
from infra.aws.account import Account, in_parallel
from infra.aws.installation import AGGREGATOR, PROBES, WATCH
from infra.aws.parts import (
    FunctionsPart,
    Part,
    Report,
    SitePart,
    SourcesPart,
    StackPart,
    TablesPart,
    TargetsPart,
)
from infra.commands import terminal

# AWS's quota of regions that are being enabled in an account at the same time.
OPT_INS_AT_ONCE = 6


class DeployFailedError(CloudPingError):
    """Some parts could not be deployed; the others are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    account.add_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--exclude",
        metavar="CODE,CODE",
        help="regions that are neither source nor target from now on; none: no region",
    )
    parser.add_argument(
        "--reset",
        metavar="NAME,NAME",
        default="",
        help="settings that go back to their defaults, e.g. PROBE_TARGETS",
    )
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
        "--max-tasks",
        type=terminal.whole(1, 100),
        help="tasks of the site at most (default: as it is deployed, else 4)",
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


def to_opt_in(status: Mapping[str, str], excluded: Sequence[str]) -> tuple[list[str], list[str]]:
    """(regions to enable now, regions that AWS has no place for yet), by their opt-in status."""
    missing = [c for c, said in status.items() if said == "DISABLED" and c not in excluded]
    places = max(0, OPT_INS_AT_ONCE - list(status.values()).count("ENABLING"))
    return missing[:places], missing[places:]


def _listed(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _excluding(found: Account, args: argparse.Namespace) -> Account:
    """With --exclude as the setting that it is; `none` is its default: no region."""
    if args.exclude is None:
        return found
    codes = "" if args.exclude == "none" else ",".join(account.chosen(args.exclude))
    environment = {**found.installation.environment, "CLOUDPING_EXCLUDE": codes}
    return replace(found, installation=replace(found.installation, environment=environment))


class Deployment:
    """One run of `deploy`; nothing is changed before `run` has shown the plan."""

    def __init__(self, found: Account, args: argparse.Namespace) -> None:
        self.args = args
        self.report = Report()
        self.before = settings.stored(found)
        self.account = settings.settled(_excluding(found, args), self.before, _listed(args.reset))

    def run(self) -> None:
        status, codes = self._regions()
        parts = self._parts(status, codes)
        self._show_plan(parts)
        if self.args.dry_run:
            return
        if any(part.is_needed for part in parts):
            terminal.confirm(f"Deploy to account {self.account.number}?", self.args.yes)
        for part in parts:
            self._carry_out(part)
        self._end()

    def _regions(self) -> tuple[dict[str, str], list[str]]:
        """(opt-in status by region, regions for probes)."""
        named = account.chosen(self.args.regions)
        status = region_status(account.session(), self.account.asked)
        home.check(self.account, status)
        if self.args.opt_in:
            self._opt_in(status)
        excluded = self.account.installation.settings.exclude
        if both := sorted(set(named) & set(excluded)):
            raise CloudPingError(f"{', '.join(both)}: excluded; --exclude says otherwise")
        enabled = sorted(code for code, said in status.items() if said in ENABLED)
        codes = named or [code for code in enabled if code not in excluded]
        unknown = tuple(code for code in codes if code not in CATALOGUE)
        installation = replace(self.account.installation, more_regions=unknown)
        self.account = replace(self.account, installation=installation)
        waiting = sorted(status.keys() - set(enabled)) if not named else []
        self.report.say(
            f"account {self.account.number}, {self.account.partition}: "
            + terminal.count(len(codes), "region")
            + (f"; not enabled: {', '.join(waiting)}" if waiting else "")
            + (f"; excluded: {', '.join(excluded)}" if excluded else "")
        )
        return status, codes

    def _opt_in(self, status: Mapping[str, str]) -> None:
        wanted, later = to_opt_in(status, self.account.installation.settings.exclude)
        if later:
            self.report.say(
                f"AWS takes {OPT_INS_AT_ONCE} at a time; a later deploy opts in to: "
                + ", ".join(later)
            )
        if self.args.dry_run:
            self.report.say(f"would opt in to: {', '.join(wanted) or 'nothing'}")
            return
        service = self.account.client("account", self.account.asked)
        for code, error in in_parallel(lambda code: service.enable_region(RegionName=code), wanted):
            if isinstance(error, Exception):
                self.report.failed[f"opt-in {code}"] = str(error)
            else:
                self.report.say(f"opting in to {code}; the next deploy puts a probe there")

    def _parts(self, status: Mapping[str, str], codes: list[str]) -> list[Part]:
        """All that is deployed, in its order; in another partition only the probes."""
        boundary = roles.boundary(self.account)
        probes = FunctionsPart(self.account, self.report, PROBES, codes, boundary)
        if not self.account.is_home:
            return [probes]
        at_home = [self.account.installation.home_region]
        parts: list[Part] = [
            TablesPart(self.account, self.report, tables.STACK, self._tables()),
            # Vital where it keeps changed settings: else the next deployer would undo the change.
            StackPart(
                self.account, self.report, "operations", self._operations(), self._is_changed
            ),
            self._targets(status),
            FunctionsPart(self.account, self.report, AGGREGATOR, at_home, boundary),
            FunctionsPart(self.account, self.report, WATCH, at_home, boundary),
            probes,
            SourcesPart(self.account, self.report, codes),
        ]
        if not self.args.no_frontend:
            parts.append(self._site(boundary))
        return parts

    @property
    def _is_changed(self) -> bool:
        return self.before != self.account.installation.environment

    def _targets(self, status: Mapping[str, str]) -> TargetsPart:
        excluded = self.account.installation.settings.exclude
        returned = set(_listed(self.before.get("CLOUDPING_EXCLUDE", ""))) - set(excluded)
        return TargetsPart(self.account, self.report, status, excluded, sorted(returned))

    @property
    def _prefix(self) -> dict[str, str]:
        return {"Prefix": self.account.installation.prefix}

    def _tables(self) -> dict[str, str]:
        return self._prefix | {"DeletionProtection": "true"}

    def _operations(self) -> dict[str, str]:
        installation = self.account.installation
        minutes = installation.settings.aggregator_interval_minutes
        others = [code for code in CATALOGUE if partition_of(code) != self.account.partition]
        parameters = self._prefix | {
            "AggregatorSeconds": str(minutes * 60),
            settings.PARAMETER: settings.text(installation.environment),
            "OtherSources": ",".join(others),
        }
        if self.args.alarm_email is not None:
            parameters["AlarmEmail"] = self.args.alarm_email
        if self.args.home_writer:
            parameters["OtherPartitions"] = "true"
        return parameters

    def _site(self, boundary: str | None) -> SitePart:
        installation = self.account.installation
        topic = (
            f"arn:{self.account.partition}:sns:{installation.home_region}:{self.account.number}:"
            f"{installation.prefix}cloudping-alarms"
        )
        given = {
            "MaxTasks": None if self.args.max_tasks is None else str(self.args.max_tasks),
            "CertificateArn": self.args.certificate,
            "Image": self.args.image,
        }
        parameters = self._prefix | {
            "TopicArn": topic,
            "BoundaryArn": boundary or "",
            **settings.site_parameters(installation.environment),
            **{key: value for key, value in given.items() if value is not None},
        }
        return SitePart(
            self.account,
            self.report,
            "frontend",
            parameters,
            builds_image=self.args.build_image,
        )

    def _show_plan(self, parts: list[Part]) -> None:
        for line in [line for part in parts for line in part.plan()]:
            self.report.say(f"plan: {line}")
        for line in settings.differences(self.before, self.account.installation.environment):
            self.report.say(f"plan: {line}")

    def _carry_out(self, part: Part) -> None:
        """One part after the other; without a vital one, the rest makes no sense."""
        try:
            part.carry_out()
        except CloudPingError as error:
            if part.is_vital:
                raise
            self.report.failed[part.name] = str(error)

    def _end(self) -> None:
        failed = self.report.failed
        for what, why in sorted(failed.items()):
            self.report.say(f"FAILED {what}: {why}")
        if failed:
            count = terminal.count(len(failed), "part")
            raise DeployFailedError(f"{count} failed, the rest is in place; run the same again")
        if self.report.changes:
            self.report.say(
                "everything is in place; `python -m infra status` says when figures come in"
            )
        else:
            self.report.say("no change: everything is as it should be")
