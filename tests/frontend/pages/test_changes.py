"""The changes' pages and feeds."""

from datetime import date
from typing import Any
from xml.etree import ElementTree

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cloudping.changes import ChangeTable, State
from tests.frontend.conftest import a_change, fill, site_of, this_minute

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def changed(app: Flask, dynamodb: Any) -> FlaskClient:
    """A client of a site that knows of two changes and one that was withdrawn."""
    fill(dynamodb)
    table = ChangeTable(dynamodb)
    path = a_change(
        id="2026-05-02-p99-up-path-eu-west-1-us-east-1",
        figure="p99",
        role="path",
        ends=("eu-west-1", "us-east-1"),
        first_day=date(2026, 5, 2),
    )
    withdrawn = a_change(id="2026-06-01-loss-up-path-a-b", figure="loss", is_withdrawn=True)
    table.write([a_change(), path, withdrawn])
    table.put_state(State(date(2026, 11, 23), this_minute()))
    site_of(app).keeper.refresh()
    return app.test_client()


def test_the_list_is_newest_first_and_without_what_was_withdrawn(changed: FlaskClient) -> None:
    text = changed.get("/changes").text
    assert text.index("p99 +8.0 to +31.0 ms") < text.index("2 of 33 sources to Mumbai")
    assert "2026-06-01" not in text
    assert "until 23 Nov 2026" in text


def test_it_can_be_narrowed(changed: FlaskClient) -> None:
    assert "2 of 33 sources to Mumbai" in changed.get("/changes?figure=p50").text
    assert "p99 +8.0" not in changed.get("/changes?figure=p50").text
    assert "0 changes" in changed.get("/changes?least=31,5").text


@pytest.mark.parametrize(
    ("query", "status"), [("least=many", 400), ("least=-1", 400), ("figure=p51", 404)]
)
def test_what_makes_no_sense_is_refused(changed: FlaskClient, query: str, status: int) -> None:
    assert changed.get(f"/changes?{query}").status_code == status


def test_an_unknown_region_is_404(changed: FlaskClient) -> None:
    assert changed.get("/changes?region=eu-west-9").status_code == 404


def test_each_has_an_address_also_when_withdrawn(changed: FlaskClient) -> None:
    text = changed.get("/changes/2026-03-14-p50-up-to-ap-south-1").text
    assert "2 of 33 sources to Mumbai: +8.0 to +31.0 ms" in text
    assert "300.00 ms" in text
    assert "331.00 ms" in text
    withdrawn = changed.get("/changes/2026-06-01-loss-up-path-a-b")
    assert withdrawn.status_code == 200
    assert "Withdrawn" in withdrawn.text
    assert changed.get("/changes/2020-01-01-nothing").status_code == 404


@pytest.mark.parametrize(
    ("address", "entries"),
    [
        ("/changes.atom", 2),
        ("/region/ap-south-1/changes.atom", 2),
        ("/region/cn-north-1/changes.atom", 0),
        ("/pair/sa-east-1/ap-south-1/changes.atom", 2),
        ("/pair/us-east-1/cn-north-1/changes.atom", 0),
    ],
)
def test_a_feed_is_atom(changed: FlaskClient, address: str, entries: int) -> None:
    """What RFC 4287 requires of a feed and of each entry."""
    response = changed.get(address)
    assert response.content_type == "application/atom+xml; charset=utf-8"
    feed = ElementTree.fromstring(response.data)  # noqa: S314 - our own answer
    assert feed.tag == f"{ATOM}feed"
    for name in ("id", "title", "updated", "author"):
        assert len(feed.findall(f"{ATOM}{name}")) == 1, name
    (own,) = (link for link in feed.findall(f"{ATOM}link") if link.get("rel") == "self")
    assert own.get("href") == address
    found = feed.findall(f"{ATOM}entry")
    assert len(found) == entries
    ids = [entry.findtext(f"{ATOM}id") for entry in found]
    assert len(set(ids)) == len(ids)
    for entry in found:
        for name in ("id", "title", "updated", "published", "summary"):
            assert entry.findtext(f"{ATOM}{name}"), name
        (link,) = entry.findall(f"{ATOM}link")
        assert changed.get(str(link.get("href"))).status_code == 200


def test_before_the_first_search_it_says_so(app: Flask, dynamodb: Any) -> None:
    fill(dynamodb)
    site_of(app).keeper.refresh()
    assert "Not looked for yet" in app.test_client().get("/changes").text
