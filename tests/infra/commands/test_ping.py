"""`python -m infra ping`: what it measures, prints and returns."""

import argparse
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from chalicelib.sweep import Plan, SweepResult, Target, measure

from cloudping.errors import CloudPingError, UnknownRegionError
from cloudping.regions import CATALOGUE
from cloudping.runs import METHOD_CONNECT, METHOD_KERNEL, Attempt, TargetResult
from infra.__main__ import main
from infra.commands import ping
from tests.testbed import bed
from tests.testbed.bed import Bed
from tests.testbed.rules import Name, Rule, addresses

FAST = (Attempt(10.0, 10.2), Attempt(12.0, 12.1), Attempt(11.0, 11.3))
LOSSY = (Attempt(5.0, 5.1), Attempt(None, 1005.0, 1, "retransmitted"), Attempt(7.0, 7.1))
DEAD = (Attempt(None, reason="timeout"),) * 3


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    ping.add_arguments(parser)
    return parser.parse_args(words)


def measured(method: str = METHOD_KERNEL, **results: tuple[Attempt, ...]) -> SweepResult:
    return SweepResult(
        results={
            code.replace("_", "-"): TargetResult("host", ("192.0.2.1",), 2.0, attempts)
            for code, attempts in results.items()
        },
        method=method,
        started_at=datetime(2026, 11, 20, 6, tzinfo=UTC),
        dns_errors={},
    )


def test_table_is_sorted_by_median_and_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = measured(us_east_1=FAST, af_south_1=DEAD, eu_west_1=LOSSY)
    assert ping.run(arguments("--attempts", "3"), lambda *_: outcome) == 0
    head, first, second, third, how = capsys.readouterr().out.splitlines()
    assert head.split() == ["region", "name", "median", "min", "max", "loss", "address"]
    assert re.split(r"\s{2,}", first) == [
        "eu-west-1", "Europe (Ireland)", "6.00", "5.00", "7.00", "33 %", "192.0.2.1",
        "1 x retransmitted",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", second)[:3] == ["us-east-1", "US East (N. Virginia)", "11.00"]
    assert re.split(r"\s{2,}", third)[2:] == ["-", "-", "-", "100 %", "192.0.2.1", "3 x timeout"]
    assert how == "ms over IPv4, 3 connects each; kernel-1: the kernel's SYN round trip"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = measured(METHOD_CONNECT, eu_west_1=LOSSY)
    assert ping.run(arguments("--json", "--family", "6"), lambda *_: outcome) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["method"], content["family"]) == ("connect-1", "IPv6")
    (region,) = content["regions"]
    assert region["region"] == "eu-west-1"
    assert region["attempts_ms"] == [5.0, None, 7.0]
    assert (region["median_ms"], region["loss_pct"], region["why"]) == (
        6.0, 33.333, "1 x retransmitted",
    )  # fmt: skip


def test_no_answer_at_all_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CloudPingError, match="none of 1 regions answered"):
        ping.run(arguments(), lambda *_: measured(us_east_1=DEAD))
    assert "3 x timeout" in capsys.readouterr().out


def test_whole_catalogue_by_default_and_one_family() -> None:
    seen: dict[str, Any] = {}

    def over_network(targets: Mapping[str, Target], plan: Plan) -> SweepResult:
        seen.update(targets=targets, plan=plan)
        return measured(us_east_1=FAST)

    ping.run(arguments(), over_network)
    assert {code: target.host for code, target in seen["targets"].items()} == {
        code: region.endpoint for code, region in CATALOGUE.items()
    }
    ping.run(arguments("--family", "6", "--regions", "cn-north-1, eu-west-1"), over_network)
    assert seen["plan"].family == 6
    assert [target.host for target in seen["targets"].values()] == [
        "dynamodb.cn-north-1.api.amazonwebservices.com.cn",
        "dynamodb.eu-west-1.api.aws",
    ]


@pytest.mark.parametrize("code", CATALOGUE)
def test_ipv6_hosts_are_botocores_dual_stack_endpoints(code: str) -> None:
    from boto3 import client
    from botocore.config import Config

    made = client("dynamodb", region_name=code, config=Config(use_dualstack_endpoint=True))
    assert made.meta.endpoint_url == f"https://{ping.endpoint(CATALOGUE[code], 6)}"


def test_unknown_region_is_one_line_with_a_suggestion() -> None:
    with pytest.raises(UnknownRegionError, match="did you mean us-west-1, us-east-1"):
        ping.run(arguments("--regions", "us-est-1,us-east-1"), lambda *_: measured())


@pytest.mark.parametrize("words", [("--attempts", "0"), ("--timeout", "99"), ("--family", "5")])
def test_bad_numbers_are_refused(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        arguments(*words)
    assert stopped.value.code == 2
    assert words[0] in capsys.readouterr().err


class TestOnTestbed:
    pytestmark = bed.needs_root

    def test_known_round_trips(self, capsys: pytest.CaptureFixture[str]) -> None:
        near, far = addresses(2)
        names = {
            CATALOGUE["eu-west-1"].endpoint: Name((near,)),
            CATALOGUE["us-east-1"].endpoint: Name((far,)),
        }
        words = ["ping", "--json", "--attempts", "3", "--timeout", "1"]
        words += ["--regions", "us-east-1,eu-west-1,eu-west-2"]
        with Bed({near: Rule(rtt_ms=5), far: Rule(rtt_ms=70)}, names) as net:
            assert net.call(main, words) == 0
        regions = json.loads(capsys.readouterr().out)["regions"]
        assert [region["region"] for region in regions] == ["eu-west-1", "us-east-1", "eu-west-2"]
        assert 5 <= regions[0]["min_ms"] < 7
        assert 70 <= regions[1]["min_ms"] < 72
        assert regions[0]["addresses"] == [near]
        assert regions[2]["why"].startswith("dns_error: dynamodb.eu-west-2.amazonaws.com: ")

    def test_without_a_way_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        names = {CATALOGUE["eu-west-1"].endpoint: Name(("203.0.113.1",))}
        with Bed({}, names) as net:
            assert net.call(main, ["ping", "--regions", "eu-west-1,eu-west-2"]) == 1
        captured = capsys.readouterr()
        assert "5 x unreachable" in captured.out
        assert "dns_error" in captured.out
        assert captured.err.startswith("infra ping: none of 2 regions answered")


def test_user_space_method_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def without_tcp_info(targets: Mapping[str, Target], plan: Plan) -> SweepResult:
        return measure({}, plan, find_rtt=lambda: None)

    with pytest.raises(CloudPingError):
        ping.run(arguments(), without_tcp_info)
    assert "connect-1: user-space connect time, as there is no TCP_INFO" in capsys.readouterr().out
