from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from cloudping.periods import HOUR, floor
from cloudping.times import to_iso
from tests.frontend.conftest import SOURCES, installation, show, this_minute
from tests.frontend.pages.test_pages import mixed


def test_latencies_in_the_originals_shape(web: FlaskClient) -> None:
    body = web.get("/api/latencies?percentile=p_90&timeframe=1Y").json
    assert body is not None
    assert body["metadata"]["percentile"] == "p_90"
    assert body["metadata"]["unit"] == "milliseconds"
    assert body["metadata"]["network"] == "aws"
    assert body["data"]["us-east-1"]["eu-west-1"] == 68.9
    assert "cn-north-1" not in body["data"]["eu-west-1"]  # no figure, so not there: never 0


def test_latencies_of_one_pair(web: FlaskClient) -> None:
    body = web.get("/api/latencies?from=us-east-1&to=eu-west-1").json
    assert body is not None
    assert body["data"] == {"us-east-1": {"eu-west-1": 68.5}}


def test_bad_parameters_are_explained(web: FlaskClient) -> None:
    bad = web.get("/api/latencies?percentile=p_51")
    assert bad.status_code == 400
    assert bad.json is not None
    assert "p_50" in bad.json["message"]
    unknown = web.get("/api/latencies?from=us-east-11")
    assert unknown.status_code == 404
    assert unknown.json is not None
    assert "us-east-1" in unknown.json["suggestions"]


def test_readable_from_any_site(web: FlaskClient) -> None:
    assert web.get("/api/latencies").headers["Access-Control-Allow-Origin"] == "*"


def test_the_originals_history_status_and_regions(stored: FlaskClient) -> None:
    history = stored.get("/api/history?from=us-east-1&to=eu-west-1").json
    assert history is not None
    hour = floor(HOUR, this_minute())
    assert history["data"] == [{"timestamp": to_iso(hour), "value": 68.833}]
    assert history["metadata"]["points"] == 1
    state = stored.get("/api/status").json
    assert state is not None
    assert state["status"] == "healthy"
    assert state["latest_update"] == to_iso(this_minute())
    listed = stored.get("/api/regions").json
    assert listed is not None
    assert {r["region_name"]: r["ping_function_exists"] for r in listed} == {
        "ap-northeast-1": True,
        "cn-north-1": False,
        "eu-west-1": True,
        "us-east-1": True,
    }


def test_the_mean_by_the_originals_name(web: FlaskClient) -> None:
    body = web.get("/api/latencies?percentile=latency&timeframe=1w").json
    assert body is not None
    assert (body["metadata"]["percentile"], body["metadata"]["timeframe"]) == ("latency", "1W")
    assert body["data"] == web.get("/api/latencies?percentile=mean&timeframe=1W").json["data"]  # type: ignore[index]


def test_a_mixed_figure_is_named() -> None:
    web = show(mixed())
    body = web.get("/api/latencies").json
    assert body is not None
    assert body["metadata"]["mixed"] == {"us-east-1": ["eu-west-1"]}
    assert body["metadata"]["methods"] == ["kernel-1", "original-1"]


@pytest.mark.parametrize(
    ("path", "frame"),
    [("/averages", "1D"), ("/averages/day/1", "1D"), ("/averages/day/7", "1W"),
     ("/averages/day/8", "1M"), ("/averages/week/1", "1W"), ("/averages/month", "1M"),
     ("/averages/day/365", "1Y")],
)  # fmt: skip
def test_averages_are_square_in_one_order(path: str, frame: str) -> None:
    good = installation()
    cells = {
        name: {
            p: replace(c, figures=replace(c.figures, mean=float(len(name) + ord(name[-1]))))
            for p, c in found.items()
        }
        for name, found in good.cells.items()
    }
    body = show(replace(good, cells=cells)).get(path).json
    assert body is not None
    assert [row["region"] for row in body] == sorted(SOURCES)
    for row in body:
        assert [a["regionTo"] for a in row["averages"]] == sorted(SOURCES)
        assert {a["average"] for a in row["averages"]} == {2.0 + ord(frame[-1])}


def test_errors_have_the_originals_shape_as_well(web: FlaskClient) -> None:
    for path, status, name in (
        ("/api/latencies?percentile=p_51", 400, "BadRequestError"),
        ("/api/history?from=us-east-1", 400, "BadRequestError"),
        ("/api/latencies?from=nowhere", 404, "NotFoundError"),
        ("/averages/day/0", 400, "BadRequestError"),
        ("/averages/year", 404, "NotFoundError"),
    ):
        answer = web.get(path)
        assert answer.status_code == status, path
        assert answer.json is not None
        assert answer.json["Code"] == name
        assert answer.json["Message"] == answer.json["message"] == answer.json["error"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("status", "is_opt_in"),
    [("ENABLED_BY_DEFAULT", False), ("ENABLED", True), ("DISABLED", True), ("simulated", False)],
)
def test_a_region_is_opt_in_when_the_account_says_so(status: str, is_opt_in: bool) -> None:
    good = installation()
    states = tuple(replace(state, opt_in_status=status) for state in good.states)
    listed = show(replace(good, states=states)).get("/api/regions").json
    assert listed is not None
    assert {region["is_opt_in"] for region in listed} == {is_opt_in}
