import gzip
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.frontend.conftest import fill, site_of


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


def test_a_page_is_rendered_once_a_snapshot(dynamodb: Any, make_app: Callable[..., Flask]) -> None:
    fill(dynamodb)
    app = make_app()
    rendered: list[str] = []
    app.before_request(lambda: rendered.append("once"))
    web = app.test_client()
    for _ in range(3):
        web.get("/")
    assert len(rendered) == 1
    site_of(app).keeper.refresh()
    web.get("/")
    assert len(rendered) == 2


def test_errors_are_not_kept(web: FlaskClient) -> None:
    assert web.get("/grid/p_51/timeframe/1D").headers["Cache-Control"] == "no-store"
    assert "ETag" not in web.get("/grid/p_51/timeframe/1D").headers
