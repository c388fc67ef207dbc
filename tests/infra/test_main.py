"""The operator's command: help, wrong calls, errors in one line."""

import os
import re
import threading

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from infra.__main__ import COMMANDS, main
from infra.aws import account
from infra.commands import terminal


def test_help_lists_every_command_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^    {command}\s+[A-Z]", said, re.MULTILINE), command


@pytest.mark.parametrize("words", [[], ["fly"], ["package", "--no-such-option"]])
def test_a_wrong_call_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: python -m infra" in capsys.readouterr().err


def test_an_error_is_one_line_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "--regions", "us-est-1"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "infra local: unknown region 'us-est-1'; did you mean us-west-1, us-east-1, us-west-2?\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["pair", "status", "--region", "eu-west-1"],
        ["pair", "destroy", "--region", "eu-west-1"],
        ["status"],
        ["destroy", "--yes"],
        ["deploy", "--yes"],
        ["recover", "--since", "1h"],
    ],
    ids=" ".join,
)
def test_without_credentials_every_command_ends_in_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setattr(account, "_threads", threading.local())
    assert main(words) == 1
    said = capsys.readouterr()
    assert re.fullmatch(rf"infra {words[0]}: .*Unable to locate credentials.*\n", said.err)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied", "Message": "no right"}}, "DescribeStacks"),
        EndpointConnectionError(endpoint_url="https://nowhere"),
    ],
)
def test_what_aws_refuses_is_one_line_wherever_it_is_asked(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(account, "find", refused)
    assert main(["status"]) == 1
    assert capsys.readouterr().err == f"infra status: {error}\n"


def test_a_fault_of_ours_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "find", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["status"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cost --regions 0", "argument --regions: '0' is not a whole number from 1 to 100"),
        ("cost --regions x", "argument --regions: 'x' is not a whole number from 1 to 100"),
        ("cost --months 0", "argument --months: '0' is not a whole number from 1 to 120"),
        ("ping --attempts abc", "argument --attempts: 'abc' is not a whole number from 1 to 100"),
        ("ping --timeout nan", "argument --timeout: 'nan' is not a number from 0.1 to 30"),
        ("deploy --max-tasks -1", "argument --max-tasks: '-1' is not a whole number from 1 to 100"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_its_bounds(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


def test_counts_are_english() -> None:
    assert [terminal.count(n, "part") for n in (0, 1, 2)] == ["0 parts", "1 part", "2 parts"]
