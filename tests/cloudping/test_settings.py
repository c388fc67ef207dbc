"""Settings: defaults, bad values, schedules, and their documentation."""

from dataclasses import fields

import pytest

from cloudping.errors import SettingError
from cloudping.regions import CATALOGUE
from cloudping.settings import TABLE, Settings, load, minute_offset, schedule
from tests.conftest import ROOT


def test_table_and_record_agree() -> None:
    assert [s.field for s in TABLE] == [f.name for f in fields(Settings)]


def test_defaults_load_from_an_empty_environment() -> None:
    settings = load({})
    assert settings.home_region == "us-east-2"
    assert settings.probe_interval_minutes == 5
    assert settings.probe_targets == ()
    assert not settings.is_local


def test_set_to_nothing_is_not_set() -> None:
    assert load({"PROBE_ATTEMPTS": " "}).probe_attempts == 5


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROBE_INTERVAL_MINUTES", "7", "minutes that divide an hour"),
        ("PROBE_INTERVAL_MINUTES", "0", "minutes that divide an hour"),
        ("PROBE_ATTEMPTS", "many", "a whole number from 1 to 50"),
        ("PROBE_TIMEOUT_SECONDS", "nan", "a number from 0.1 to 30"),
        ("PROBE_TARGETS", "us-east-1,moon-1", "region codes"),
        ("CLOUDPING_HOME_REGION", "us-east-9", "a region code"),
        ("CLOUDPING_PREFIX", "-x", "a letter first"),
        ("PROBE_NETWORK", "pretend", "aws or simulated"),
    ],
)
def test_bad_value_names_variable_value_and_what_is_expected(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingError, match=says) as caught:
        load({name: value})
    assert f"{name}={value!r}" in str(caught.value)


@pytest.mark.parametrize("url", ["", "https://dynamodb.us-east-2.amazonaws.com", "http://10.0.0.1"])
def test_simulated_network_is_refused_unless_aws_is_on_this_machine(url: str) -> None:
    with pytest.raises(SettingError, match="AWS_ENDPOINT_URL is on this machine"):
        load({"PROBE_NETWORK": "simulated", "AWS_ENDPOINT_URL": url})


def test_a_stage_of_another_region_is_refused() -> None:
    environ = {"PROBE_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}
    with pytest.raises(SettingError, match="expected eu-west-1, this stage's PROBE_REGION"):
        load(environ)
    assert load({**environ, "AWS_DEFAULT_REGION": "eu-west-1"}).region == "eu-west-1"


def test_a_deadline_must_leave_room_for_one_connect() -> None:
    with pytest.raises(SettingError, match=r"more than PROBE_TIMEOUT_SECONDS \(2.5\)"):
        load({"PROBE_DEADLINE_SECONDS": "2"})


def test_simulated_network_with_a_local_endpoint() -> None:
    settings = load({"PROBE_NETWORK": "simulated", "AWS_ENDPOINT_URL": "http://127.0.0.1:4566"})
    assert settings.is_local


@pytest.mark.parametrize(
    ("interval", "offset", "minutes", "hours"),
    [(1, 13, "0/1", "*"), (5, 13, "3/5", "*"), (60, 13, "13", "0/1"), (360, 13, "13", "0/6")],
)
def test_schedule(interval: int, offset: int, minutes: str, hours: str) -> None:
    fields_ = schedule(interval, offset)
    assert (fields_["minutes"], fields_["hours"]) == (minutes, hours)


def test_sources_are_spread_over_every_interval() -> None:
    for interval in (5, 10, 15, 30, 60):
        load_of = [0] * interval
        for code in CATALOGUE:
            load_of[minute_offset(code) % interval] += 1
        assert max(load_of) - min(load_of) <= 1


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    for setting in TABLE:
        default = f"`{setting.default}`" if setting.default else "none"
        assert f"| `{setting.env}` | {default} | {setting.help} |" in text, setting.env
