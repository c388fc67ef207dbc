"""The front end while DynamoDB is slow, fails, is empty or answers with garbage."""

import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cloudping import dynamo
from cloudping.settings import load
from frontend import create_app
from tests.frontend.conftest import SOURCES, fill, site_of
from tests.reliability.conftest import (
    Answer,
    Fault,
    Wire,
    answered,
    failing,
    garbage,
    throttled,
    unreachable,
)

PAGES = ("/", "/status", "/pair/us-east-1/eu-west-1", "/region/us-east-1",
         "/api/latencies?percentile=p_50&timeframe=1D", "/api/v1/matrix", "/healthz")  # fmt: skip
FAULTS: tuple[Fault, ...] = (throttled, failing, unreachable, garbage)
HISTORY = "/api/v1/pairs/us-east-1/eu-west-1/history"
SHOWN = "68.5"  # P50 from us-east-1 to eu-west-1


@pytest.fixture
def app(wire: Wire) -> Flask:
    made = create_app(load({}), wire.client, background=False)
    made.testing = True
    return made


@pytest.fixture
def filled(app: Flask, wire: Wire) -> FlaskClient:
    """A client of the site, which has read its tables once."""
    fill(wire.client)
    site_of(app).keeper.refresh()
    return app.test_client()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What a hanging DynamoDB waits for."""
    event = threading.Event()
    yield event
    event.set()


def test_pages_go_on_with_what_was_read_last_and_say_so(
    filled: FlaskClient, app: Flask, wire: Wire
) -> None:
    for fault in FAULTS:
        wire.faults[""] = fault
        site_of(app).keeper.refresh()
        for path in PAGES:
            assert filled.get(path).status_code == 200, path
        page = filled.get("/").text
        assert "Old data." in page
        assert SHOWN in page
        wire.faults.clear()
        site_of(app).keeper.refresh()
        assert "Old data." not in filled.get("/").text


def test_what_has_to_be_asked_for_is_503_with_nothing_from_inside(
    filled: FlaskClient, wire: Wire
) -> None:
    for fault in FAULTS:
        wire.faults[""] = fault
        answer = filled.get(HISTORY)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        for secret in ("amazonaws", "cloudping_history", "Traceback", "botocore"):
            assert secret not in answer.text
    wire.faults.clear()
    assert filled.get(HISTORY).status_code == 200


def test_pages_do_not_wait_for_a_dynamodb_that_hangs(
    filled: FlaskClient, app: Flask, wire: Wire, released: threading.Event
) -> None:
    reached = threading.Event()

    def hang(request: Any) -> Answer:
        reached.set()
        released.wait(30)
        return None

    wire.faults[""] = hang
    refresh = threading.Thread(target=site_of(app).keeper.refresh)
    refresh.start()
    assert reached.wait(10)
    began = monotonic()
    for path in PAGES:
        assert filled.get(path).status_code == 200, path
    assert monotonic() - began < 10  # a second or two on a busy machine; the refresh hangs for 30
    assert refresh.is_alive()
    released.set()
    refresh.join(30)
    assert not refresh.is_alive()


def test_queries_that_hang_are_bounded_and_the_next_are_turned_away(
    filled: FlaskClient, app: Flask, wire: Wire, released: threading.Event
) -> None:
    hanging = threading.Semaphore(0)

    def hang(request: Any) -> Answer:
        hanging.release()
        released.wait(30)
        return None

    wire.faults["Query"] = hang
    pairs = [(a, b) for a in SOURCES for b in SOURCES]
    paths = [f"/api/v1/pairs/{a}/{b}/history" for a, b in pairs]
    waiting = [threading.Thread(target=app.test_client().get, args=(path,)) for path in paths[:4]]
    for thread in waiting:
        thread.start()
    for _ in waiting:
        assert hanging.acquire(timeout=10)
    answer = filled.get(paths[4])
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert filled.get("/").status_code == 200
    released.set()
    for thread in waiting:
        thread.join(30)


GARBAGE = (
    ("cloudping_stored_avgs", {"timeframe": "1D", "index": "x_y_1D"}),
    ("cloudping_stored_avgs", {"timeframe": "1D", "index": "us-east-1_eu-west-1_1D"}),
    ("PingTest", {"region": "us-east-1", "timestamp": "2999-01-01T00:00:00.000Z"}),
    ("PingTest", {"region": "us-east-1", "timestamp": "zzz"}),
)


def test_items_of_garbage_do_not_blank_the_site(app: Flask, wire: Wire) -> None:
    fill(wire.client)
    for table, item in GARBAGE:
        wire.client.put_item(TableName=table, Item=dynamo.to_wire(item))
    site_of(app).keeper.refresh()
    page = app.test_client().get("/")
    assert page.status_code == 200
    assert "Old data." not in page.text
    assert "69.5" in page.text  # from eu-west-1 to us-east-1


def test_a_broken_region_stays_as_it_was_and_stops_no_other(
    filled: FlaskClient, app: Flask, wire: Wire
) -> None:
    for code in ("nowhere-1", "us-east-1"):
        wire.client.put_item(TableName="cloudping_regions", Item={"region": {"S": code}})
    before = site_of(app).keeper.snapshot
    site_of(app).keeper.refresh()
    after = site_of(app).keeper.snapshot
    assert after.number > before.number
    assert after.failure is None
    assert after.states == before.states
    page = filled.get("/").text
    assert "Old data." not in page
    assert SHOWN in page
    assert "nowhere-1" not in page


def test_empty_tables_are_said_to_be_empty(app: Flask, wire: Wire) -> None:
    site_of(app).keeper.refresh()
    page = app.test_client().get("/")
    assert page.status_code == 200
    assert "cloudping_regions is empty" in page.text


def test_an_answer_without_an_item_is_no_crash(app: Flask, wire: Wire) -> None:
    wire.faults[""] = lambda _: answered(200, "{}")
    site_of(app).keeper.refresh()
    assert app.test_client().get("/").status_code == 200
