import gzip
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from frontend.data.snapshot import Failure
from frontend.serving.cache import PageCache, keep
from frontend.views import matrix
from tests.frontend.conftest import installation, show, site_of, this_minute


def test_a_page_goes_compressed_to_who_takes_it(web: FlaskClient) -> None:
    plain = web.get("/")
    small = web.get("/", headers={"Accept-Encoding": "gzip, br"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.data) == plain.data
    assert plain.headers["Vary"] == "Accept-Encoding"


def test_an_unchanged_page_is_not_sent_again(web: FlaskClient) -> None:
    first = web.get("/")
    again = web.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""


def test_head_has_the_headers_of_get(web: FlaskClient) -> None:
    got, head = web.get("/"), web.head("/")
    assert head.data == b""
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_page_is_rendered_once_a_snapshot(web: FlaskClient) -> None:
    rendered: list[str] = []
    web.application.before_request(lambda: rendered.append("once"))
    for _ in range(3):
        web.get("/")
    assert len(rendered) == 1
    keeper = site_of(web.application).keeper
    keeper.snapshot = replace(keeper.snapshot, number=2)
    web.get("/")
    assert len(rendered) == 2


def test_a_page_that_many_ask_for_at_first_is_rendered_once(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, original = web.application, matrix.build
    rendered: list[str] = []
    asked = threading.Barrier(9, timeout=10)

    def build(*args: Any) -> Any:
        rendered.append("once")
        time.sleep(0.2)
        return original(*args)

    monkeypatch.setattr(matrix, "build", build)

    @app.before_request
    def wait() -> None:
        asked.wait()  # until all have asked

    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(lambda _: app.test_client().get("/"), range(9)))
    assert len(rendered) == 1
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}


def test_who_asks_while_a_page_is_renewed_gets_the_old_one(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, original = web.application, matrix.build
    old = web.get("/").text
    begun, go_on = threading.Event(), threading.Event()

    def build(*args: Any) -> Any:
        begun.set()
        assert go_on.wait(10)
        return original(*args)

    monkeypatch.setattr(matrix, "build", build)
    keeper = site_of(app).keeper
    keeper.snapshot = replace(keeper.snapshot, number=2, failure=Failure(this_minute(), "no"))
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(lambda: app.test_client().get("/").text)
        assert begun.wait(10)
        assert web.get("/").text == old
        go_on.set()
        assert renewing.result() != old
    assert web.get("/").text == renewing.result()


def test_who_gets_no_turn_is_told_when_to_come_back(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two renders that never end hold no third one's thread for ever."""
    app, go_on = web.application, threading.Event()
    begun = threading.Barrier(3, timeout=10)

    def build(*_: Any) -> Any:
        begun.wait()
        go_on.wait(10)
        raise RuntimeError

    monkeypatch.setattr("frontend.serving.cache.MAX_WAIT_S", 0.1)
    monkeypatch.setattr(matrix, "build", build)
    app.testing = False  # what is raised is answered
    with ThreadPoolExecutor(2) as pool:
        for k in range(2):
            pool.submit(app.test_client().get, f"/?within={k}")
        begun.wait()
        refused = web.get("/status")
        again = web.get("/?within=1")  # which is being made
        go_on.set()
    assert (refused.status_code, again.status_code) == (503, 503)
    assert refused.headers["Retry-After"] == "5"
    assert web.get("/status").status_code == 200


def test_no_more_than_two_pages_are_rendered_at_once(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = web.application
    under_way, most, lock = [0], [0], threading.Lock()

    def build(*args: Any) -> Any:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        with lock:
            under_way[0] -= 1
        return original(*args)

    original = matrix.build
    monkeypatch.setattr(matrix, "build", build)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda k: app.test_client().get(f"/?within={k}"), range(8)))
    assert [answer.status_code for answer in answers] == 8 * [200]
    assert most == [2]
    assert web.get("/?order=size").status_code == 400  # an error gives its turn back
    assert web.get("/?within=9").status_code == 200


def test_who_asks_for_what_is_not_kept_waits_for_nobody(web: FlaskClient) -> None:
    """The second asker of a slow query does not wait here for the first; the store bounds that."""
    app, together = web.application, threading.Barrier(2, timeout=3)

    @app.get("/slow")
    def slow() -> str:
        together.wait()
        return "both"

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: app.test_client().get("/slow").text, range(2)))
    assert answers == ["both", "both"]


@pytest.mark.parametrize(
    "path",
    ["/", "/grid/p_99/timeframe/1W", "/map", "/status", "/method", "/api", "/metrics",
     "/region/us-east-1", "/pair/us-east-1/eu-west-1", "/api/latencies", "/api/regions",
     "/api/status"],
)  # fmt: skip
def test_an_unknown_parameter_makes_no_new_page(web: FlaskClient, path: str) -> None:
    made: list[str] = []
    web.application.before_request(lambda: made.append("once"))
    pages = {web.get(f"{path}{query}").text for query in ("", "?x=1", "?x=2&x=3", "?", "?y")}
    assert len(pages) == len(made) == 1


def test_a_parameter_that_is_read_makes_its_own_page(web: FlaskClient) -> None:
    made: list[str] = []
    web.application.before_request(lambda: made.append("once"))
    queries = ("", "?within=80", "?within=81", "?within=80&order=name", "?order=name&within=80")
    assert len({web.get(f"/{query}").text for query in queries}) == 4
    assert len(made) == 4
    assert web.get("/?within=81&x=1").text == web.get("/?within=81").text
    assert len(made) == 4


def test_a_view_that_goes_through_all_parameters_depends_on_all(web: FlaskClient) -> None:
    app = web.application

    @app.get("/all")
    def everything() -> str:
        keep()
        return " ".join(f"{name}={value}" for name, value in flask.request.args.items())

    @app.get("/other")
    def other() -> str:
        keep()
        asked = flask.request.args
        return asked.get("b", "") if "a" in asked else "none"

    assert [web.get(f"/all{query}").text for query in ("", "?a=1", "?b=2")] == ["", "a=1", "b=2"]
    # Whether b is looked at depends on a.
    asked = ["", "?b=1", "?a&b=1", "?a&b=2", "?b=2", "?b=2&a"]
    assert [web.get(f"/other{query}").text for query in asked] == [
        "none", "none", "1", "2", "none", "2"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("*", "gzip"), ("gzip;q=0", None),
     ("identity", None), ("x-gzipped", None), ("", None)],
)  # fmt: skip
def test_only_who_accepts_gzip_gets_it(
    web: FlaskClient, accepted: str, encoding: str | None
) -> None:
    answer = web.get("/", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == encoding


@pytest.mark.parametrize(
    ("condition", "status"),
    [("{}", 304), ('"other", {}', 304), ("*", 304), ('"other"', 200), ("x{}x", 200)],
)
def test_a_condition_is_read_as_http_has_it(web: FlaskClient, condition: str, status: int) -> None:
    tag = web.get("/").headers["ETag"]
    given = condition.format(tag)
    assert web.get("/", headers={"If-None-Match": given}).status_code == status


def test_what_is_kept_is_bounded(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.serving.cache.MAX_BYTES", 200_000)
    web = show(installation())
    cache: Any = web.application.wsgi_app
    while not isinstance(cache, PageCache):
        cache = cache._app  # Hosts, Limits
    for k in range(30):
        web.get(f"/?within={k}")
    assert 0 < cache._entries.currsize <= 200_000


def test_errors_are_not_kept(web: FlaskClient) -> None:
    assert web.get("/grid/p_51/timeframe/1D").headers["Cache-Control"] == "no-store"
    assert "ETag" not in web.get("/grid/p_51/timeframe/1D").headers
