from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudping.settings import load
from frontend import create_app
from frontend.api.schemas import ErrorSchema
from frontend.serving.cache import Environ
from frontend.serving.clients import client, origin
from frontend.serving.limits import (
    BYTES,
    CLIENTS_READS_A_SECOND,
    CLIENTS_READS_AT_ONCE,
    CPU_S,
    DAY_S,
    HEAD_BYTES,
    HEALTH_PER_MINUTE,
    MAX_CLIENTS,
    READS,
    READS_A_SECOND,
    READS_AT_ONCE,
    Limit,
    Limits,
    Reads,
)
from tests.conftest import load_template
from tests.frontend.conftest import installation, site_of

LIMIT = 20


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ok(environ: object, start_response: object) -> list[bytes]:
    return [b"ok"]


def limited(clock: Clock, per_minute: int = LIMIT) -> Limit:
    return Limit(per_minute / 60, per_minute, clock)


@dataclass
class Site:
    """An application under `Limits` whose answers cost what a test says."""

    cpu_s: float = 0.0
    size: int = 100
    used_s: float = 0.0
    is_stream: bool = False
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.limits = Limits(self.app, 600, 1, 1, lambda: self.now, lambda: self.used_s)

    def app(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        self.environ = environ
        start_response("200 OK", [])
        if self.is_stream:
            return self.stream()
        self.used_s += self.cpu_s
        return [b"x" * self.size]

    def stream(self) -> Iterator[bytes]:
        for _ in range(10):
            self.used_s += self.cpu_s / 10
            yield b"x" * (self.size // 10)

    def ask(self, who: str = "203.0.113.7", path: str = "/") -> str:
        statuses: list[str] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REMOTE_ADDR": "10.0.0.1",
                   "HTTP_X_FORWARDED_FOR": who}  # fmt: skip
        chunks = self.limits(environ, lambda status, _: statuses.append(status[:3]))
        for _ in chunks:
            pass
        if close := getattr(chunks, "close", None):
            close()
        return statuses[0]

    def let_through(self, asked: int, **more: str) -> int:
        return [self.ask(**more) for _ in range(asked)].count("200")


def asked(proxies: int, *forwarded: str, address: str = "10.77.0.5") -> list[int]:
    """The statuses of one request each, with these values of X-Forwarded-For."""
    settings = {"FRONTEND_REQUESTS_PER_MINUTE": "1", "FRONTEND_PROXIES": str(proxies)}
    app = create_app(load(settings), client=object(), background=False)
    site_of(app).keeper.snapshot = installation()
    web = app.test_client()
    return [
        web.get(
            "/api/regions",
            headers={"X-Forwarded-For": value},
            environ_base={"REMOTE_ADDR": address},
        ).status_code
        for value in forwarded
    ]


def test_as_many_as_the_limit_at_once_and_then_one_at_a_time() -> None:
    clock = Clock()
    limit = limited(clock)
    assert [limit.ask("a") for _ in range(LIMIT)] == [0] * LIMIT
    assert limit.ask("a") == pytest.approx(3)  # 20 a minute: one every 3 s
    assert limit.ask("b") == 0
    clock.now += 3.001
    assert limit.ask("a") == 0
    assert limit.ask("a") > 0
    clock.now += 3600
    assert [limit.ask("a") for _ in range(LIMIT + 1)].count(0) == LIMIT


@given(
    st.integers(1, 600),
    st.lists(st.floats(0, 30), min_size=1, max_size=200),
)
def test_never_more_than_twice_the_limit_in_a_minute(per_minute: int, gaps: list[float]) -> None:
    """The burst and what is paid off meanwhile; over t minutes (1 + t) times the limit."""
    clock = Clock()
    limit = limited(clock, per_minute)
    start, taken = clock.now, 0
    for gap in gaps:
        clock.now += gap
        taken += limit.ask("a") == 0
    assert taken <= per_minute * (1 + (clock.now - start) / 60) + 1


def test_an_asker_who_waits_as_told_is_served() -> None:
    clock = Clock()
    limit = limited(clock)
    waits = []
    for _ in range(3 * LIMIT):
        waits.append(limit.ask("a"))
        if waits[-1]:
            clock.now += waits[-1]
            assert limit.ask("a") == 0
    assert max(waits) == pytest.approx(3)


def test_what_is_kept_of_clients_is_bounded() -> None:
    limit = limited(Clock())
    for k in range(MAX_CLIENTS + 100):
        limit.ask(str(k))
    assert len(limit._paid_at) == MAX_CLIENTS


def test_the_refusal_says_when_to_come_back() -> None:
    settings = load({"FRONTEND_REQUESTS_PER_MINUTE": "1"})
    app = create_app(settings, client=object(), background=False)
    site_of(app).keeper.snapshot = installation()
    web = app.test_client()
    assert web.get("/api/v1/regions").status_code == 200
    refused = web.get("/api/v1/matrix")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 120  # what the first one cost is paid as well
    assert refused.json is not None
    ErrorSchema().load(refused.json)
    page = web.get("/")
    assert (page.status_code, page.mimetype) == (429, "text/plain")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert [web.get("/readyz").status_code for _ in range(5)] == [200] * 5


def test_without_a_proxy_the_header_is_not_believed() -> None:
    assert asked(0, "1.1.1.1", "2.2.2.2") == [200, 429]


def test_behind_the_load_balancer_its_last_entry_counts() -> None:
    spoofed = ("9.9.9.1, 203.0.113.7", "9.9.9.2, 203.0.113.7", "9.9.9.3, 203.0.113.8")
    assert asked(1, *spoofed) == [200, 429, 200]
    assert asked(2, "9.9.9.1, 203.0.113.7, 10.0.0.1", "9.9.9.2, 203.0.113.7, 10.0.0.2") == [
        200,
        429,
    ]


def test_the_task_believes_exactly_its_load_balancer() -> None:
    resources = load_template("frontend.yaml")["Resources"]
    container = resources["Task"]["Properties"]["ContainerDefinitions"][0]
    assert {"Name": "FRONTEND_PROXIES", "Value": "1"} in container["Environment"]
    attributes = resources["Balancer"]["Properties"]["LoadBalancerAttributes"]
    assert {"Key": "routing.http.xff_header_processing.mode", "Value": "append"} in attributes


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:61234", "203.0.113.7"),
        (" 203.0.113.7", "203.0.113.7"),
        ("[2001:db8:1:2:3::4]:443", "2001:db8:1::/48"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unknown", "unknown"),
        ("x" * 9999, "x" * 64),
    ],
)
def test_whom_an_address_counts_as(address: str, counts_as: str) -> None:
    assert client(address) == counts_as


@given(st.ip_addresses(v=6), st.integers(0, 2**80 - 1))
def test_a_site_has_one_limit(ip: IPv6Address, other: int) -> None:
    """Whoever has a /48 has 65,536 of the /64 that a host sees."""
    if ip.ipv4_mapped is None:
        neighbour = IPv6Address(int(ip) >> 80 << 80 | other)
        if neighbour.ipv4_mapped is None:
            assert client(str(neighbour)) == client(str(ip))


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "who"),
    [
        ("10.0.0.1", "1.1.1.1", 0, "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, 2.2.2.2", 1, "2.2.2.2"),
        ("10.0.0.1", "1.1.1.1, 2.2.2.2:4711", 1, "2.2.2.2"),
        ("10.0.0.1", "1.1.1.1, 2.2.2.2", 2, "1.1.1.1"),
        ("10.0.0.1", "2.2.2.2", 2, "10.0.0.1"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("10.0.0.1", " , ,", 1, "10.0.0.1"),
    ],
)
def test_who_is_behind_the_proxies(peer: str, forwarded: str, proxies: int, who: str) -> None:
    assert origin(peer, forwarded, proxies) == who


def test_a_port_in_the_header_makes_no_new_client() -> None:
    assert asked(1, "203.0.113.7:1001", "203.0.113.7:1002", "[2001:db8::1]:1", "[2001:db8::2]:2"
                 ) == [200, 429, 200, 429]  # fmt: skip


@given(st.one_of(st.text(max_size=100), st.ip_addresses(v=4).map(IPv4Address.__str__)))
def test_any_text_counts_as_someone(text: str) -> None:
    assert len(client(text)) <= 64


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_what_takes_cpu_time_counts_for_more(is_stream: bool) -> None:
    assert Site(cpu_s=CPU_S / 2, is_stream=is_stream).let_through(700) == 600
    assert Site(cpu_s=12 * CPU_S, is_stream=is_stream).let_through(700) == 600 // 12


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_what_is_long_counts_for_more(is_stream: bool) -> None:
    site = Site(size=10 * BYTES - HEAD_BYTES, is_stream=is_stream)
    assert site.let_through(100) == 60
    assert site.ask("203.0.113.8") == "200"


def test_what_all_are_sent_is_bounded() -> None:
    """A gigabyte a day, a tenth of it at once, however many they are."""
    site = Site(size=10**7 - HEAD_BYTES)
    statuses = [site.ask(f"203.0.113.{k}") for k in range(20)]
    assert statuses == ["200"] * 11 + ["503"] * 9  # what was let through before it was known
    site.now += 3 * DAY_S / 100  # pays off 30 MB
    assert [site.ask(f"203.0.113.{k}") for k in range(30, 36)].count("200") in (2, 3)
    assert site.ask(path="/healthz") == "200"


def test_health_checks_have_a_limit_of_their_own() -> None:
    site = Site()
    assert site.let_through(700) == 600
    assert site.let_through(200, path="/healthz") == HEALTH_PER_MINUTE
    assert site.ask("203.0.113.8", "/readyz") == "200"


def test_what_is_read_for_a_client_and_for_all_is_bounded() -> None:
    site = Site()

    def reads(k: int) -> Reads:
        site.ask(f"203.0.113.{k}")
        found = site.environ[READS]
        assert isinstance(found, Reads)
        return found

    reads(1).charge(CLIENTS_READS_AT_ONCE + 1_000)
    assert reads(1).wait_s() == pytest.approx(1_000 / CLIENTS_READS_A_SECOND)
    assert reads(2).wait_s() == 0
    for k in range(3, 7):
        reads(k).charge(CLIENTS_READS_AT_ONCE)
    assert reads(2).wait_s() == pytest.approx(
        (5 * CLIENTS_READS_AT_ONCE + 1_000 - READS_AT_ONCE) / READS_A_SECOND
    )
