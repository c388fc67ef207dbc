"""Settings: defaults, bad values, schedules, and their documentation."""

from collections import Counter
from dataclasses import fields

import pytest

from cloudping import settings as settings_module
from cloudping.errors import SettingError
from cloudping.regions import CATALOGUE, provisional
from cloudping.settings import (
    PREFIX_LENGTH,
    PREFIX_PATTERN,
    TABLE,
    Settings,
    load,
    minute_offset,
    schedule,
)
from tests.conftest import ROOT, load_template


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
        ("CLOUDPING_PREFIX", "1-", "a letter first"),
        ("CLOUDPING_PREFIX", "é-", "of a-z"),
        ("CLOUDPING_PREFIX", "ü-", "of a-z"),
        ("CLOUDPING_PREFIX", "中文-", "of a-z"),
        ("CLOUDPING_PREFIX", "a²-", "of a-z"),
        ("CLOUDPING_PREFIX", "Team-", "as a registry's names are"),
        ("CLOUDPING_PREFIX", "a--", "single hyphens"),
        ("CLOUDPING_PREFIX", "internal-", "a load balancer refuses"),
        ("CLOUDPING_PREFIX", "internal-a-", "a load balancer refuses"),
        ("CLOUDPING_PREFIX", "a" * 21, "up to 20"),
        ("PROBE_NETWORK", "pretend", "aws or simulated"),
        ("PROBE_DEADLINE_SECONDS", "31", "a number from 1 to 30"),
        ("AWS_ENDPOINT_URL", "http://[::1", "http:// or https:// and a host"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:99999", "http:// or https:// and a host"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:4566", "http:// or https:// and a host"),
        ("AWS_ENDPOINT_URL", "localhost", "http:// or https:// and a host"),
        ("AWS_ENDPOINT_URL", "http://", "http:// or https:// and a host"),
    ],
)
def test_bad_value_names_variable_value_and_what_is_expected(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingError, match=says) as caught:
        load({name: value})
    assert f"{name}={value!r}" in str(caught.value)


@pytest.mark.parametrize(
    "prefix", ["", "a", "blue-", "team-2-", "internal", "internals-", "a" * 20]
)
def test_prefixes_that_every_service_takes(prefix: str) -> None:
    assert load({"CLOUDPING_PREFIX": prefix}).table_prefix == prefix


@pytest.mark.parametrize("name", ["frontend", "github-oidc", "operations", "pair", "tables"])
def test_the_templates_take_the_same_prefixes(name: str) -> None:
    parameters = load_template(f"{name}.yaml")["Parameters"]
    parameter = parameters["TablePrefix" if name == "pair" else "Prefix"]
    assert parameter["AllowedPattern"] == f"^{PREFIX_PATTERN}$"
    assert parameter["MaxLength"] == PREFIX_LENGTH


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
    [
        (1, 13, "0/1", "*"),
        (5, 13, "3/5", "*"),
        (60, 13, "13", "0/1"),
        (360, 13, "13", "0/6"),
        (1440, 13, "13", "0"),
    ],
)
def test_schedule(interval: int, offset: int, minutes: str, hours: str) -> None:
    fields_ = schedule(interval, offset)
    assert (fields_["minutes"], fields_["hours"]) == (minutes, hours)


@pytest.mark.parametrize("interval", [5, 6, 10, 12, 15, 20, 30, 60])
def test_sources_are_spread_over_every_interval(interval: int) -> None:
    at = Counter(minute_offset(code) % interval for code in CATALOGUE)
    assert max(at.values()) < len(CATALOGUE) / interval + 2


def test_a_new_region_moves_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {code: minute_offset(code) for code in CATALOGUE}
    longer = {"aa-new-1": provisional("aa-new-1", "New"), **CATALOGUE}
    monkeypatch.setattr(settings_module, "CATALOGUE", longer)
    assert {code: minute_offset(code) for code in before} == before
    assert len({minute_offset(f"aa-new-{k}") for k in range(9)}) > 3  # not all at one minute


def test_no_source_is_ever_moved() -> None:
    """Another hash moves every schedule, and every probe is deployed again."""
    codes = ("us-east-1", "us-east-2", "eu-west-1", "aa-new-1")
    assert [minute_offset(code) for code in codes] == [46, 40, 12, 49]


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    for setting in TABLE:
        default = f"`{setting.default}`" if setting.default else "none"
        assert f"| `{setting.env}` | {default} | {setting.help} |" in text, setting.env
