import csv
import io
import json
import threading
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from cloudping.buckets import Bucket, DistributionTable
from cloudping.distribution import from_attempts
from cloudping.periods import HOUR, floor
from cloudping.runs import METHOD_KERNEL, NETWORK_SIMULATED
from cloudping.summaries import Day, HistoryTable
from cloudping.times import to_iso, utc_now
from frontend import api
from frontend.store import BusyError
from tests.frontend.conftest import figures, fill, installation, show, site_of, this_minute

PAIR = "/api/v1/pairs/us-east-1/eu-west-1"


@pytest.fixture
def stored(app: Flask, dynamodb: Any) -> FlaskClient:
    """A client of the site with a history, hours and samples of us-east-1 to eu-west-1."""
    fill(dynamodb)
    now = this_minute()
    today = now.date()
    HistoryTable(dynamodb).replace(
        Day("us-east-1", "eu-west-1", today - timedelta(days=k), figures(68.0 + k, 100, now), "aws")
        for k in range(3)
    )
    hour = floor(HOUR, now)
    found = from_attempts(["eu-west-1"], [0, 0, 0], [68.0, 68.0, 70.5], int(hour.timestamp()))
    bucket = Bucket("us-east-1", HOUR, hour, METHOD_KERNEL, "aws", found)
    DistributionTable(dynamodb).write([bucket], now)
    site_of(app).keeper.refresh()
    return app.test_client()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_document_is_valid_openapi_and_describes_every_route(web: FlaskClient) -> None:
    document = web.get("/api/v1/openapi.json").json
    assert document is not None
    validate(document)
    routes = {
        str(rule).replace("<", "{").replace(">", "}")
        for rule in web.application.url_map.iter_rules()
        if str(rule).startswith("/api/v1/")
    }
    assert set(document["paths"]) == routes


def test_the_reading_page_shows_every_operation(web: FlaskClient) -> None:
    page = web.get("/api").text
    for path in api.api.spec.to_dict()["paths"]:
        assert f"GET {path}" in page


SCHEMAS = {
    "/api/v1/regions": api.RegionsSchema,
    "/api/v1/matrix?timeframe=now&within=100": api.MatrixSchema,
    PAIR: api.PairSchema,
    f"{PAIR}/history": api.HistorySchema,
    f"{PAIR}/history?resolution=hour": api.HistorySchema,
    f"{PAIR}/samples": api.SamplesSchema,
    f"{PAIR}/distribution": api.DistributionSchema,
    "/api/v1/status": api.StatusSchema,
}


def test_answers_are_as_the_document_says(stored: FlaskClient) -> None:
    for path, schema in SCHEMAS.items():
        body = stored.get(path).json
        assert body is not None
        assert body["metadata"]["licence"] == "CC BY 4.0", path
        schema().load(body)  # raises ValidationError for what is unknown or of the wrong type


def test_matrix_rows_are_what_the_page_shows(web: FlaskClient) -> None:
    query = "metric=p_99&timeframe=1W&from=europe&within=100"
    body = web.get(f"/api/v1/matrix?{query}").json
    assert body is not None
    assert [(r["region_to"], r["value"], r["meets"]) for r in body["data"]] == [
        ("ap-northeast-1", 203.99, False),
        ("cn-north-1", None, None),
        ("eu-west-1", 1.79, True),
        ("us-east-1", 69.99, True),
    ]
    as_csv = rows(web.get(f"/api/v1/matrix?{query}&format=csv").text)
    assert [row["value"] for row in as_csv] == ["203.99", "", "1.79", "69.99"]
    lines = web.get(f"/api/v1/matrix?{query}&format=ndjson").text.splitlines()
    assert [json.loads(line) for line in lines] == body["data"]


def test_the_pages_own_download_links_work(web: FlaskClient) -> None:
    page = web.get("/grid/p_99/timeframe/1W?from=europe&order=code").text
    link = page.split('">CSV</a>')[0].rsplit('href="', 1)[1].replace("&amp;", "&")
    assert len(rows(web.get(link).text)) == 4


def test_network_is_in_the_metadata() -> None:
    body = show(installation(NETWORK_SIMULATED)).get("/api/v1/matrix").json
    assert body is not None
    assert body["metadata"]["network"] == "simulated"


def test_samples_come_page_by_page(stored: FlaskClient) -> None:
    first = stored.get(f"{PAIR}/samples?limit=2")
    assert first.json is not None
    assert [s["latency_ms"] for s in first.json["data"]] == [68.0, 69.0, 70.0, 71.0, 72.0] * 2
    link = first.headers["Link"]
    assert link.endswith('; rel="next"')
    second = stored.get(link[1:].split(">")[0]).json
    assert second is not None
    assert len(second["data"]) == 5
    assert second["cursor"] is None
    seen = {s["at"] for s in first.json["data"]} | {s["at"] for s in second["data"]}
    assert len(seen) == 3


def test_failures_are_samples_with_a_reason(stored: FlaskClient) -> None:
    body = stored.get("/api/v1/pairs/eu-west-1/cn-north-1/samples").json
    assert body is not None
    assert {(s["latency_ms"], s["reason"]) for s in body["data"]} == {(None, "timeout")}


def test_history_by_day_and_hour(stored: FlaskClient) -> None:
    days = stored.get(f"{PAIR}/history").json
    assert days is not None
    assert [row["p_50"] for row in days["data"]] == [70.5, 69.5, 68.5]
    hours = stored.get(f"{PAIR}/history?resolution=hour").json
    assert hours is not None
    assert [(row["samples"], row["p_50"]) for row in hours["data"]] == [(3, 68.0)]


def test_distribution(stored: FlaskClient) -> None:
    body = stored.get(f"{PAIR}/distribution").json
    assert body is not None
    assert body["data"] == [{"latency_ms": 68.0, "count": 2}, {"latency_ms": 70.5, "count": 1}]
    assert body["samples"] == 3
    assert body["metadata"]["timeframe"] == "1D"
    week = stored.get(f"{PAIR}/distribution?timeframe=1W").json
    assert week is not None
    assert week["samples"] == 3  # today's, though no day bucket has been made of it yet
    nothing = stored.get("/api/v1/pairs/us-east-1/eu-north-1/distribution").json
    assert nothing is not None
    assert (nothing["data"], nothing["samples"]) == ([], 0)


def test_bulk_download_holds_every_pair_and_the_licence(stored: FlaskClient) -> None:
    answer = stored.get("/api/v1/daily.zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert "CC BY 4.0" in archive.read("LICENCE.txt").decode()
    assert archive.getinfo("daily.csv").date_time[0] == utc_now().year
    table = rows(archive.read("daily.csv").decode())
    assert [(r["date"], r["region_to"], r["p_50"]) for r in table] == [
        (str(this_minute().date() - timedelta(days=k)), "eu-west-1", f"{68.5 + k}")
        for k in (2, 1, 0)
    ]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/v1/matrix?metric=p_51", 400, "metric: Must be one of: p_10"),
        ("/api/v1/matrix?percentile=p_50", 400, "percentile: Unknown field"),
        ("/api/v1/matrix?within=-1", 400, "within"),
        (f"{PAIR}/samples?limit=1000", 400, "limit"),
        (f"{PAIR}/samples?cursor=x", 400, "cursor: Not a valid"),
        (f"{PAIR}/samples?start=2020-01-01T00:00:00Z", 400, "up to 31 days"),
        (f"{PAIR}/history?start=yesterday", 400, "start: Not a valid"),
        (f"{PAIR}/history?start=2026-02-01T00:00Z&end=2026-01-01T00:00Z", 400, "start before end"),
        ("/api/v1/daily.zip?start=2020-01-01", 400, "up to 366 days"),
        ("/api/v1/daily.zip?end=0001-01-01", 400, "end: Must be in the years 2000 to 2100"),
        (f"{PAIR}/history?end=0001-01-01T00:00%2B14:00", 400, "end: Must be in the years"),
        (f"{PAIR}/samples?cursor=9999-12-31T23:59-14:00", 400, "cursor: Must be in the years"),
        ("/api/history?from=us-east-1&to=eu-west-1&end=0001-01-01T00:00%2B14:00", 400, "ISO 8601"),
        ("/api/v1/pairs/eu-west-11/us-east-1", 404, "did you mean eu-west-1"),
        ("/api/v1/nothing", 404, "nothing at /api/v1/nothing; /api lists"),
        ("/api/history?from=us-east-1", 400, "Both from and to are needed"),
        ("/api/history?from=us-east-1&to=eu-west-1&start=x", 400, "an ISO 8601 time"),
    ],
)
def test_errors_have_one_shape(web: FlaskClient, path: str, status: int, said: str) -> None:
    answer = web.get(path)
    assert answer.status_code == status
    body = answer.json
    assert body is not None
    api.ErrorSchema().load(body)
    assert body["code"] == status
    assert said in body["message"]


def test_dynamodb_failing_is_503_and_says_when_to_try_again(app: Flask) -> None:
    site_of(app).store._prefix = "not-there-"
    answer = app.test_client().get(f"{PAIR}/history")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "not-there" not in answer.text


def test_downloads_that_nobody_takes_keep_no_query_waiting(stored: FlaskClient) -> None:
    slow = [stored.get("/api/v1/daily.zip") for _ in range(2)]  # not read, so not ended
    assert stored.get("/api/v1/daily.zip").status_code == 503
    assert stored.get(f"{PAIR}/history").status_code == 200
    for download in slow:
        download.close()
    assert stored.get("/api/v1/daily.zip").status_code == 200


def test_who_waits_for_an_answer_that_does_not_come_is_turned_away(stored: FlaskClient) -> None:
    """Also the one who asks for the same: only the first waits as long as DynamoDB takes."""
    asked, answer = threading.Event(), threading.Event()

    def hangs(*_: Any) -> list[Day]:
        asked.set()
        answer.wait(30)
        return []

    store = site_of(stored.application).store
    first = threading.Thread(target=store._once, args=("same", hangs))
    first.start()
    asked.wait(30)
    with pytest.raises(BusyError):
        store._once("same", hangs)
    answer.set()
    first.join()
    assert store._once("same", hangs) == []


def test_only_reading_is_possible(web: FlaskClient) -> None:
    assert web.post("/api/v1/matrix").status_code == 405


def test_cross_origin_reading(web: FlaskClient) -> None:
    for path in ("/api/v1/matrix", "/api/v1/nothing", "/api/v1/matrix?metric=x"):
        assert web.get(path).headers["Access-Control-Allow-Origin"] == "*"


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
