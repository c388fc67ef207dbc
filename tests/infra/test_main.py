"""The operator's command: help, wrong calls, errors in one line."""

import re

import pytest

from infra.__main__ import COMMANDS, main


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
