"""Every setting of the deployables: one table of name, default, parser and help, read once.

A deployable calls `load(os.environ)`; nothing else reads the environment. `docs/settings.md` is
held against this table by a test.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from zlib import crc32

from cloudping.errors import SettingError
from cloudping.regions import CATALOGUE

# (interval, offset) in minutes of the function that looks for new regions; AWS opens a few a year.
WATCH_SCHEDULE = (60, 20)
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

# The time a probe's function may take, and how much of it is kept for the tables at home: see
# probe_run's patience.
PROBE_FUNCTION_S: Final = 60
PROBE_STORE_S: Final = 30

# What every name allows that a prefix becomes part of. ECR takes lower case and no two hyphens in
# a row (CreateRepository), CloudFormation a letter first, a load balancer no name that begins with
# "internal-" (CreateLoadBalancer). The templates' parameter has the same pattern.
PREFIX_PATTERN: Final = "((?!internal-)[a-z][a-z0-9]*(-[a-z0-9]+)*-?)?"
PREFIX_LENGTH: Final = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """How one field of `Settings` is read: environment name, default as text, parser, help."""

    field: str
    env: str
    default: str
    parse: Callable[[str], Any]
    expected: str
    help: str


def whole(low: int, high: int) -> tuple[Callable[[str], int], str]:
    """Parser of a whole number within bounds, and what it expects, in words."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return parse, f"a whole number from {low} to {high}"


def real(low: float, high: float) -> tuple[Callable[[str], float], str]:
    """Parser of a number within bounds, and what it expects, in words."""

    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return parse, f"a number from {low:g} to {high:g}"


def _one_of(*choices: str) -> tuple[Callable[[str], str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return parse, " or ".join(choices)


def _interval(text: str) -> int:
    minutes = int(text)
    if minutes < 1 or not (60 % minutes == 0 or (minutes % 60 == 0 and 1440 % minutes == 0)):
        raise ValueError
    return minutes


def _prefix(text: str) -> str:
    if len(text) > PREFIX_LENGTH or not re.fullmatch(PREFIX_PATTERN, text):
        raise ValueError
    return text


def _url(text: str) -> str:
    if text:
        parts = urlsplit(text)  # ValueError for a bracket that is not closed
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    return text


def _origin(text: str) -> str:
    parts = urlsplit(_url(text))
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError
    return text.rstrip("/")


def _region(text: str) -> str:
    if text not in CATALOGUE:
        raise ValueError
    return text


def _regions(text: str) -> tuple[str, ...]:
    return tuple(_region(code.strip()) for code in text.split(",") if code.strip())


_INTERVAL_EXPECTED = (
    "minutes that divide an hour (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60) "
    "or whole hours that divide a day (120, 180, 240, 360, 480, 720, 1440)"
)
_REGION_LIST = "region codes of the catalogue, separated by commas"

TABLE: tuple[Setting, ...] = (
    Setting("home_region", "CLOUDPING_HOME_REGION", "us-east-2", _region,
            "a region code of the catalogue", "Region that holds the tables and the aggregator."),
    Setting("table_prefix", "CLOUDPING_PREFIX", "", _prefix,
            "up to 20 of a-z, 0-9 and single hyphens, a letter first, as a registry's names are, "
            "and not internal-, which a load balancer refuses",
            "Put before every name, so that two installations can share an account."),
    Setting("exclude", "CLOUDPING_EXCLUDE", "", _regions, _REGION_LIST,
            "Regions that are neither source nor target, for `python -m infra deploy`."),
    Setting("home_credentials", "CLOUDPING_HOME_CREDENTIALS", "", str, "a secret's name",
            "Secret with an access key for the tables, for probes in another partition."),
    Setting("endpoint_url", "AWS_ENDPOINT_URL", "", _url, "http:// or https:// and a host",
            "Another endpoint for AWS, e.g. the local one; boto3 reads it as well."),
    Setting("region", "AWS_DEFAULT_REGION", "", str, "a region code",
            "Where this function runs, or is being packaged for; Lambda sets it."),
    Setting("memory_mb", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0", *whole(0, 10240),
            "Memory of this function; Lambda sets it. 0: not in Lambda."),
    Setting("probe_interval_minutes", "PROBE_INTERVAL_MINUTES", "5", _interval, _INTERVAL_EXPECTED,
            "How often each source measures."),
    Setting("probe_region", "PROBE_REGION", "", str, "a region code",
            "The region that this stage of the probe is for; anywhere else it refuses to start."),
    Setting("probe_attempts", "PROBE_ATTEMPTS", "5", *whole(1, 50),
            "Connects to each target in a run."),
    Setting("probe_timeout_s", "PROBE_TIMEOUT_SECONDS", "2.5", *real(0.1, 30),
            "How long to wait for one connect; above 1 s, so that a repeated SYN is seen as such."),
    Setting("probe_deadline_s", "PROBE_DEADLINE_SECONDS", "30",
            *real(1, PROBE_FUNCTION_S - PROBE_STORE_S),
            "When a run stops; what it has not tried by then is recorded as not_tried."),
    Setting("probe_targets", "PROBE_TARGETS", "", _regions, _REGION_LIST,
            "Targets; empty: those that cloudping_regions marks as active."),
    Setting("probe_network", "PROBE_NETWORK", "aws", *_one_of("aws", "simulated"),
            "simulated: planet/ in place of the network; only with an endpoint on this machine."),
    Setting("probe_retention_days", "PROBE_RETENTION_DAYS", "0", *whole(0, 36500),
            "Days until DynamoDB may delete a raw run; 0: kept for ever."),
    Setting("aggregator_interval_minutes", "AGGREGATOR_INTERVAL_MINUTES", "60", _interval,
            _INTERVAL_EXPECTED, "How often figures are rolled up."),
    Setting("aggregator_grace_minutes", "AGGREGATOR_GRACE_MINUTES", "3", *whole(0, 59),
            "Minutes after the full hour (or interval) at which the aggregator runs."),
    Setting("frontend_refresh_s", "FRONTEND_REFRESH_SECONDS", "60", *real(1, 3600),
            "How often the front end renews its snapshot of matrix, regions and status."),
    Setting("frontend_requests_per_minute", "FRONTEND_REQUESTS_PER_MINUTE", "600",
            *whole(0, 1_000_000),
            "What a client may ask of each process of the front end; 0: no limit."),
    Setting("frontend_gigabytes_per_day", "FRONTEND_GIGABYTES_PER_DAY", "100", *whole(0, 100_000),
            "What each process of the front end sends, to all together, before it answers 503; "
            "0: no limit."),
    Setting("frontend_proxies", "FRONTEND_PROXIES", "0", *whole(0, 5),
            "Proxies in front whose X-Forwarded-For is believed; 1 behind a load balancer."),
    Setting("frontend_url", "FRONTEND_URL", "", _origin, "https:// or http:// and a host",
            "The site's public address, for examples; other hosts are refused. Empty: any host."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings as typed values; see `TABLE` for meaning and defaults."""

    home_region: str
    table_prefix: str
    exclude: tuple[str, ...]
    home_credentials: str
    endpoint_url: str
    region: str
    memory_mb: int
    probe_interval_minutes: int
    probe_region: str
    probe_attempts: int
    probe_timeout_s: float
    probe_deadline_s: float
    probe_targets: tuple[str, ...]
    probe_network: str
    probe_retention_days: int
    aggregator_interval_minutes: int
    aggregator_grace_minutes: int
    frontend_refresh_s: float
    frontend_requests_per_minute: int
    frontend_gigabytes_per_day: int
    frontend_proxies: int
    frontend_url: str

    @property
    def is_local(self) -> bool:
        """True when AWS is an endpoint on this machine."""
        return (urlsplit(self.endpoint_url).hostname or "") in LOOPBACK_HOSTS


def read(table: Iterable[Setting], environ: Mapping[str, str]) -> dict[str, Any]:
    """A table's values by field, from an environment; raises SettingError for the first bad one.

    A variable that is set to nothing counts as not set.
    """
    values = {}
    for setting in table:
        text = environ.get(setting.env, "").strip() or setting.default
        try:
            values[setting.field] = setting.parse(text)
        except ValueError:
            raise SettingError(setting.env, text, setting.expected) from None
    return values


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from an environment; raises SettingError naming the variable and its value."""
    loaded = Settings(**read(TABLE, environ))
    if loaded.probe_network == "simulated" and not loaded.is_local:
        raise SettingError(
            "PROBE_NETWORK", "simulated", "aws, unless AWS_ENDPOINT_URL is on this machine"
        )
    if loaded.probe_region and loaded.region != loaded.probe_region:
        raise SettingError(
            "AWS_DEFAULT_REGION", loaded.region, f"{loaded.probe_region}, this stage's PROBE_REGION"
        )
    if loaded.probe_deadline_s <= loaded.probe_timeout_s:
        raise SettingError(
            "PROBE_DEADLINE_SECONDS",
            f"{loaded.probe_deadline_s:g}",
            f"more than PROBE_TIMEOUT_SECONDS ({loaded.probe_timeout_s:g})",
        )
    return loaded


def schedule(interval_minutes: int, offset_minutes: int) -> dict[str, str]:
    """The fields of an EventBridge cron expression that fires every so often, in UTC.

    The offset wraps within the interval, at most an hour: {"minutes": "2/5", "hours": "*", ...}.
    """
    if interval_minutes < 60:
        minutes, hours = f"{offset_minutes % interval_minutes}/{interval_minutes}", "*"
    else:
        every = interval_minutes // 60
        # An increment of 24 is beyond an hour's values, which end at 23: once a day is at hour 0.
        minutes, hours = str(offset_minutes % 60), "0" if every == 24 else f"0/{every}"
    return {
        "minutes": minutes,
        "hours": hours,
        "day_of_month": "*",
        "month": "*",
        "day_of_week": "?",
        "year": "*",
    }


# Chosen so that the regions of November 2026 are spread evenly at every interval (a test says how
# evenly). It stays as it is: another one moves every schedule.
_SPREAD: Final = 88176


def minute_offset(region: str) -> int:
    """The minute of the hour at which a source fires, from its code alone: 0 to 59.

    A new region moves no other, so that only its own probe is deployed.
    """
    return crc32(region.encode(), _SPREAD) % 60
