"""Every call against every policy: what is needed is allowed, and nothing is allowed for nothing.

The calls are recorded: those of the commands and of Chalice's own process, of the functions and of
the site, all on the local AWS, which checks no policy itself. What AWS asks for in our name without
a call of ours is in the tables below and, for CloudFormation, in `handlers`.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from chalicelib import probe_run, region_watch, trigger

from cloudping import dynamo
from cloudping.account import region_status
from cloudping.regions import CATALOGUE, RegionTable
from cloudping.settings import load
from cloudping.summaries import Day, Figures, HistoryTable
from cloudping.times import to_iso, utc_now
from frontend import create_app
from frontend.data.site import EXTENSION
from infra.aws import installation
from infra.aws.installation import AGGREGATOR, APPS, PROBES, WATCH, App, Installation
from tests.conftest import ROOT
from tests.infra import ministack
from tests.infra.commands.test_deploy import Operator
from tests.infra.policies import calls, handlers, iam
from tests.infra.policies.cfn import ACCOUNT, HOME, Stack
from tests.infra.policies.iam import Document, Request

GITHUB = Stack("github-oidc.yaml", Repository="octo/ping", OwnerId="12", RepositoryId="345")
BOUNDARY_ARN = GITHUB.arn("Boundary")
BOUNDARY: Document = GITHUB.of_type("AWS::IAM::ManagedPolicy")["Boundary"]["PolicyDocument"]
DEPLOY: list[Document] = [
    GITHUB.of_type("AWS::IAM::Role")["Role"]["Policies"][0]["PolicyDocument"],
    GITHUB.of_type("AWS::IAM::ManagedPolicy")["ByCloudFormation"]["PolicyDocument"],
]
STACKS = (
    Stack("tables.yaml"),
    Stack("operations.yaml", AlarmEmail="you@example.org"),
    Stack(
        "frontend.yaml",
        Image="registry.invalid/cloudping:1",
        TopicArn=f"arn:aws:sns:{HOME}:{ACCOUNT}:cloudping-alarms",
        BoundaryArn=BOUNDARY_ARN,
        CertificateArn="arn:aws:acm:::certificate/1",
    ),
)
SITE = ("--image", "registry.invalid/cloudping:1", "--max-tasks", "1")
ONE = ("--regions", HOME)
TARGET = "eu-west-1"
NEW = "sa-west-1"  # a region that the catalogue does not have, which the account opts in to

# docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html; docker asks for these.
PUSH = [
    Request(f"ecr:{name}", f"arn:aws:ecr:{HOME}:{ACCOUNT}:repository/cloudping")
    for name in (
        "BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload",
        "GetDownloadUrlForLayer", "InitiateLayerUpload", "PutImage", "UploadLayerPart",
    )
]  # fmt: skip
PULL = [request for request in PUSH if request.action.split(":")[1] in (
    "BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer",
)]  # fmt: skip
SIGN_IN = Request("ecr:GetAuthorizationToken", "*")


@dataclass(frozen=True)
class Recorded:
    """What each part asked AWS for."""

    deploying: Sequence[Request]
    verifying: Sequence[Request]
    verified: str
    recovering: Sequence[Request]
    functions: dict[App, Sequence[Request]]
    site: Sequence[Request]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """An installation with one source, from its deployment to its end, with everything recorded."""
    folder = tmp_path_factory.mktemp("policies")

    def requests(name: str) -> list[Request]:
        found = calls.recorded(folder / name)
        assert found, f"nothing was recorded of {name}"
        return list(calls.requests(found))

    with ministack.local_aws(folder) as environment:
        boundary = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        ministack.client(environment, "iam").create_policy(
            PolicyName="cloudping-boundary",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [boundary]}),
        )
        operator = Operator(environment | calls.recording(folder / "deploying"))
        operator.run("deploy", *ONE, *SITE, "--yes")
        _work(environment, folder)
        for app in APPS.values():  # what somebody has changed by hand is put back
            ministack.client(environment, "lambda").update_function_configuration(
                FunctionName=Installation().function_name(app, HOME), Timeout=7
            )
        operator.run("deploy", *ONE, *SITE, "--alarm-email", "you@example.org", "--yes")
        _status(operator)
        verifier = Operator(environment | calls.recording(folder / "verifying"))
        verified = _status(verifier, "verify")
        another = Operator(environment | calls.recording(folder / "recovering"))
        another.run("recover", "--since", "1h")
        operator.run("destroy", "--yes")
    yield Recorded(
        deploying=requests("deploying"),
        verifying=requests("verifying"),
        verified=verified,
        recovering=requests("recovering"),
        functions={app: requests(app.name) for app in APPS.values()},
        site=requests("site"),
    )


def _status(operator: Operator, command: str = "status") -> str:
    """Well or not: 3 says that something is not, e.g. that the first run is still to come."""
    done = subprocess.run(
        operator.command(command),
        cwd=ROOT,
        env=operator.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.stdout


def _work(environment: dict[str, str], folder: Path) -> None:
    """What the functions and the site do, in this process, on what is deployed."""
    with pytest.MonkeyPatch.context() as patch:
        # Another account's credentials are not to be kept for the tests that come after.
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        for name, value in (environment | ministack.FAST).items():
            patch.setenv(name, value)
        settings = load({**environment, **ministack.FAST, "AWS_DEFAULT_REGION": HOME})
        arn = f"arn:aws:lambda:{HOME}:{ACCOUNT}:function:cloudping-watch-{HOME}-regions"
        late = timedelta(hours=47)
        _two_months_with_a_change()
        for ages in ((late, timedelta()), (late - timedelta(minutes=5),)):  # the day changes again
            with calls.recorded_here(folder / PROBES.name, patch):
                for age in ages:
                    probe_run.run(to_iso(utc_now() - age), settings)
            with calls.recorded_here(folder / AGGREGATOR.name, patch):
                trigger.handle({}, settings)
        with calls.recorded_here(folder / WATCH.name, patch):
            for said in ("DISABLED", "ENABLING"):
                patch.setattr(
                    region_watch, "region_status", lambda *of, s=said: region_status(*of) | {NEW: s}
                )
                region_watch.run(arn, settings)
        with calls.recorded_here(folder / "site", patch):
            app = create_app(background=False)
            app.extensions[EXTENSION].keeper.refresh()
            _visit(app)
        probe_run.client.cache_clear()
        trigger._installed.cache_clear()


def _two_months_with_a_change() -> None:
    """Daily figures in which the aggregator finds a level shift."""
    client, now = dynamo.client(HOME), utc_now()
    RegionTable(client).note_data(TARGET, now - timedelta(days=60), now)
    HistoryTable(client).replace(
        Day(
            HOME,
            TARGET,
            (now - timedelta(days=back)).date(),
            Figures(100, percentiles={50: 80.0 if back < 30 else 70.0}, methods=("kernel-1",)),
            "aws",
        )
        for back in range(1, 60)
    )


def _visit(app: Any) -> None:
    """Every address of the site once."""
    client = app.test_client()
    day = to_iso(utc_now())[:10]
    words = {"source": HOME, "target": HOME, "code": HOME, "metric": "p_50", "frame": "1D"}
    for rule in app.url_map.iter_rules():
        if "GET" not in rule.methods or rule.arguments - words.keys():
            continue
        address = rule.rule
        for name in rule.arguments:
            address = address.replace(f"<{name}>", words[name])
        for query in ({}, {"from": day, "to": day}):
            answer = client.get(address, query_string=query)
            answer.get_data()
            answer.close()


def denied(
    policies: Iterable[Document], requests: Iterable[Request], boundary: Document | None = None
) -> list[str]:
    policies = list(policies)
    return sorted({str(r) for r in requests if not iam.allows(policies, r, boundary)})


def idle(policy: Document, requests: Sequence[Request]) -> list[str]:
    """The actions of statements that none of the requests is let through by."""
    found = []
    for statement in iam.statements(policy):
        if statement["Effect"] == "Deny":
            continue
        through = [request for request in requests if iam.applies(statement, request)]
        for action in iam.listed(statement["Action"]):
            alone = {**statement, "Action": action}
            if not any(iam.applies(alone, request) for request in through):
                found.append(f"{statement['Sid']}: {action}")
    return found


def statement_that_nobody_misses(
    policies: Sequence[Document], requests: Sequence[Request], boundary: Document | None = None
) -> list[str]:
    """Sids of what can be taken away without a request being denied for it."""
    found = []
    for at, policy in enumerate(policies):
        for number, statement in enumerate(iam.statements(policy)):
            if statement["Effect"] == "Deny":
                continue
            less = [*policies[:at], iam.without(policy, number), *policies[at + 1 :]]
            if not denied(less, requests, boundary):
                found.append(statement["Sid"])
    return found


# ---- GitHub's deploying role


def by_cloudformation() -> list[Request]:
    asked = [r for stack in STACKS for r in handlers.requests(stack)]
    return [r for r in asked if not handlers.withheld(r.action)] + [handlers.LINKED_FOR_BALANCER]


def by_commands(recorded: Recorded) -> list[Request]:
    return [*recorded.deploying, *PUSH, SIGN_IN, *OTHERWISE]


# What the recorded commands do not come to on the local AWS.
OTHERWISE = [
    Request("account:EnableRegion", f"arn:aws:account::{ACCOUNT}:account"),  # deploy --opt-in
    Request(  # the name of a region that the catalogue lacks
        "ssm:GetParameter",
        f"arn:aws:ssm:{HOME}::parameter/aws/service/global-infrastructure/regions/x/longName",
    ),
    Request(  # the reason of a stack that failed
        "cloudformation:DescribeStackEvents",
        f"arn:aws:cloudformation:{HOME}:{ACCOUNT}:stack/cloudping-tables/6b0a2f80",
    ),
    Request(  # chalice, where a tag has gone
        "lambda:UntagResource",
        f"arn:aws:lambda:{HOME}:{ACCOUNT}:function:cloudping-probes-{HOME}-probe",
    ),
]


def test_github_may_do_all_that_the_commands_do(recorded: Recorded) -> None:
    assert denied(DEPLOY, by_commands(recorded)) == []


def test_verify_only_reads(recorded: Recorded) -> None:
    """For an operator with AWS's ReadOnlyAccess; GitHub's role is for deploying."""
    asked = {request.action.split(":")[1] for request in recorded.verifying}
    assert all(re.match("Describe|Get|List|Query|Scan", action) for action in asked), asked


def test_verify_tells_what_is_as_meant_and_what_is_not(recorded: Recorded) -> None:
    """On MiniStack, which ignores recovery and has no bill; the rest is as it was deployed."""
    said = dict(re.findall(r"^(?:ok |NOT|\?  ) ([^:]+): (.*)$", recorded.verified, re.MULTILINE))
    well = set(re.findall(r"^ok  ([^:]+):", recorded.verified, re.MULTILINE))
    stacks = {f"stack cloudping-{name}" for name in ("tables", "operations", "frontend")}
    assert stacks | {"roles", "functions", "alarms", "error bound"} <= well, recorded.verified
    assert said["roles"].startswith("3 as meant, arn:aws:iam::")
    assert said["alarms"].startswith("11, none ringing")
    assert "has no point-in-time recovery" in said["tables"]
    assert "alarm mail" in said


def test_github_may_do_all_that_cloudformation_does_for_it() -> None:
    assert denied(DEPLOY, by_cloudformation()) == []


def test_what_is_withheld_from_github_is_denied() -> None:
    asked = [r for stack in STACKS for r in handlers.requests(stack)]
    withheld = [r for r in asked if handlers.withheld(r.action)]
    assert {r.action for r in withheld} >= {"dynamodb:DeleteTable"}
    assert len(denied(DEPLOY, withheld)) == len({str(r) for r in withheld})


def test_no_statement_and_no_action_of_github_is_idle(recorded: Recorded) -> None:
    needed = [*by_commands(recorded), *by_cloudformation()]
    assert statement_that_nobody_misses(DEPLOY, needed) == []
    assert [entry for policy in DEPLOY for entry in idle(policy, needed)] == []


def test_what_no_template_of_ours_causes_is_in_no_template() -> None:
    for stack in STACKS:
        for key, resource in stack.resources.items():
            for permission, attribute in handlers.UNUSED.get(resource["Type"], {}).items():
                written = json.dumps(resource["Properties"], default=str)
                assert f'"{attribute}"' not in written, (key, permission)


def test_every_exception_takes_something_off() -> None:
    """One that a newer schema has made pointless goes."""
    kinds = {r["Type"] for stack in STACKS for r in stack.resources.values()}
    for kind, unused in handlers.UNUSED.items():
        assert kind in kinds
        for pattern in unused:
            assert any(iam.matches(pattern, a) for a in handlers.declared(kind)), (kind, pattern)


@pytest.mark.parametrize(
    "action",
    [
        "ec2:AuthorizeSecurityGroupIngress", "ec2:DeleteVpc", "ec2:DeleteSubnet", "sns:Unsubscribe",
        "elasticloadbalancing:DeleteLoadBalancer", "ecs:DeregisterTaskDefinition",
        "dynamodb:UpdateTable", "ecr:DeleteRepository", "cloudwatch:DeleteAlarms",
    ],
)  # fmt: skip
def test_only_cloudformation_may_touch_what_the_stacks_own(action: str) -> None:
    (asked,) = {r.action: r for r in by_cloudformation() if r.action == action}.values()
    assert iam.allows(DEPLOY, asked)
    context = {key: value for key, value in asked.context.items() if key != "aws:calledvia"}
    assert not iam.allows(DEPLOY, replace(asked, context=context))
    other = {"aws:calledvia": ("athena.amazonaws.com",)}
    assert not iam.allows(DEPLOY, replace(asked, context=context | other))


def role(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


BOUNDED = {"iam:permissionsboundary": (BOUNDARY_ARN,)}
OTHER_BOUNDARY = {"iam:permissionsboundary": (f"arn:aws:iam::{ACCOUNT}:policy/other",)}


@pytest.mark.parametrize(
    "request_",
    [
        # itself, and what it may not become
        Request("iam:PutRolePolicy", role("cloudping-deploy"), BOUNDED),
        Request("iam:PutRolePermissionsBoundary", role("cloudping-deploy"), BOUNDED),
        Request("iam:UpdateAssumeRolePolicy", role("cloudping-image")),
        Request("iam:DeleteRole", role("cloudping-deploy")),
        Request("iam:DeleteRolePolicy", role("cloudping-deploy")),
        Request("iam:TagRole", role("cloudping-deploy")),
        Request("iam:UntagRole", role("cloudping-deploy")),
        Request("iam:CreatePolicyVersion", BOUNDARY_ARN),
        Request("iam:AttachRolePolicy", role("cloudping-probes-x-probe"), BOUNDED),
        Request("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/cloudping-home-writer"),
        # roles without the boundary, or of other names
        Request("iam:CreateRole", role("cloudping-probes-x-probe")),
        Request("iam:PutRolePolicy", role("cloudping-probes-x-probe"), OTHER_BOUNDARY),
        Request("iam:CreateRole", role("admin"), BOUNDED),
        Request("iam:DeleteRolePermissionsBoundary", role("cloudping-probes-x-probe")),
        Request(
            "iam:PassRole",
            role("cloudping-probes-x-probe"),
            {"iam:passedtoservice": ("ec2.amazonaws.com",)},
        ),
        # its own stack, others' stacks, others' functions
        Request(
            "cloudformation:UpdateStack",
            f"arn:aws:cloudformation:{HOME}:{ACCOUNT}:stack/cloudping-github/1",
        ),
        Request(
            "cloudformation:DeleteStack", f"arn:aws:cloudformation:{HOME}:{ACCOUNT}:stack/other/1"
        ),
        Request("lambda:DeleteFunction", f"arn:aws:lambda:{HOME}:{ACCOUNT}:function:other"),
        Request(
            "lambda:InvokeFunction",
            f"arn:aws:lambda:{HOME}:{ACCOUNT}:function:cloudping-probes-{HOME}-probe",
        ),
        # history
        Request("dynamodb:PutItem", f"arn:aws:dynamodb:{HOME}:{ACCOUNT}:table/PingTest"),
        Request("dynamodb:DeleteTable", f"arn:aws:dynamodb:{HOME}:{ACCOUNT}:table/PingTest"),
    ],
    ids=str,
)
def test_github_may_not(request_: Request) -> None:
    assert not iam.allows(DEPLOY, request_)


def test_each_action_that_the_deny_names_is_one_that_it_would_have() -> None:
    """Without `NotItself` every one of these would go through."""
    (at,) = [n for n, s in enumerate(iam.statements(DEPLOY[0])) if s["Effect"] == "Deny"]
    deny = iam.statements(DEPLOY[0])[at]
    without = [iam.without(DEPLOY[0], at), DEPLOY[1]]
    for action in deny["Action"]:
        for arn in deny["Resource"]:
            assert iam.allows(without, Request(action, arn, BOUNDED)), action
            assert not iam.allows(DEPLOY, Request(action, arn, BOUNDED)), action


def test_recovering_is_not_for_github(recorded: Recorded) -> None:
    """It writes into history: an operator's own rights are for that (docs/deploying.md)."""
    run = Request("dynamodb:PutItem", f"arn:aws:dynamodb:{HOME}:{ACCOUNT}:table/PingTest")
    said = denied(DEPLOY, [*recorded.recovering, run])
    actions, always = (
        {entry.split()[0] for entry in said},
        {"dynamodb:PutItem", "logs:FilterLogEvents"},
    )
    assert always <= actions <= always | {"dynamodb:Query"}  # of the index, once a run is logged


@pytest.mark.parametrize("prefix", ["", "a-prefix-of-20-chars"])
def test_policies_fit_iams_limits(prefix: str) -> None:
    """IAM user guide, "IAM and STS quotas": characters without white space."""
    stack = Stack("github-oidc.yaml", Repository="octo/ping", Prefix=prefix)

    def size(document: Any) -> int:
        return len(re.sub(r"\s", "", json.dumps(document)))

    for properties in stack.of_type("AWS::IAM::Role").values():
        assert sum(size(policy["PolicyDocument"]) for policy in properties["Policies"]) <= 10_240
        assert size(properties["AssumeRolePolicyDocument"]) <= 2_048
    for properties in stack.of_type("AWS::IAM::ManagedPolicy").values():
        assert size(properties["PolicyDocument"]) <= 6_144


# ---- who may assume GitHub's roles


def assumes(role_name: str, subject: str, stack: Stack = GITHUB) -> bool:
    trust = stack.of_type("AWS::IAM::Role")[role_name]["AssumeRolePolicyDocument"]
    (statement,) = trust["Statement"]
    as_identity = {"Statement": [{**statement, "Resource": "*"}]}
    as_identity["Statement"][0].pop("Principal")
    issuer = "token.actions.githubusercontent.com"
    context = {f"{issuer}:aud": ("sts.amazonaws.com",), f"{issuer}:sub": (subject,)}
    request = Request("sts:AssumeRoleWithWebIdentity", "*", context)
    return iam.allows([as_identity], request)


@pytest.mark.parametrize("repository", ["octo/ping", "octo@12/ping@345"])
def test_both_forms_of_the_subject_are_taken(repository: str) -> None:
    assert assumes("Role", f"repo:{repository}:environment:production")
    assert assumes("Role", f"repo:{repository}:environment:new-regions")
    assert assumes("ImageRole", f"repo:{repository}:ref:refs/heads/main")
    assert assumes("ImageRole", f"repo:{repository}:ref:refs/tags/v1.2")


@pytest.mark.parametrize(
    "subject",
    [
        "repo:octo@12/ping@346:environment:production",  # another repository of the same name
        "repo:octo@13/ping@345:environment:production",  # another owner
        "repo:octo@12/other@345:environment:production",
        "repo:octo/ping:environment:staging",
        "repo:octo/ping:ref:refs/heads/main",
        "repo:octo/ping:pull_request",
        "repo:octo/ping-fork:environment:production",
    ],
)
def test_nobody_else_deploys(subject: str) -> None:
    assert not assumes("Role", subject)


@pytest.mark.parametrize(
    "subject", ["repo:octo/ping:ref:refs/heads/other", "repo:octo@1/ping@345:ref:refs/heads/main"]
)
def test_nobody_else_pushes_images(subject: str) -> None:
    assert not assumes("ImageRole", subject)


def test_without_the_numbers_only_the_older_form_is_taken() -> None:
    stack = Stack("github-oidc.yaml", Repository="octo/ping")
    assert assumes("Role", "repo:octo/ping:environment:production", stack)
    assert not assumes("Role", "repo:octo@12/ping@345:environment:production", stack)
    assert not assumes("Role", "repo:octo@/ping@:environment:production", stack)


# ---- the functions and the site


def logs_of(app: App) -> list[Request]:
    """What Lambda asks for with the function's role, to write its log."""
    group = Installation().log_group(app, HOME)
    arn = f"arn:aws:logs:{HOME}:{ACCOUNT}:log-group:{group}:log-stream:2026/11/20/[$LATEST]1"
    return [Request("logs:CreateLogStream", arn), Request("logs:PutLogEvents", arn)]


def functions(recorded: Recorded) -> dict[App, list[Request]]:
    return {app: [*found, *logs_of(app)] for app, found in recorded.functions.items()}


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_a_function_may_do_what_it_does_and_nothing_is_idle(app: App, recorded: Recorded) -> None:
    policy = function_policy(app)
    needed = functions(recorded)[app]
    assert denied([policy], needed, BOUNDARY) == []
    assert statement_that_nobody_misses([policy], needed, BOUNDARY) == []
    assert idle(policy, needed) == []


def function_policy(app: App, stage: str = HOME) -> Document:
    return installation.policy(app, Installation(), stage)


def put_run(source: str) -> Request:
    table = f"arn:aws:dynamodb:{HOME}:{ACCOUNT}:table/PingTest"
    return Request("dynamodb:PutItem", table, {"dynamodb:leadingkeys": (source,)})


READ_SECRET = (
    Request(  # where the boundary is, a secret's name begins with the prefix and cloudping/
        "secretsmanager:GetSecretValue",
        f"arn:aws:secretsmanager:cn-north-1:{ACCOUNT}:secret:cloudping/home-a1b2c3",
    )
)


def test_a_probe_of_another_partition_reads_its_secret_within_the_boundary() -> None:
    foreign = Installation(home_credentials="cloudping/home")
    policy = installation.policy(PROBES, foreign, "cn-north-1")
    assert iam.allows([policy], READ_SECRET, BOUNDARY)
    other = replace(READ_SECRET, resource=READ_SECRET.resource.replace("home", "other"))
    assert not iam.allows([policy], other, BOUNDARY)


def writers() -> Iterator[tuple[str, Document, set[str]]]:
    """Everything that may write runs, and the sources whose runs those are."""
    for code in CATALOGUE:
        yield code, function_policy(PROBES, code), {code}
    foreign = {code for code, place in CATALOGUE.items() if place.partition != "aws"}
    operations = Stack("operations.yaml", OtherPartitions="true")
    user = operations.of_type("AWS::IAM::User")["HomeWriter"]
    yield "home writer", user["Policies"][0]["PolicyDocument"], foreign
    pair = Stack("pair.yaml", RecordSource="pair-a@us-east-2", RecordTarget="pair-b")
    record = pair.of_type("AWS::IAM::Policy")["MonitorRecords"]
    yield "pair", record["PolicyDocument"], {"pair-a"}


@pytest.mark.parametrize(
    ("policy", "own"), [w[1:] for w in writers()], ids=[w[0] for w in writers()]
)
def test_nobody_writes_the_runs_of_another_source(policy: Document, own: set[str]) -> None:
    for source in [*CATALOGUE, "pair-a", "pair-b"]:
        assert iam.allows([policy], put_run(source)) == (source in own), source
    table = f"arn:aws:dynamodb:{HOME}:{ACCOUNT}:table/PingTest"
    both = {"dynamodb:leadingkeys": (min(own), "eu-north-9")}
    assert not iam.allows([policy], Request("dynamodb:PutItem", table, both))
    assert not iam.allows([policy], Request("dynamodb:UpdateItem", table, both))


# The ECS agent, before the site runs: docs.aws.amazon.com/AmazonECS/latest/developerguide/
# task_execution_IAM_role.html
STARTING = [SIGN_IN, *PULL] + [
    Request(f"logs:{name}", f"arn:aws:logs:{HOME}:{ACCOUNT}:log-group:/ecs/cloudping:log-stream:s")
    for name in ("CreateLogStream", "PutLogEvents")
]


def site_policy(name: str) -> Document:
    (policy,) = STACKS[2].of_type("AWS::IAM::Role")[name]["Policies"]
    document: Document = policy["PolicyDocument"]
    return document


def test_the_site_may_read_what_it_reads_and_nothing_is_idle(recorded: Recorded) -> None:
    for name, needed in (("StartRole", STARTING), ("SiteRole", recorded.site)):
        policy = site_policy(name)
        assert denied([policy], needed, BOUNDARY) == []
        assert statement_that_nobody_misses([policy], needed, BOUNDARY) == []
        assert idle(policy, needed) == []


def test_nothing_of_the_boundary_is_idle(recorded: Recorded) -> None:
    needed = [*STARTING, *recorded.site]
    for found in functions(recorded).values():
        needed += found
    needed.append(READ_SECRET)
    assert statement_that_nobody_misses([BOUNDARY], needed) == []
    assert idle(BOUNDARY, needed) == []
