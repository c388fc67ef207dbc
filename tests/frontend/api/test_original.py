from flask.testing import FlaskClient

from cloudping.periods import HOUR, floor
from cloudping.times import to_iso
from tests.frontend.conftest import this_minute


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
