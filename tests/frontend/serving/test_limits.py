from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudping.settings import load
from frontend import create_app
from frontend.api.schemas import ErrorSchema
from frontend.serving.limits import MAX_CLIENTS, RateLimit, client
from tests.conftest import load_template
from tests.frontend.conftest import installation, site_of

LIMIT = 20


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ok(environ: object, start_response: object) -> list[bytes]:
    return [b"ok"]


def limited(clock: Clock, per_minute: int = LIMIT) -> RateLimit:
    return RateLimit(ok, per_minute, clock)


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
    assert [limit._ask("a") for _ in range(LIMIT)] == [0] * LIMIT
    assert limit._ask("a") == pytest.approx(3)  # 20 a minute: one every 3 s
    assert limit._ask("b") == 0
    clock.now += 3.001
    assert limit._ask("a") == 0
    assert limit._ask("a") > 0
    clock.now += 3600
    assert [limit._ask("a") for _ in range(LIMIT + 1)].count(0) == LIMIT


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
        taken += limit._ask("a") == 0
    assert taken <= per_minute * (1 + (clock.now - start) / 60) + 1


def test_an_asker_who_waits_as_told_is_served() -> None:
    clock = Clock()
    limit = limited(clock)
    waits = []
    for _ in range(3 * LIMIT):
        waits.append(limit._ask("a"))
        if waits[-1]:
            clock.now += waits[-1]
            assert limit._ask("a") == 0
    assert max(waits) == pytest.approx(3)


def test_what_is_kept_of_clients_is_bounded() -> None:
    limit = limited(Clock())
    for k in range(MAX_CLIENTS + 100):
        limit._ask(str(k))
    assert len(limit._paid_at) == MAX_CLIENTS


def test_the_refusal_says_when_to_come_back() -> None:
    settings = load({"FRONTEND_REQUESTS_PER_MINUTE": "1"})
    app = create_app(settings, client=object(), background=False)
    site_of(app).keeper.snapshot = installation()
    web = app.test_client()
    assert web.get("/api/v1/regions").status_code == 200
    refused = web.get("/api/v1/matrix")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
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
        ("2001:db8:1:2:3::4", "2001:0db8:0001:0002"),
        ("unknown", "unknown"),
        ("x" * 9999, "x" * 64),
    ],
)
def test_whom_an_address_counts_as(address: str, counts_as: str) -> None:
    assert client(address) == counts_as


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_subscriber_has_one_limit(ip: IPv6Address, other: int) -> None:
    if ip.ipv4_mapped is None:
        neighbour = IPv6Address(int(ip) >> 64 << 64 | other)
        if neighbour.ipv4_mapped is None:
            assert client(str(neighbour)) == client(str(ip))


@given(st.one_of(st.text(max_size=100), st.ip_addresses(v=4).map(IPv4Address.__str__)))
def test_any_text_counts_as_someone(text: str) -> None:
    assert len(client(text)) <= 64
