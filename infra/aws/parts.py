"""The parts of an installation: what is to be done to each, and doing it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from cloudping import dynamo
from cloudping.account import register
from cloudping.errors import CloudPingError
from cloudping.regions import RegionTable
from infra import ROOT, TEMPLATES
from infra.aws import chalice, functions, image, packages, roles, stacks, tables, zones
from infra.aws.account import Account, in_parallel, session
from infra.aws.installation import PROBES, App

PARALLEL_DEPLOYMENTS = 10


@dataclass
class Report:
    """What a deployment says as it goes, what it has changed and what has failed."""

    changes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=monotonic)

    def say(self, text: str) -> None:
        print(f"[{monotonic() - self.began:6.1f} s] {text}", flush=True)


@dataclass
class StackPart:
    """A stack of the home region, with the parameters that this run gives it.

    A parameter that this run does not say stays as it is deployed.
    """

    account: Account
    report: Report
    template: str
    parameters: dict[str, str]
    is_vital: bool = False
    outcome: str = "nothing"

    @property
    def name(self) -> str:
        return self.account.installation.stack_name(self.template)

    @property
    def path(self) -> Path:
        return TEMPLATES / f"{self.template}.yaml"

    @property
    def formation(self) -> Any:
        return self.account.client("cloudformation")

    def plan(self) -> list[str]:
        self.parameters = stacks.kept(self.formation, self.name, self.path) | self.parameters
        self.outcome = stacks.plan(
            self.formation, self.name, self.path, self.parameters, self.account.installation.tags
        )
        return [f"stack {self.name}: {self.outcome}"]

    @property
    def is_needed(self) -> bool:
        return self.outcome != "nothing"

    def carry_out(self) -> None:
        outcome = stacks.apply(
            self.formation, self.name, self.path, self.parameters, self.account.installation.tags
        )
        self.report.changes += outcome != "unchanged"
        self.report.say(f"stack {self.name} {outcome}")


@dataclass
class TablesPart(StackPart):
    """The tables, made so that a first creation that fails leaves nothing in its own way.

    Roll-back deletes what it has just made (RetainExceptOnCreate), which a protected table would
    refuse: protection comes in a second step, once all tables are there.
    """

    is_vital: bool = True

    def plan(self) -> list[str]:
        lines = super().plan()
        if self.outcome == "create" and (found := tables.existing(self.account)).all:
            raise CloudPingError(
                f"{', '.join(found.all)} in {self.account.installation.home_region} already, "
                f"without the stack {self.name}: for tables of your own, see "
                "docs/deploying.md#tables-without-their-stack; if they are somebody else's, "
                "say --prefix"
            )
        return lines

    def carry_out(self) -> None:
        if self.outcome == "create":
            protected = self.parameters
            self.parameters = protected | {"DeletionProtection": "false"}
            super().carry_out()
            self.parameters = protected
        super().carry_out()


@dataclass
class SitePart(StackPart):
    """The front end: the stack with an empty registry first, then its image, then the site."""

    builds_image: bool = False

    def plan(self) -> list[str]:
        super().plan()
        if self.outcome == "create":  # later, other zones would mean other subnets
            region = self.account.installation.home_region
            found = zones.for_fargate(self.account.client("ec2"), region)
            self.parameters["ZoneA"], self.parameters["ZoneB"] = found
        if self._lacks_image and self.outcome == "nothing":
            self.outcome = "update"
        return [f"stack {self.name}: {self.outcome}"]

    @property
    def _lacks_image(self) -> bool:
        return self.builds_image or not self.parameters.get("Image")

    def carry_out(self) -> None:
        before = stacks.deployed(stacks.describe(self.formation, self.name) or {}).get("Image", "")
        if self._lacks_image:
            super().carry_out()  # the registry
            registry = stacks.outputs(stacks.describe(self.formation, self.name) or {})["Registry"]
            ecr = self.account.client("ecr")
            self.parameters["Image"] = image.push(ecr, registry, self.report.say)
        new = self.parameters["Image"]
        if new != before:
            self._keep(new, "deploying")
        super().carry_out()
        self._keep(new, "deployed")
        if before and new != before:
            with suppress(image.ImageError):  # it may have expired: there is no way back to it then
                self._keep(before, "deployed-before")
        outputs = stacks.outputs(stacks.describe(self.formation, self.name) or {})
        self.report.say(f"front end: {outputs['Url']}")

    def _keep(self, name: str, tag: str) -> None:
        image.keep(self.account.number, self.account.client, name, tag)


@dataclass
class FunctionsPart:
    """An app's functions in all of its regions; one that fails does not stop the others."""

    account: Account
    report: Report
    app: App
    codes: Sequence[str]
    boundary: str | None = None  # of the functions' roles
    is_vital: bool = False
    outdated: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.app.name

    @property
    def project(self) -> Path:
        prefix = self.account.installation.prefix or "default"
        return ROOT / "dist" / "deploy" / f"{self.account.partition}-{prefix}" / self.app.name

    def plan(self) -> list[str]:
        """Packages the app, then asks every region; one that cannot say counts as failed."""
        installation = self.account.installation
        zip_file = packages.build_if_changed(self.app, installation, self.project)
        self.report.say(f"{self.name} packaged: {zip_file.stat().st_size / 1e6:.1f} MB")

        def is_current(code: str) -> bool:
            return functions.is_current(
                self.app, installation, code, zip_file, session()
            ) and roles.is_bounded(self.account, self.app, code, self.boundary)

        for code, answer in in_parallel(is_current, self.codes):
            if isinstance(answer, Exception):
                self.report.failed[f"{self.name} {code}"] = str(answer)
            elif not answer:
                self.outdated.append(code)
        self.outdated.sort()
        of = len(self.codes)
        if not self.outdated:
            return [f"{self.name}: {of} of {of} unchanged"]
        return [f"{self.name}: {len(self.outdated)} of {of} to deploy: {', '.join(self.outdated)}"]

    @property
    def is_needed(self) -> bool:
        return bool(self.outdated)

    def carry_out(self) -> None:
        if not self.outdated:
            return
        self._each(
            "role",
            self.outdated,
            lambda code: roles.make(self.account, self.app, code, self.boundary),
        )
        stages = [code for code in self.outdated if f"{self.name} {code}" not in self.report.failed]
        deployed = chalice.deploy_all(self.app, self.project, stages, PARALLEL_DEPLOYMENTS)
        for done, (code, error) in enumerate(deployed, 1):
            if error is not None:
                self.report.failed[f"{self.name} {code}"] = str(error)
                self.report.say(f"{self.name} {code}: failed ({done} of {len(stages)}): {error}")
            else:
                self.report.changes += 1
                self.report.say(f"{self.name} {code}: deployed ({done} of {len(stages)})")
        # Chalice says nothing of a rule's state, so one that somebody has disabled could stay so.
        done_stages = [code for code in stages if f"{self.name} {code}" not in self.report.failed]
        self._each("rule", done_stages, self._enable_rule)

    def _enable_rule(self, code: str) -> None:
        name = self.account.installation.rule_name(self.app, code)
        self.account.client("events", code).enable_rule(Name=name)

    def _each(self, what: str, codes: Sequence[str], work: Callable[[str], Any]) -> None:
        for code, error in in_parallel(work, codes):
            if isinstance(error, Exception):
                self.report.failed[f"{self.name} {code}"] = f"{what}: {error}"


@dataclass
class TargetsPart:
    """The regions that are measured: all of the catalogue and of the account, less the excluded.

    `returned` are those that were excluded until now.
    """

    account: Account
    report: Report
    status: Mapping[str, str]
    excluded: Sequence[str] = ()
    returned: Sequence[str] = ()
    name: str = "targets"
    is_vital: bool = True
    is_needed: bool = False  # goes with the rest: there is no plan of it without the tables

    def plan(self) -> list[str]:
        return []

    def carry_out(self) -> None:
        home, table = self.account.installation.home_region, region_table(self.account)
        added = register(table, session(), home, self.status)
        if added.bad:
            raise added.bad[0]
        if added:
            self.report.changes += len(added)
            self.report.say(f"added as targets: {', '.join(state.region.code for state in added)}")
        for state in table.all():
            code = state.region.code
            is_changed = code in (self.excluded if state.is_target else self.returned)
            if is_changed:
                table.note_target(code, not state.is_target)
                self.report.changes += 1
            if code in self.excluded and state.is_source:
                table.note_source(code, 0)
                self.report.changes += 1


@dataclass
class SourcesPart:
    """The regions whose probe is in place, noted as sources on their schedule."""

    account: Account
    report: Report
    codes: Sequence[str]
    name: str = "sources"
    is_vital: bool = True
    is_needed: bool = False

    def plan(self) -> list[str]:
        return []

    def carry_out(self) -> None:
        table = region_table(self.account)
        interval_s = self.account.installation.settings.probe_interval_minutes * 60
        known = {state.region.code: state for state in table.all()}
        for code in self.codes:
            is_there = f"{PROBES.name} {code}" not in self.report.failed
            if is_there and known[code].interval_s != interval_s:
                table.note_source(code, interval_s)
                self.report.changes += 1


Part = StackPart | FunctionsPart | TargetsPart | SourcesPart


def region_table(account: Account) -> RegionTable:
    installation = account.installation
    return RegionTable(dynamo.client(installation.home_region), installation.prefix)
