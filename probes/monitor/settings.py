"""The monitor's settings: a table like that of `cloudping.settings`, read once."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloudping.errors import SettingError
from cloudping.regions import CATALOGUE, Region
from cloudping.settings import Setting, read, real, whole


@dataclass(frozen=True, slots=True)
class Watched:
    """A target: a host name or IP address, a port, and its code in PingTest (empty: none)."""

    host: str
    port: int
    code: str = ""

    @property
    def key(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _hosts(text: str) -> tuple[tuple[str, int | None], ...]:
    hosts = tuple(_host(part.strip()) for part in text.split(",") if part.strip())
    if not hosts:
        raise ValueError
    return hosts


def _host(text: str) -> tuple[str, int | None]:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        pass
    else:
        return text, None
    if bracketed := _BRACKETED.fullmatch(text):
        host = str(ipaddress.IPv6Address(bracketed["host"]))
        return host, None if bracketed["port"] is None else _PORT[0](bracketed["port"])
    host, colon, port = text.partition(":")
    if not host or any(mark in text for mark in " /@[]"):
        raise ValueError
    return host, _PORT[0](port) if colon else None


def _source(text: str) -> tuple[str, str]:
    code, _, region = text.partition("@")
    if text and (not _is_code(code) or code in CATALOGUE or region not in CATALOGUE):
        raise ValueError
    return code, region


def _codes(text: str) -> tuple[str, ...]:
    codes = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(map(_is_code, codes)) or len(set(codes)) < len(codes):
        raise ValueError
    return codes


def _is_code(text: str) -> bool:
    return text.replace("-", "").isalnum() and text.isascii() and len(text) <= 40


_PORT = whole(1, 65535)
_BRACKETED = re.compile(r"\[(?P<host>[^]]*)\](:(?P<port>.*))?")

TABLE: tuple[Setting, ...] = (
    Setting("hosts", "TARGET_HOST", "", _hosts,
            "a host name or IP address, e.g. 10.0.2.10 or, for several, a.example,b.example:443",
            "What to measure, required; several by commas, each with `:port` where it differs."),
    Setting("target_port", "TARGET_PORT", "80", *_PORT, "Port of the targets that name none."),
    Setting("interval_s", "CHECK_INTERVAL_SECONDS", "5", *real(0.02, 3600),
            "From one measurement of a target to the next."),
    Setting("timeout_s", "CONNECT_TIMEOUT_SECONDS", "3", *real(0.1, 30),
            "How long to wait for a connect; above 1 s, so that a repeated SYN is seen as such."),
    Setting("host", "HOST", "0.0.0.0", str,  # noqa: S104 - as servers do; a firewall is in front
            "an address of this machine", "Address that the monitor's own pages listen on."),
    Setting("port", "PORT", "8000", *_PORT, "Port of the monitor's own pages."),
    Setting("history_file", "HISTORY_FILE", "", str, "a path",
            "Keeps the last hour across a restart; empty: a restart starts an empty one."),
    Setting("source", "RECORD_SOURCE", "", _source,
            "CODE@REGION, a code that is no AWS region and the region next to it, "
            "e.g. office@eu-west-1",
            "Write a run to PingTest each minute, from this source; empty: do not write."),
    Setting("codes", "RECORD_TARGETS", "", _codes,
            "different codes of letters, digits and hyphens, by commas",
            "The targets' codes in PingTest, one for each of TARGET_HOST."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """The settings as typed values; see `TABLE`. `near` is the place of the recorded source."""

    targets: tuple[Watched, ...]
    interval_s: float
    timeout_s: float
    host: str
    port: int
    history_file: str
    source: str = ""
    near: Region | None = None

    @property
    def stale_after_s(self) -> float:
        """When a last success is too old: two measurements in a row have failed by then."""
        return 2 * self.interval_s + self.timeout_s + 1


def load(environ: Mapping[str, str]) -> MonitorSettings:
    """Settings from an environment; raises SettingError naming the variable and its value."""
    values = read(TABLE, environ)
    hosts, codes = values["hosts"], values["codes"]
    source, region = values["source"]
    if source:
        if len(codes) != len(hosts):
            raise SettingError(
                "RECORD_TARGETS", ",".join(codes), f"one code for each of {len(hosts)} targets"
            )
        in_a_minute = 60 / values["interval_s"]
        if abs(in_a_minute - round(in_a_minute)) > 1e-9:
            raise SettingError(
                "CHECK_INTERVAL_SECONDS",
                f"{values['interval_s']:g}",
                "a divisor of 60 while RECORD_SOURCE is set: a run is a minute",
            )
    targets = tuple(
        Watched(host, port or values["target_port"], codes[number] if source else "")
        for number, (host, port) in enumerate(hosts)
    )
    if len({target.key for target in targets}) < len(targets):
        raise SettingError("TARGET_HOST", environ["TARGET_HOST"], "each target once")
    return MonitorSettings(
        targets=targets,
        interval_s=values["interval_s"],
        timeout_s=values["timeout_s"],
        host=values["host"],
        port=values["port"],
        history_file=values["history_file"],
        source=source,
        near=CATALOGUE[region] if source else None,
    )
