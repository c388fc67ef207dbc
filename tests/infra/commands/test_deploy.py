"""deploy, status and destroy on the local AWS: from nothing, again, after a kill, and away."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest

from cloudping.regions import CATALOGUE, RegionTable
from cloudping.runs import RunTable
from cloudping.times import utc_now
from infra import TEMPLATES
from tests.conftest import HOME_REGION, ROOT, scheduled_event
from tests.infra import ministack

log = logging.getLogger(__name__)

THREE = ("ap-southeast-2", "eu-west-1", HOME_REGION)
COMMERCIAL = tuple(code for code, place in CATALOGUE.items() if place.partition == "aws")
SITE = ("--image", "registry.invalid/cloudping:1", "--max-tasks", "1")  # nothing is pulled here


class Operator:
    """Somebody with an account: runs `python -m infra`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment | ministack.FAST

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "infra", *words]

    def run(self, *words: str, expected: int = 0, **environment: str) -> str:
        done = subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout + done.stderr

    def everything(self, prefix: str = "") -> dict[str, list[str]]:
        return ministack.everything(self.environment, prefix)

    def client(self, service: str, region: str = HOME_REGION) -> Any:
        return ministack.client(self.environment, service, region)

    def kill_deploy_after(self, said: str, *words: str) -> None:
        """Starts a deployment and kills it and its children when it has said something."""
        with TemporaryDirectory(ignore_cleanup_errors=True) as left:  # nobody else removes it
            process = subprocess.Popen(
                self.command(*words),
                cwd=ROOT,
                env=self.environment | {"TMPDIR": left},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            assert process.stdout is not None
            with process.stdout as output:
                heard = next((line for line in output if re.search(said, line)), None)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        assert heard is not None, f"deploy never said {said}"

    def wait_for_fresh(self, timeout_s: float) -> dict[str, Any]:
        """The status once all is well; fails with the problems when time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            done = subprocess.run(
                self.command("status", "--json"),
                cwd=ROOT,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode in (0, 3), done.stderr
            status: dict[str, Any] = json.loads(done.stdout)
            assert (done.returncode == 0) == status["healthy"]
            if status["healthy"]:
                return status
            assert time.monotonic() < deadline, status["problems"]
            time.sleep(3)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with ministack.local_aws(tmp_path) as environment:
        yield Operator(environment)


def regions(codes: tuple[str, ...]) -> tuple[str, str]:
    return "--regions", ",".join(codes)


def test_deploy_again_kill_status_and_destroy(operator: Operator) -> None:
    """The life of an installation with three sources."""
    assert "nothing was there" in operator.run("destroy", "--yes", "--tables")
    arguments = ("deploy", *regions(THREE), *SITE)
    planned = operator.run(*arguments, "--dry-run")
    assert "probes: 3 of 3 to deploy" in planned
    assert not any(operator.everything().values())

    refused = operator.run(*arguments, expected=1)
    assert "say --yes" in refused
    assert not any(operator.everything().values())

    operator.kill_deploy_after(r"probes \S+: deployed \(1 of 3\)", *arguments, "--yes")
    finished = operator.run(*arguments, "--yes")
    assert "no change" not in finished
    assert "probes: 3 of 3 to deploy" not in finished  # what was done is not done again
    assert "stack cloudping-tables unchanged" in finished
    found = operator.everything()
    expected_functions = {f"{code} cloudping-probes-{code}-probe" for code in THREE} | {
        f"{HOME_REGION} cloudping-aggregator-{HOME_REGION}-aggregate",
        f"{HOME_REGION} cloudping-watch-{HOME_REGION}-regions",
    }
    assert set(found["functions"]) == expected_functions
    assert len(found["rules"]) == len(found["functions"]) == 5
    assert len(found["roles"]) == 5 + 2  # and those of the front end
    assert len(found["log groups"]) == 5 + 1

    before = now_deployed(operator)
    again = operator.run(*arguments, "--yes")
    assert "no change: everything is as it should be" in again
    assert now_deployed(operator) == before

    unprotected = operator.run("status", expected=3)
    assert "table PingTest: has no point-in-time recovery, lets no run expire" in unprotected
    ministack.put_right(operator.environment)
    status = operator.wait_for_fresh(150)
    assert {source["region"] for source in status["sources"]} == set(THREE)
    for source in status["sources"]:
        assert source["attempts"] == 5 * len(CATALOGUE)
        assert source["function"]["schedule"].startswith("cron(")
    assert status["site"]["running"] == status["site"]["wanted"] == 1
    assert "all is well" in operator.run("status")

    kept = operator.run("destroy", "--yes")
    assert "5 functions removed" in kept
    left = operator.everything()
    assert left["stacks"] == ["cloudping-tables"]
    assert len(left["tables"]) == 6
    assert not any(left[kind] for kind in ("functions", "rules", "roles", "log groups"))

    assert "6 tables removed" in operator.run("destroy", "--yes", "--tables")
    assert not any(operator.everything().values())


def now_deployed(operator: Operator) -> dict[str, str]:
    """When each function was last changed."""
    return {
        entry["FunctionName"]: entry["LastModified"]
        for code in THREE
        for entry in operator.client("lambda", code).list_functions()["Functions"]
    }


@pytest.mark.slow
def test_a_change_reaches_what_it_concerns_and_a_new_region_is_picked_up(
    operator: Operator,
) -> None:
    one, two = THREE[:1], THREE[:2]
    operator.run("deploy", *regions(one), "--no-frontend", "--yes")
    added = operator.run("deploy", *regions(two), "--no-frontend", "--yes")
    assert f"probes: 1 of 2 to deploy: {two[1]}" in added
    assert "aggregator: 1 of 1 unchanged" in added

    client = operator.client("events", one[0])
    client.disable_rule(Name=f"cloudping-probes-{one[0]}-probe-event")
    seen = operator.run("status", expected=3)
    assert f"{one[0]}: its rule is disabled; run deploy" in seen
    mended = operator.run("deploy", *regions(two), "--no-frontend", "--yes")
    assert f"probes: 1 of 2 to deploy: {one[0]}" in mended

    changed = operator.run(
        "deploy", *regions(two), "--no-frontend", "--dry-run", PROBE_ATTEMPTS="3"
    )
    assert "probes: 2 of 2 to deploy" in changed
    assert "setting PROBE_ATTEMPTS: 5 -> 3" in changed
    operator.run("deploy", *regions(two), "--no-frontend", "--yes", PROBE_ATTEMPTS="3")
    nothing_said: dict[str, Any] = dict.fromkeys(
        ministack.FAST, ""
    )  # as from another machine, or a workflow
    dry = ("deploy", *regions(two), "--no-frontend", "--dry-run")
    kept = operator.run(*dry, **nothing_said)
    assert "probes: 2 of 2 unchanged" in kept
    assert "setting PROBE_ATTEMPTS=3" in kept
    assert "setting PROBE_ATTEMPTS: 3 -> 5" in operator.run(
        *dry, "--reset", "PROBE_ATTEMPTS", **nothing_said
    )
    away = operator.run(*dry[:-1], "--yes", "--exclude", "me-south-1", **nothing_said)
    assert "setting CLOUDPING_EXCLUDE: none -> me-south-1" in away
    targets = {state.region.code for state in RegionTable(operator.client("dynamodb")).targets()}
    assert CATALOGUE.keys() - targets == {"me-south-1"}
    assert "me-south-1: excluded" in operator.run(
        "deploy", "--regions", "me-south-1", "--yes", expected=1, **nothing_said
    )
    operator.run(*dry[:-1], "--yes", "--exclude", "none", **nothing_said)
    targets = {state.region.code for state in RegionTable(operator.client("dynamodb")).targets()}
    assert targets == CATALOGUE.keys()

    table = RegionTable(operator.client("dynamodb"))
    assert {state.region.code for state in table.sources()} == set(two)
    operator.run("destroy", *regions(one), "--yes")
    assert {state.region.code for state in table.sources()} == {two[1]}


class Refusal(BaseHTTPRequestHandler):
    """Stands before the local AWS and refuses one region, as an account's policy may."""

    protocol_version = "HTTP/1.1"
    upstream: ClassVar[str]
    refused: ClassVar[str]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        status, content, answered = 403, b'{"message": "denied by an SCP"}', Message()
        answered["x-amzn-ErrorType"] = "AccessDeniedException"
        # Those that answer in JSON; IAM is global and never refused by region.
        denied = rf"/{self.refused}/(lambda|events|logs)/"
        if not re.search(denied, self.headers.get("Authorization", "")):
            host, port = self.upstream.removeprefix("http://").split(":")
            connection = HTTPConnection(host, int(port), timeout=60)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            status, content, answered = answer.status, answer.read(), answer.headers
            connection.close()
        self.send_response(status)
        for name, value in answered.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, *_: Any) -> None:
        """Says nothing: pytest shows what matters."""


@contextmanager
def refusing(environment: dict[str, str], region: str) -> Iterator[str]:
    """The URL of an AWS that refuses a region."""
    handler = type(
        "Handler", (Refusal,), {"upstream": environment["AWS_ENDPOINT_URL"], "refused": region}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_a_region_that_fails_does_not_stop_the_others(operator: Operator) -> None:
    bad, good = THREE[0], THREE[1]
    iam = operator.client("iam")
    bound = {"Effect": "Allow", "Action": "dynamodb:Query", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [bound]})
    iam.create_policy(PolicyName="cloudping-boundary", PolicyDocument=policy)
    arguments = ("deploy", *regions((bad, good)), "--no-frontend", "--yes")
    with refusing(operator.environment, bad) as url:
        said = operator.run(*arguments, expected=1, AWS_ENDPOINT_URL=url)
    assert re.search(rf"FAILED probes {bad}: .*AccessDenied", said)
    assert "1 part failed, the rest is in place" in said
    assert f"{good} cloudping-probes-{good}-probe" in operator.everything()["functions"]
    table = RegionTable(operator.client("dynamodb"))
    assert {state.region.code for state in table.sources()} == {good}
    # Where github-oidc.yaml has made it, no role goes without the permissions boundary.
    role = iam.get_role(RoleName=f"cloudping-probes-{good}-probe")["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith("cloudping-boundary")

    operator.run(*arguments)
    assert {state.region.code for state in table.sources()} == {bad, good}


@pytest.mark.slow
def test_two_prefixes_in_one_account_never_meet(operator: Operator) -> None:
    arguments = ("deploy", *regions((HOME_REGION,)), "--no-frontend", "--yes")
    operator.run(*arguments)
    alone = operator.everything()
    operator.run(*arguments, "--prefix", "blue-")
    assert "no change" in operator.run(*arguments)
    blue = operator.everything("blue-")
    assert {kind: len(names) for kind, names in blue.items() if kind != "tables"} == {
        "functions": 3, "rules": 3, "log groups": 3, "roles": 3, "stacks": 2,
    }  # fmt: skip
    policy = operator.client("iam").get_role_policy(
        RoleName=f"blue-cloudping-probes-{HOME_REGION}-probe",
        PolicyName=f"blue-cloudping-probes-{HOME_REGION}-probe",
    )["PolicyDocument"]
    assert "table/PingTest" not in json.dumps(policy)

    # Runs that end late: they bring nothing back, but for the log group that MiniStack makes.
    for name in blue["functions"]:
        operator.client("lambda").invoke(
            FunctionName=name.split()[1],
            InvocationType="Event",
            Payload=json.dumps(scheduled_event(HOME_REGION, utc_now(), {})),
        )
    operator.run("destroy", "--prefix", "blue-", "--yes", "--tables")
    assert operator.everything() == alone
    assert not any(
        names for kind, names in operator.everything("blue-").items() if kind != "tables"
    )


@pytest.mark.slow
def test_a_source_in_another_partition_writes_home(operator: Operator) -> None:
    """Two accounts, as partitions have them; the probe writes with a key from its own secret."""
    operator.run("deploy", *regions((HOME_REGION,)), "--no-frontend", "--home-writer", "--yes")
    assert operator.client("iam").get_user(UserName="cloudping-home-writer")

    china = Operator(operator.environment | {"AWS_ACCESS_KEY_ID": "222222222222"})
    arguments = ("deploy", "--regions", "cn-north-1", "--yes")
    assert "needs --home-credentials SECRET" in china.run(*arguments, expected=1)
    key = {"access_key_id": "111111111111", "secret_access_key": "testing"}
    china.client("secretsmanager", "cn-north-1").create_secret(
        Name="cloudping/home", SecretString=json.dumps(key)
    )
    said = china.run(*arguments, "--home-credentials", "cloudping/home")
    assert "probes cn-north-1: deployed (1 of 1)" in said
    found = china.everything()
    assert found["functions"] == ["cn-north-1 cloudping-probes-cn-north-1-probe"]
    assert not found["tables"]
    assert not found["stacks"]

    answer = china.client("lambda", "cn-north-1").invoke(
        FunctionName="cloudping-probes-cn-north-1-probe",
        Payload=json.dumps(scheduled_event("cn-north-1", utc_now(), {})),
    )
    assert "FunctionError" not in answer, answer["Payload"].read()
    written = RunTable(operator.client("dynamodb")).latest("cn-north-1", utc_now())
    assert written is not None
    assert written.partition == "aws-cn"

    answer = operator.client("lambda").invoke(
        FunctionName=f"cloudping-watch-{HOME_REGION}-regions",
        Payload=json.dumps(scheduled_event(HOME_REGION, utc_now(), {})),
    )
    assert json.load(answer["Payload"])["sources_added"] == ["cn-north-1"]
    ministack.put_right(operator.environment)
    status = operator.wait_for_fresh(150)
    assert [source["region"] for source in status["sources"]] == ["cn-north-1", HOME_REGION]
    assert "1 function removed" in china.run("destroy", "--regions", "cn-north-1", "--yes")
    assert not any(china.everything().values())


@pytest.mark.slow
def test_tables_without_their_stack_are_refused_then_taken_in(operator: Operator) -> None:
    """docs/deploying.md#tables-without-their-stack; also the end of a move of the home."""
    arguments = ("deploy", *regions((HOME_REGION,)), "--no-frontend", "--yes")
    operator.run(*arguments)
    for words in (arguments, ("destroy", "--yes", "--tables")):
        refused = operator.run(*words, expected=1, CLOUDPING_HOME_REGION="eu-west-1")
        assert f"is at home in {HOME_REGION}, not in eu-west-1" in refused
    before = operator.everything()
    assert len(before["functions"]) == 3

    formation = operator.client("cloudformation")
    formation.delete_stack(StackName="cloudping-tables")
    formation.get_waiter("stack_delete_complete").wait(
        StackName="cloudping-tables", WaiterConfig={"Delay": 1}
    )
    assert operator.everything()["tables"] == before["tables"]
    refused = operator.run(*arguments, expected=1)
    assert "docs/deploying.md#tables-without-their-stack" in refused
    assert "PingTest" in refused

    names = {
        "PingTest": "PingTest", "Regions": "cloudping_regions",
        "Distributions": "cloudping_distributions", "StoredAverages": "cloudping_stored_avgs",
        "History": "cloudping_history",
        "Changes": "cloudping_changes",
    }  # fmt: skip
    formation.create_change_set(
        StackName="cloudping-tables",
        ChangeSetName="adopt",
        ChangeSetType="IMPORT",
        TemplateBody=(TEMPLATES / "tables.yaml").read_text(),
        ResourcesToImport=[
            {
                "ResourceType": "AWS::DynamoDB::Table",
                "LogicalResourceId": logical,
                "ResourceIdentifier": {"TableName": name},
            }
            for logical, name in names.items()
        ],
    )  # fmt: skip
    formation.get_waiter("change_set_create_complete").wait(
        StackName="cloudping-tables", ChangeSetName="adopt", WaiterConfig={"Delay": 1}
    )
    formation.execute_change_set(StackName="cloudping-tables", ChangeSetName="adopt")
    formation.get_waiter("stack_import_complete").wait(
        StackName="cloudping-tables", WaiterConfig={"Delay": 1}
    )
    assert "somebody else's" in operator.run(*arguments, expected=1)  # an import takes no tags
    tags = {"Project": "cloudping", "Installation": "default"}
    formation.update_stack(
        StackName="cloudping-tables",
        UsePreviousTemplate=True,
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    operator.run(*arguments)
    assert operator.everything() == before
    assert "6 tables removed" in operator.run("destroy", "--yes", "--tables")
    assert not any(operator.everything().values())


@pytest.mark.slow
def test_every_region_from_nothing(operator: Operator) -> None:
    arguments = ("deploy", *regions(COMMERCIAL), *SITE, "--yes")
    assert len(COMMERCIAL) == 34
    began = time.monotonic()
    operator.run(*arguments)
    # A figure to read, not to assert on: machines are shared. `pytest -rP` shows it.
    log.info("deployed %d regions in %.0f s", len(COMMERCIAL), time.monotonic() - began)
    found = operator.everything()
    assert {kind: len(names) for kind, names in found.items()} == {
        "functions": 36, "rules": 36, "log groups": 37, "roles": 38, "stacks": 3, "tables": 6,
    }  # fmt: skip
    assert "no change" in operator.run(*arguments)

    operator.run("destroy", "--yes")
    operator.kill_deploy_after(r"probes \S+: deployed \(17 of 34\)", *arguments)
    assert "no change" not in operator.run(*arguments)
    assert operator.everything()["functions"] == found["functions"]
    ministack.put_right(operator.environment)
    status = operator.wait_for_fresh(300)
    assert len(status["sources"]) == 34

    operator.run("destroy", "--yes", "--tables")
    assert not any(operator.everything().values())
