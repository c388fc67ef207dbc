"""The planner's page and address of the API, over the simulated planet."""

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from cloudping.regions import CATALOGUE, RegionState
from cloudping.settings import load
from frontend import create_app
from frontend.data.samples import WindowSamples
from frontend.data.site import EXTENSION
from frontend.data.store import BusyError
from tests.frontend.conftest import installation, site_of
from tests.frontend.views.plan.planet import REGIONS, window

WINDOW = window()
ASKED = "clients=us-east-1:2,eu-central-1,ap-northeast-1&apart=geography"


class _AllPairs:
    """What the tables would give; reading them is tested on moto."""

    def window(self, timeframe: str) -> WindowSamples:
        return replace(WINDOW, timeframe=timeframe)


@pytest.fixture(scope="module")
def web() -> FlaskClient:
    app = create_app(load({"FRONTEND_REQUESTS_PER_MINUTE": "0"}), client=object(), background=False)
    site = site_of(app)
    states = tuple(RegionState(CATALOGUE[code], True, True, 300, "opted-in") for code in REGIONS)
    site.keeper.snapshot = replace(installation(), states=states)
    app.extensions[EXTENSION] = replace(site, all_pairs=_AllPairs())  # type: ignore[arg-type]  # a stand-in
    return app.test_client()


class _Form(HTMLParser):
    """What a browser without scripts sends for the form as it stands."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sent: list[tuple[str, str]] = []
        self._select = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self.sent.append((given["name"], given.get("value", "")))
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and "selected" in given:
            self.sent.append((self._select, given["value"]))


def test_without_a_question_there_are_three_and_examples_that_work(web: FlaskClient) -> None:
    answer = web.get("/plan")
    text = answer.get_data(as_text=True)
    assert [f"<legend>{n}." in text for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert "<script" not in text.split("<main")[1]
    examples = [part.split('"')[0] for part in text.split('<li><a href="')[1:]]
    assert len(examples) == 4
    for href in examples:
        assert "How it is computed" in web.get(href.replace("&amp;", "&")).get_data(as_text=True)


def test_the_page_says_what_the_api_says(web: FlaskClient) -> None:
    text = web.get(f"/plan?{ASKED}&mine=us-east-1,us-west-2,eu-west-1").get_data(as_text=True)
    found = web.get(f"/api/v1/plan?{ASKED}&mine=us-east-1,us-west-2,eu-west-1").json
    assert found is not None
    best = found["data"][0]
    assert f"<b>{best['value']:.1f} ms</b> for the worst client" in text
    assert "Every set that the rules allow was considered" in text
    assert found["bound_ms"] is None
    for client in best["clients"]:
        assert f'<td class="n">{client["p_99"]:.1f}</td>' in text
    for loss in best["losses"]:
        assert f"{loss['value']:.1f} ms, led by" in text
    assert "Your set" in text
    assert found["mine"]["replicas"] == ["eu-west-1", "us-east-1", "us-west-2"]
    assert text.count('<circle class="spot') == len(
        {*best["replicas"], *(c["region"] for c in best["clients"])}
    )
    assert found["metadata"]["network"] == "simulated"
    assert found["formula"] in text


def test_the_form_as_it_stands_asks_the_same_again(web: FlaskClient) -> None:
    address = f"/plan?{ASKED}&replicas=3&survive=1&mine=us-east-1,us-west-2,eu-west-1"
    text = web.get(address).get_data(as_text=True)
    sent = _Form(text.split("<form")[1].split("</form>")[0]).sent
    again = web.get("/plan", query_string=sent).get_data(as_text=True)
    assert (
        again.split("Computed in")[0].split("</form>")[1]
        == text.split("Computed in")[0].split("</form>")[1]
    )


def test_a_plan_as_csv_and_by_its_link(web: FlaskClient) -> None:
    text = web.get(f"/plan?{ASKED}").get_data(as_text=True)
    href = text.split('This plan as <a href="')[1].split('"')[0].replace("&amp;", "&")
    assert parse_qs(urlsplit(href).query)["apart"] == ["geography"]
    rows = list(csv.DictReader(io.StringIO(web.get(href).get_data(as_text=True))))
    assert rows[0]["place"] == "1"
    assert len(rows[0]["replicas"].split()) == 3
    assert [float(row["value"]) for row in rows] == sorted(float(row["value"]) for row in rows)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("clients=Atlantis", "no region with a probe"),
        ("clients=us-east-1&replicas=9", "replicas"),
        ("clients=us-east-1&survive=2", "survives the loss of 1"),
        ("clients=us-east-1&protocol=magic", "protocol"),
    ],
)
def test_what_was_wrong_is_said(web: FlaskClient, query: str, said: str) -> None:
    page, data = web.get(f"/plan?{query}"), web.get(f"/api/v1/plan?{query}")
    assert (page.status_code, data.status_code) == (400, 400)
    assert said in page.get_data(as_text=True)
    assert data.json is not None
    assert said in data.json["message"]


def test_rules_that_no_set_keeps_leave_none(web: FlaskClient) -> None:
    query = "clients=us-east-1&apart_km=19000"
    assert "keeps all the rules" in web.get(f"/plan?{query}").get_data(as_text=True)
    found = web.get(f"/api/v1/plan?{query}").json
    assert found is not None
    assert found["data"] == []


def test_who_would_wait_too_long_is_told_when_to_come_back(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise BusyError

    monkeypatch.setattr("frontend.data.costly.Costly.get", full)
    answer = web.get("/plan?clients=us-east-1")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
