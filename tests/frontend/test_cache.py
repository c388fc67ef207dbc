import gzip
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from frontend.cache import PageCache
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


def test_what_is_kept_is_bounded(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.cache.MAX_BYTES", 200_000)
    web = show(installation())
    cache = web.application.wsgi_app.app._app  # type: ignore[attr-defined]  # in ProxyFix, RateLimit
    assert isinstance(cache, PageCache)
    for k in range(30):
        web.get(f"/?within={k}")
    assert 0 < cache._entries.currsize <= 200_000


def test_errors_are_not_kept(web: FlaskClient) -> None:
    assert web.get("/grid/p_51/timeframe/1D").headers["Cache-Control"] == "no-store"
    assert "ETag" not in web.get("/grid/p_51/timeframe/1D").headers
