"""What `deploy` makes of its options and of what is deployed, without an AWS."""

import argparse
from typing import Any

import pytest

from infra.aws import roles
from infra.aws.account import Account
from infra.aws.installation import Installation
from infra.commands import deploy
from infra.commands.deploy import DeployFailedError, Deployment
from tests.infra.aws.test_stacks import Formation

ACCOUNT = Account(Installation(), "123456789012", "aws", "us-east-2")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    deploy.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(("words", "expected"), [((), "2"), (("--max-tasks", "6"), "6")])
def test_what_a_run_does_not_say_stays_as_it_is_deployed(
    words: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = {"MaxTasks": "2", "CertificateArn": "arn:x", "Image": "i:1", "Dropped": "1"}
    formation = Formation("UPDATE_COMPLETE", parameters=deployed)
    monkeypatch.setattr(Account, "client", lambda *_: formation)
    monkeypatch.setattr(roles, "boundary", lambda _: None)
    site = Deployment(ACCOUNT, arguments(*words))._site(None)
    site.plan()
    assert site.parameters["MaxTasks"] == expected
    assert site.parameters["CertificateArn"] == "arn:x"
    assert site.parameters["Image"] == "i:1"
    assert "Dropped" not in site.parameters


@pytest.mark.parametrize(
    ("failed", "said"), [({"a": "x"}, "1 part failed"), ({"a": "x", "b": "y"}, "2 parts failed")]
)
def test_failures_are_counted_in_english(
    failed: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Account, "client", lambda *_: Formation())
    run: Any = Deployment(ACCOUNT, arguments())
    run.report.failed |= failed
    with pytest.raises(DeployFailedError, match=said):
        run._end()


def test_six_regions_are_enabled_at_a_time() -> None:
    """AWS refuses a seventh; what is being enabled already takes its place."""
    status = {f"xx-east-{n}": "DISABLED" for n in range(1, 9)} | {"us-east-1": "ENABLED_BY_DEFAULT"}
    now, later = deploy.to_opt_in(status, ())
    assert (len(now), later) == (6, ["xx-east-7", "xx-east-8"])
    now, later = deploy.to_opt_in(status | {"xx-west-1": "ENABLING"}, ("xx-east-1",))
    assert now == [f"xx-east-{n}" for n in range(2, 7)]
    assert later == ["xx-east-7", "xx-east-8"]
    assert deploy.to_opt_in(dict.fromkeys("abcdef", "ENABLING") | status, ())[0] == []
