"""The two-server pair in AWS: deploy it, show how it is, destroy it (docs/pair.md)."""

import argparse
import ipaddress
import json
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from cloudping.errors import CloudPingError
from cloudping.regions import region
from infra import ROOT, TEMPLATES
from infra.aws import image, stacks, zones

TEMPLATE = TEMPLATES / "pair.yaml"
TAGS = {"Project": "cloudping", "Installation": "the pair"}  # as no installation can be called
SERVERS = ROOT / "infra" / "servers"
# Amazon Linux 2023 by what the instance types' names say: a "g" after the generation is Graviton.
_IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
_PLACEHOLDER = re.compile(r"^( *)\{\{ (\S+) \}\}\n", re.MULTILINE)


class PairError(CloudPingError):
    """The pair is not there, or does not answer as it should."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    deploy = actions.add_parser("deploy", help="create the pair or bring it up to date")
    deploy.add_argument("--image", required=True, type=_given, help="the monitor's container image")
    deploy.add_argument(
        "--viewers",
        required=True,
        type=_network,
        metavar="CIDR",
        help="who may see the pages: 203.0.113.7/32, or 0.0.0.0/0 for everybody",
    )
    deploy.add_argument("--instance-type", default="t4g.micro", help="of both (t4g.micro)")
    deploy.add_argument("--interval", default="5", metavar="S", help="seconds (5)")
    deploy.add_argument("--timeout", default="3", metavar="S", help="seconds (3)")
    deploy.add_argument("--ssh-key", default="", metavar="NAME", help="an EC2 key pair, for SSH")
    deploy.add_argument(
        "--ssh-from", type=_network, metavar="CIDR", help="from where SSH is allowed"
    )
    deploy.add_argument(
        "--record-source", default="", metavar="CODE@REGION", help="write runs to PingTest as this"
    )
    deploy.add_argument(
        "--record-target", default="", metavar="CODE", help="the target's code in PingTest"
    )
    deploy.add_argument("--home-region", default="us-east-2", help="PingTest's region (us-east-2)")
    deploy.add_argument("--prefix", default="", help="of the tables' names")
    status = actions.add_parser("status", help="the stack, the URLs, the newest figure")
    destroy = actions.add_parser("destroy", help="delete the pair and everything of it")
    for action in (deploy, status, destroy):
        action.add_argument(
            "--region", required=True, type=_given, help="where the pair is, e.g. eu-west-1"
        )
        action.add_argument("--name", default="cloudping-pair", help="its stack (cloudping-pair)")


def _given(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: `make` takes it as PAIR_REGION=, IMAGE=")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no IPv4 range ({error}); `make` takes it as VIEWERS=203.0.113.7/32"
        ) from None


def run(args: argparse.Namespace) -> int:
    import boto3

    client = boto3.client("cloudformation", region_name=region(args.region).code)
    if args.action == "deploy":
        return deploy(client, args)
    if args.action == "destroy":
        found = stacks.delete(client, args.name, TAGS)
        print(f"{args.name}: {'destroyed' if found else 'there is none'} in {args.region}")
        return 0
    return status(client, args)


def render() -> str:
    """The complete template: each `{{ file }}` line becomes that file of infra/servers/."""
    return _filled(TEMPLATE.read_text())


def _filled(text: str) -> str:
    def content(found: re.Match[str]) -> str:
        indent, name = found.groups()
        lines = _filled((SERVERS / name).read_text()).splitlines()
        return "".join(f"{indent}{line}".rstrip() + "\n" for line in lines)

    return _PLACEHOLDER.sub(content, text)


def parameters(args: argparse.Namespace) -> dict[str, str]:
    family = args.instance_type.partition(".")[0]
    architecture = "arm64" if re.fullmatch(r"[a-z]+[0-9]+g[a-z]*", family) else "x86_64"
    return {
        "MonitorImage": args.image,
        "ViewerCidr": args.viewers,
        "InstanceType": args.instance_type,
        "ServerImage": _IMAGE.format(architecture),
        "IntervalSeconds": args.interval,
        "TimeoutSeconds": args.timeout,
        "SshKeyName": args.ssh_key,
        "SshCidr": args.ssh_from or "",
        "RecordSource": args.record_source,
        "RecordTarget": args.record_target,
        "HomeRegion": args.home_region,
        "TablePrefix": args.prefix,
    }


def deploy(client: Any, args: argparse.Namespace) -> int:
    check(args)
    with TemporaryDirectory(prefix="cloudping-pair-") as folder:
        template = Path(folder) / "pair.yaml"
        template.write_text(render())
        wanted = parameters(args) | pair_zones(client, args, template)
        keep_image(args)
        outcome = stacks.apply(client, args.name, template, wanted, TAGS)
    print(f"{args.name}: {outcome} in {args.region}")
    stack = stacks.describe(client, args.name)
    show(stacks.outputs(stack or {}))
    if outcome != "unchanged":
        print("The servers take two or three minutes to install what they run.")
    return 0


def keep_image(args: argparse.Namespace) -> None:
    """Keeps the monitor's image from expiring where it is in this account's registry."""
    import boto3

    number = boto3.client("sts", region_name=args.region).get_caller_identity()["Account"]
    image.keep(
        number,
        lambda service, code: boto3.client(service, region_name=code),
        args.image,
        f"deployed-{args.region}-{args.name}",
    )


def pair_zones(client: Any, args: argparse.Namespace, template: Path) -> dict[str, str]:
    """The zones of a pair that is there, which it keeps; for a new one, two that have its type."""
    import boto3

    if stacks.describe(client, args.name) is not None:
        kept = stacks.kept(client, args.name, template)
        return {key: value for key, value in kept.items() if key in ("ZoneA", "ZoneB")}
    ec2 = boto3.client("ec2", region_name=args.region)
    first, second = zones.for_instances(ec2, args.region, args.instance_type)
    return {"ZoneA": first, "ZoneB": second}


def check(args: argparse.Namespace) -> None:
    """Raises for what cannot work, before anything is created; the monitor's settings by itself."""
    if bool(args.ssh_key) != bool(args.ssh_from):
        raise PairError("SSH needs both --ssh-key and --ssh-from; Session Manager needs neither")
    sys.path.append(str(ROOT / "probes"))
    from monitor.settings import load

    load(
        {
            "TARGET_HOST": "10.0.2.10",
            "CHECK_INTERVAL_SECONDS": args.interval,
            "CONNECT_TIMEOUT_SECONDS": args.timeout,
            "RECORD_SOURCE": args.record_source,
            "RECORD_TARGETS": args.record_target,
        }
    )


def status(client: Any, args: argparse.Namespace) -> int:
    """0 when the monitor says that it is healthy; raises PairError otherwise."""
    stack = stacks.describe(client, args.name)
    if stack is None:
        raise PairError(f"there is no stack {args.name} in {args.region}; `pair deploy` makes it")
    print(f"{args.name}: {stack['StackStatus']} in {args.region}")
    outputs = stacks.outputs(stack)
    show(outputs)
    if "MonitorUrl" not in outputs:
        raise PairError(f"{args.name} is not complete; CloudFormation's events say why")
    monitor = outputs["MonitorUrl"]
    latency, _ = fetch(f"{monitor}latency")
    figure = latency["latest_latency_ms"]
    print(f"latency: {'none yet' if figure is None else f'{figure:.3f} ms'}", end="")
    print(f", loss {latency['loss_pct']} % of {latency['attempts']}, P50 {latency['p50_ms']} ms")
    health, code = fetch(f"{monitor}health")
    if code != 200:
        raise PairError(f"the monitor is {health['status']}: {latency['last_error_message']}")
    print("healthy")
    return 0


def show(outputs: dict[str, str]) -> None:
    for name, value in outputs.items():
        print(f"  {name}: {value}")


def fetch(url: str) -> tuple[dict[str, Any], int]:
    """A JSON answer of the monitor and its code; 503 is an answer as well."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - the stack's own output
            return json.load(answer), answer.status
    except HTTPError as error:
        with error:
            return json.load(error), error.code
    except (OSError, ValueError) as error:
        raise PairError(
            f"{url} does not answer ({error}): it may still be installing, you may be outside "
            "--viewers, or see docs/pair.md"
        ) from error
