import gzip
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from frontend.serving.cache import PageCache
from frontend.views import matrix
from tests.frontend.conftest import installation, show, site_of


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


def test_a_page_that_many_ask_for_at_first_is_rendered_once(web: FlaskClient) -> None:
    app = web.application
    rendered: list[str] = []
    asked = threading.Barrier(9, timeout=10)

    @app.before_request
    def slowly() -> None:
        rendered.append("once")
        asked.wait()  # until all the others have asked too
        time.sleep(0.2)

    def visit(first: bool) -> str:
        if not first:
            asked.wait()
        return app.test_client().get("/").text

    with ThreadPoolExecutor(9) as pool:
        pages = set(pool.map(visit, [True] + 8 * [False]))
    assert len(rendered) == 1
    assert len(pages) == 1


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


def test_what_is_not_kept_is_made_for_each_who_asks(web: FlaskClient) -> None:
    app = web.application
    app.before_request(lambda: time.sleep(0.05))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: app.test_client().get("/pair/no/where"), range(8)))
    assert [answer.status_code for answer in answers] == 8 * [404]


def test_what_is_kept_is_bounded(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.serving.cache.MAX_BYTES", 200_000)
    web = show(installation())
    cache = web.application.wsgi_app.app  # type: ignore[attr-defined]  # of ProxyFix
    while not isinstance(cache, PageCache):
        cache = cache._app  # Hosts, RateLimit
    for k in range(30):
        web.get(f"/?within={k}")
    assert 0 < cache._entries.currsize <= 200_000


def test_errors_are_not_kept(web: FlaskClient) -> None:
    assert web.get("/grid/p_51/timeframe/1D").headers["Cache-Control"] == "no-store"
    assert "ETag" not in web.get("/grid/p_51/timeframe/1D").headers
