"""The pair's template and what its servers run, each judged by the program that will read it."""

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from moto import mock_aws

from cloudping.errors import CloudPingError
from infra.commands import pair
from tests.conftest import ROOT

REGION = "eu-west-1"
SERVERS = ("monitor", "target")


def arguments(*more: str, action: str = "deploy") -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    pair.add_arguments(parser)
    of_action = ["--image", "registry.example/monitor:1", "--viewers", "203.0.113.7/32"]
    return parser.parse_args(
        [action, *(of_action if action == "deploy" else []), "--region", REGION, *more]
    )


def needs(program: str) -> str:
    """The program's path; the test is skipped, with the reason, where it is not installed."""
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@dataclass(frozen=True)
class Deployed:
    """What a deployment left in the account: instances, launch template data, user data."""

    instances: list[dict[str, Any]]
    data: dict[str, dict[str, Any]]
    user_data: dict[str, str]
    groups: list[dict[str, Any]]


def deployed(*more: str) -> Deployed:
    """What `pair deploy` makes, on moto; launch templates by server."""
    import boto3

    with mock_aws():
        ec2 = boto3.client("ec2", region_name=REGION)
        ec2.create_key_pair(KeyName="key")
        assert pair.run(arguments(*more)) == 0
        found = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
        data, user_data = {}, {}
        for template in ec2.describe_launch_templates()["LaunchTemplates"]:
            (version,) = ec2.describe_launch_template_versions(
                LaunchTemplateId=template["LaunchTemplateId"]
            )["LaunchTemplateVersions"]
            content = version["LaunchTemplateData"]
            text = base64.b64decode(content["UserData"]).decode()
            server = "monitor" if "cloudping-monitor.service" in text else "target"
            data[server], user_data[server] = content, text
        return Deployed(found, data, user_data, ec2.describe_security_groups()["SecurityGroups"])


@pytest.fixture(scope="module")
def stack() -> Deployed:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        return deployed(
            "--ssh-key", "key", "--ssh-from", "198.51.100.0/24",
            "--record-source", "pair-a@eu-west-1", "--record-target", "pair-b", "--prefix", "t-",
        )  # fmt: skip


def files(stack: Deployed, server: str) -> dict[str, str]:
    content = yaml.safe_load(stack.user_data[server])
    return {entry["path"]: entry["content"] for entry in content["write_files"]}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pair") / "pair.yaml"
    file.write_text(pair.render())
    return file


# The template


def test_two_servers_in_two_subnets_with_an_address_each(stack: Deployed) -> None:
    first, second = stack.instances
    assert first["SubnetId"] != second["SubnetId"]
    assert first["Placement"]["AvailabilityZone"] != second["Placement"]["AvailabilityZone"]
    networks = {i["PrivateIpAddress"].rsplit(".", 1)[0] for i in stack.instances}
    assert networks == {"10.0.1", "10.0.2"}
    assert len({i["PublicIpAddress"] for i in stack.instances}) == 2


@pytest.mark.parametrize("server", SERVERS)
def test_servers_are_arm_with_encrypted_disks_and_imdsv2(stack: Deployed, server: str) -> None:
    data = stack.data[server]
    assert data["InstanceType"] == "t4g.micro" and data["KeyName"] == "key"
    assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert all(disk["Ebs"]["Encrypted"] for disk in data["BlockDeviceMappings"])


def test_ports_are_the_fewest(stack: Deployed) -> None:
    def ingress(name: str) -> set[tuple[int, str]]:
        (group,) = (g for g in stack.groups if g["Description"] == f"CloudPing {name}")
        return {
            (rule["FromPort"], source)
            for rule in group["IpPermissions"]
            for source in [
                *(entry["CidrIp"] for entry in rule["IpRanges"]),
                *("the monitor" for _ in rule["UserIdGroupPairs"]),
            ]
        }

    viewers, ssh = "203.0.113.7/32", (22, "198.51.100.0/24")
    assert ingress("monitor") == {(8000, viewers), ssh}
    assert ingress("target") == {(80, "the monitor"), (80, viewers), (443, viewers), ssh}


def test_no_ssh_unless_asked_for() -> None:
    plain = deployed()
    assert "KeyName" not in plain.data["monitor"]
    ports = {rule.get("FromPort") for g in plain.groups for rule in g["IpPermissions"]}
    assert 22 not in ports
    with pytest.raises(pair.PairError, match="SSH needs both"):
        pair.check(arguments("--ssh-key", "key"))


@pytest.mark.parametrize(
    ("instance_type", "architecture"),
    [
        ("t4g.micro", "arm64"),
        ("c7gn.large", "arm64"),
        ("t3.micro", "x86_64"),
        ("m7i.large", "x86_64"),
    ],
)
def test_the_servers_image_is_of_their_architecture(instance_type: str, architecture: str) -> None:
    found = pair.parameters(arguments("--instance-type", instance_type))
    assert found["ServerImage"].endswith(f"al2023-ami-kernel-default-{architecture}")


def test_the_monitors_settings_are_checked_before_anything_is_made() -> None:
    with pytest.raises(CloudPingError, match="CHECK_INTERVAL_SECONDS='0'"):
        pair.check(arguments("--interval", "0"))


@pytest.mark.parametrize(
    ("option", "value"), [("--viewers", "203.0.113"), ("--image", ""), ("--region", " ")]
)
def test_a_wrong_call_ends_with_code_2(option: str, value: str) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(option, value)
    assert ended.value.code == 2


def test_cfn_lint(rendered: Path) -> None:
    run(needs("cfn-lint"), rendered)


def test_checkov(rendered: Path) -> None:
    checkov = needs("checkov")
    said = run(checkov, "-f", rendered, "--framework", "cloudformation", "--skip-download",
               "--output", "json")  # fmt: skip
    summary = json.loads(said[said.index("{") :])["summary"]
    assert summary["failed"] == 0 and summary["passed"] >= 40


def test_the_template_fits_and_has_no_place_left_to_fill(rendered: Path, stack: Deployed) -> None:
    text = rendered.read_text()
    assert len(text.encode()) <= 51_200  # CloudFormation's limit for a template body
    assert "{{ " not in text
    assert not re.search(r"^[^#\n]*: [&*]\w", text, re.MULTILINE)  # CloudFormation: no YAML aliases
    for server in SERVERS:
        assert len(stack.user_data[server].encode()) <= 16_384  # EC2's limit
        assert "${" not in stack.user_data[server]


# What the servers run


@pytest.mark.parametrize("server", SERVERS)
def test_cloud_init_schema(stack: Deployed, tmp_path: Path, server: str) -> None:
    cloud_init = needs("cloud-init")
    file = tmp_path / "user-data"
    file.write_text(stack.user_data[server])
    assert "Valid cloud-config" in run(cloud_init, "schema", "--config-file", file)


def test_every_file_arrives_as_it_is(stack: Deployed) -> None:
    arrived = files(stack, "target")
    for name in ("nginx.conf", "listen.conf", "pages/index.html", "pages/metrics.txt"):
        original = (ROOT / "infra" / "servers" / "target" / name).read_text()
        assert arrived[f"/srv/cloudping-target/{name}"] == original


def test_the_monitor_gets_settings_that_it_takes(stack: Deployed) -> None:
    from monitor.settings import load

    text = files(stack, "monitor")["/etc/cloudping-monitor.env"]
    environment = dict(line.split("=", 1) for line in text.splitlines())
    settings = load(environment)
    (target,) = settings.targets
    (instance,) = (i for i in stack.instances if i["PrivateIpAddress"].startswith("10.0.2."))
    assert (target.host, target.code) == (instance["PrivateIpAddress"], "pair-b")
    assert (settings.interval_s, settings.timeout_s, settings.source) == (5, 3, "pair-a")
    assert environment["CLOUDPING_PREFIX"] == "t-"


def test_the_logs_go_to_the_stacks_group(stack: Deployed) -> None:
    for server in SERVERS:
        agent = json.loads(
            files(stack, server)["/opt/aws/amazon-cloudwatch-agent/etc/cloudping.json"]
        )
        collected = agent["logs"]["logs_collected"]["files"]["collect_list"]
        assert {entry["log_group_name"] for entry in collected} == {"/cloudping/cloudping-pair"}
    unit = files(stack, "monitor")["/etc/systemd/system/cloudping-monitor.service"]
    assert "--log-opt awslogs-group=/cloudping/cloudping-pair " in unit


@pytest.fixture
def units(stack: Deployed, tmp_path: Path) -> dict[str, Path]:
    """The units as they arrive, their programs replaced by one that every machine has."""
    found = {}
    for server in SERVERS:
        for path, text in files(stack, server).items():
            if path.startswith("/etc/systemd/system/"):
                unit = tmp_path / Path(path).name
                unit.write_text(
                    re.sub(r"(=-?)/usr/(s?bin)/(docker|nginx|openssl)", r"\1/bin/true", text)
                )
                found[unit.name] = unit
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    return found


def test_systemd_verify(units: dict[str, Path]) -> None:
    systemd_analyze = needs("systemd-analyze")
    assert len(units) == 3
    docker = units["cloudping-monitor.service"].with_name("docker.service")
    said = run(systemd_analyze, "verify", "--man=no", "--recursive-errors=no",
               *units.values(), docker)  # fmt: skip
    assert said == ""


def test_systemd_security(units: dict[str, Path]) -> None:
    systemd_analyze = needs("systemd-analyze")
    for unit in units.values():
        # 0 is nothing exposed, 10 everything; systemd calls up to 2.0 "OK".
        said = run(systemd_analyze, "security", "--offline=true", "--threshold=20", unit)
        exposure = re.search(r"exposure level for \S+: (\d\.\d)", said)
        assert exposure and float(exposure[1]) <= 2.0


# pair status


class Monitor(BaseHTTPRequestHandler):
    """A monitor's answers as they are on the wire."""

    code = 200

    def do_GET(self) -> None:
        latency = {"latest_latency_ms": 0.412, "loss_pct": 0.0, "attempts": 60, "p50_ms": 0.4,
                   "last_error_message": "refused: 10.0.2.10:80"}  # fmt: skip
        health = {"status": "ok" if self.code == 200 else "failing"}
        is_health = self.path == "/health"
        self.send_response(self.code if is_health else 200)
        self.end_headers()
        self.wfile.write(json.dumps(health if is_health else latency).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def monitor_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Monitor) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Described:
    """A CloudFormation client that knows one complete stack."""

    def __init__(self, url: str) -> None:
        self._url = url

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        output = {"OutputKey": "MonitorUrl", "OutputValue": self._url}
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": [output]}]}


def test_status_shows_the_newest_figure(
    monitor_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pair.status(Described(monitor_url), arguments(action="status")) == 0
    said = capsys.readouterr().out
    assert "0.412 ms" in said and said.endswith("healthy\n")


def test_status_says_what_is_wrong(monitor_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Monitor, "code", 503)
    with pytest.raises(pair.PairError, match=r"the monitor is failing: refused: 10\.0\.2\.10"):
        pair.status(Described(monitor_url), arguments(action="status"))
    with pytest.raises(pair.PairError, match="does not answer"):
        pair.status(Described("http://127.0.0.1:9/"), arguments(action="status"))


def test_destroy_deletes_the_stack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3

    # moto cannot delete a VPC by a stack; that a stack is deleted is what is ours to show.
    only = "Resources: {Log: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: pair}}}"
    monkeypatch.setattr(pair, "render", lambda: only)
    with mock_aws():
        logs = boto3.client("logs", REGION)
        assert pair.run(arguments()) == 0
        assert logs.describe_log_groups()["logGroups"]
        assert pair.run(arguments(action="destroy")) == 0
        assert not logs.describe_log_groups()["logGroups"]
        with pytest.raises(pair.PairError, match="there is no stack cloudping-pair"):
            pair.run(arguments(action="status"))
        assert pair.run(arguments(action="destroy")) == 0
    assert capsys.readouterr().out.endswith("cloudping-pair: there is none in eu-west-1\n")


# Docker


def test_compose_names_what_there_is() -> None:
    from monitor.settings import TABLE, load

    content = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for service in content["services"].values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in content["volumes"] or (ROOT / source).exists(), source
    for name, service in content["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if "build" in service:
            assert "\nUSER 10001\n" in (ROOT / service["build"]["dockerfile"]).read_text()
        elif "ports" in service:
            assert int(service["user"].split(":")[0]) > 0, name
        else:  # makes the certificate as the volume's owner, without a network, and ends
            assert service["network_mode"] == "none", name
    monitor = content["services"]["monitor"]
    assert set(monitor["environment"]) <= {setting.env for setting in TABLE}
    assert load(monitor["environment"]).targets[0].host in content["services"]
    assert (ROOT / monitor["build"]["dockerfile"]).exists()
    for port in (p for s in content["services"].values() for p in s.get("ports", ())):
        assert port.startswith("127.0.0.1:")
