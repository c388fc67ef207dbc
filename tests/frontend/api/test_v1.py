import json
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from cloudping.buckets import Bucket, DistributionTable
from cloudping.distribution import from_attempts
from cloudping.intervals import ranks
from cloudping.periods import HOUR, floor
from cloudping.runs import METHOD_IMPORTED, METHOD_KERNEL, ORIGIN_SIMULATED
from frontend.api import schemas
from tests.frontend.api.conftest import PAIR, rows
from tests.frontend.conftest import installation, show, site_of, this_minute


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


SCHEMAS = {
    "/api/v1/regions": schemas.RegionsSchema,
    "/api/v1/matrix?timeframe=now&within=100": schemas.MatrixSchema,
    PAIR: schemas.PairSchema,
    f"{PAIR}/history": schemas.HistorySchema,
    f"{PAIR}/history?resolution=hour": schemas.HistorySchema,
    f"{PAIR}/samples": schemas.SamplesSchema,
    f"{PAIR}/distribution": schemas.DistributionSchema,
    "/api/v1/status": schemas.StatusSchema,
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


def test_just_the_pairs_that_meet_a_threshold(web: FlaskClient) -> None:
    found = rows(web.get("/api/v1/matrix?within=100&only=meeting&format=csv").text)
    assert {(row["region_from"], row["region_to"]) for row in found} == {
        ("us-east-1", "eu-west-1"), ("eu-west-1", "us-east-1"), ("ap-northeast-1", "cn-north-1"),
    }  # fmt: skip
    found = rows(web.get("/api/v1/matrix?only=meeting&format=csv").text)
    assert len(found) == 8  # of 12: three to themselves, one lost everything


def test_the_pages_own_download_links_work(web: FlaskClient) -> None:
    page = web.get("/grid/p_99/timeframe/1W?from=europe&order=code").text
    link = page.split('">CSV</a>')[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&")
    assert len(rows(web.get(link).text)) == 4


def test_network_is_in_the_metadata() -> None:
    body = show(installation(ORIGIN_SIMULATED)).get("/api/v1/matrix").json
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


def test_a_distribution_has_percentiles_with_their_intervals(stored: FlaskClient) -> None:
    body = stored.get(f"{PAIR}/distribution?timeframe=1W").json
    assert body is not None
    by_p = {one["p"]: one for one in body["percentiles"]}
    latencies = sorted(bin["latency_ms"] for bin in body["data"] for _ in range(bin["count"]))
    assert by_p[50]["value_ms"] == pytest.approx(np.percentile(latencies, 50))
    low, high = ranks(len(latencies), 50)
    assert by_p[50]["low_ms"] == (latencies[low - 1] if low else None)
    assert by_p[50]["high_ms"] == (latencies[high - 1] if high <= len(latencies) else None)


def test_a_mixed_distribution_says_so(stored: FlaskClient, dynamodb: Any) -> None:
    before = stored.get(f"{PAIR}/distribution").json
    assert before is not None and before["methods"] == [METHOD_KERNEL]
    hour = floor(HOUR, this_minute())
    found = from_attempts(["eu-west-1"], [0], [80.0], int(hour.timestamp()))
    bucket = Bucket("us-east-1", HOUR, hour, METHOD_IMPORTED, "aws", found)
    DistributionTable(dynamodb).write([bucket], this_minute())
    body = stored.get(f"{PAIR}/distribution?timeframe=1W").json
    assert body is not None and body["methods"] == [METHOD_KERNEL, METHOD_IMPORTED]
    assert body["samples"] == 4


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


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/v1/matrix?metric=p_51", 400, "metric: Must be one of: p_10"),
        ("/api/v1/matrix?percentile=p_50", 400, "percentile: Unknown field"),
        ("/api/v1/matrix?within=-1", 400, "within"),
        (f"{PAIR}/samples?limit=1000", 400, "limit"),
        (
            f"{PAIR}/samples?start=2026-01-02T00:00Z&end=2026-01-03T00:00Z&cursor=2026-01-01T00:00Z",
            400,
            "cursor=2026-01-01T00:00:00.000Z is not usable",
        ),
        (
            f"{PAIR}/samples?start=2026-01-02T00:00Z&end=2026-01-03T00:00Z&cursor=2026-01-04T00:00Z",
            400,
            "cursor=2026-01-04T00:00:00.000Z is not usable",
        ),
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
    # The original's addresses add what its programs look for.
    schemas.ErrorSchema().load(
        {name: value for name, value in body.items() if name not in ("Code", "Message", "error")}
    )
    assert body["code"] == status
    assert said in body["message"]


def test_dynamodb_failing_is_503_and_says_when_to_try_again(app: Flask) -> None:
    site_of(app).store._prefix = "not-there-"
    answer = app.test_client().get(f"{PAIR}/history")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "not-there" not in answer.text


def test_only_reading_is_possible(web: FlaskClient) -> None:
    assert web.post("/api/v1/matrix").status_code == 405


def test_cross_origin_reading(web: FlaskClient) -> None:
    for path in ("/api/v1/matrix", "/api/v1/nothing", "/api/v1/matrix?metric=x"):
        assert web.get(path).headers["Access-Control-Allow-Origin"] == "*"
