"""Items that make no sense: each attribute missing, of each wrong type, absurd.

Many broken items stand in the tables at once, each in a row of its own, beside good ones: whatever
a page does not survive, it does not survive here. Every address has to answer, with JSON that is
JSON, and what is good has to be shown as if nothing else were there.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from flask import Flask

from cloudping import changes, dynamo, regions, runs, summaries
from cloudping.changes import ChangeTable, State
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import RunTable
from cloudping.settings import load
from cloudping.summaries import TIMEFRAMES, Summary, SummaryTable
from cloudping.times import to_iso
from frontend import create_app
from tests.frontend.conftest import TARGETS, a_change, figures, fill, run, site_of, this_minute

WRONG: tuple[dict[str, Any], ...] = (
    {"S": ""}, {"S": "x"}, {"S": "=cmd|' /C calc'!A0"}, {"S": "<script>alert(1)</script>"},
    {"S": "nan"}, {"S": "inf"}, {"S": "9" * 400}, {"S": "a\nb\x00"}, {"S": "9999-12-31T23:59:59Z"},
    {"S": "0001-01-01T00:00:00Z"}, {"S": "2026-13-99"}, {"S": "aws"}, {"S": "True"},
    {"N": "0"}, {"N": "-1"}, {"N": "1E18"}, {"N": "1E100"}, {"N": "0.5"}, {"N": "-1E18"},
    {"N": "1000000"}, {"BOOL": True}, {"NULL": True}, {"B": b"\xff\x00"}, {"SS": ["a", "b"]},
    {"NS": ["1", "2"]}, {"L": []}, {"L": [{"NULL": True}]}, {"L": [{"N": "1E30"}]},
    {"L": [{"S": "x"}, {"M": {}}]}, {"M": {}}, {"M": {"x": {"S": "y"}}},
    {"M": {"0": {"N": "1E30"}}}, {"M": {"us-east-1": {"M": {}}}},
)  # fmt: skip
INDEX_KEYS = {"active_from", "active_to", "written_at"}
PER_TABLE = 40  # broken rows at once: fewer than what the site takes of regions

PATHS = (
    "/", "/grid/p_99/timeframe/now", "/grid/loss/timeframe/1W", "/?order=proximity&group=none",
    "/?within=80&group=partition", "/map", "/map?from=cn-north-1&metric=loss", "/status", "/method",
    "/api", "/region/us-east-1", "/region/eu-west-1?metric=p_99&timeframe=now",
    "/pair/us-east-1/eu-west-1", "/api/v1/regions", "/api/v1/matrix", "/api/v1/status",
    "/api/v1/matrix?timeframe=now&order=proximity", "/api/v1/pairs/us-east-1/eu-west-1",
    "/api/v1/regions?format=csv", "/api/latencies", "/api/latencies?timeframe=now", "/api/status",
    "/api/regions", "/averages/day/7", "/metrics", "/readyz", "/changes", "/changes.atom",
    "/changes?region=us-east-1&least=1", "/api/v1/changes", "/api/v1/changes?format=csv",
)  # fmt: skip

Item = dict[str, dict[str, Any]]


def broken(item: Item, keys: set[str]) -> Iterator[Item]:
    """The item once for each attribute that it is not found by and each way to break it."""
    for name in sorted(item.keys() - keys):
        yield {other: value for other, value in item.items() if other != name}
        for wrong in WRONG:
            if wrong != item[name]:
                yield {**item, name: wrong}


def chunks(items: list[Item]) -> Iterator[list[Item]]:
    for first in range(0, len(items), PER_TABLE):
        yield items[first : first + PER_TABLE]


def put(client: Any, table: str, items: list[Item]) -> None:
    """As far as DynamoDB takes them: the key of an index has its type (moto checks only some)."""
    for item in items:
        if any("S" not in item[name] for name in INDEX_KEYS & item.keys()):
            continue
        try:
            client.put_item(TableName=table, Item=item)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationException"


@pytest.fixture
def good(dynamodb: Any) -> Flask:
    """The site over a filled installation that has been read once."""
    fill(dynamodb)
    app = create_app(load({"FRONTEND_REQUESTS_PER_MINUTE": "0"}), dynamodb, background=False)
    site_of(app).keeper.refresh()
    return app


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def survives(client: Any, app: Flask) -> dict[str, Any]:
    """Reads the tables twice, as a fresh process and again; asks for everything."""
    fresh = create_app(load({"FRONTEND_REQUESTS_PER_MINUTE": "0"}), client, background=False)
    answers: dict[str, Any] = {}
    for site in (fresh, app):
        keeper = site_of(site).keeper
        keeper._row_due_at.clear()
        keeper.refresh()
        assert keeper.snapshot.failure is None
        for path in PATHS:
            answer = site.test_client().get(path)
            assert answer.status_code == 200, f"{path}: {answer.text[:300]}"
            if answer.mimetype == "application/json":
                answers[path] = json.loads(answer.text, parse_constant=no_constant)
    return answers


def wire(item: dict[str, Any]) -> Item:
    return dynamo.to_wire(item)


def region_items() -> list[Item]:
    state = RegionState(
        CATALOGUE["eu-west-1"], True, True, 300, "ENABLED",
        earliest_data=this_minute(), latest_data=this_minute(), source_since=this_minute(),
    )  # fmt: skip
    return list(broken(wire(regions._to_item(state)), {"region"}))


def run_items() -> list[Item]:
    one = replace(run("us-east-1", this_minute()), expires_at=2_000_000_000)
    item = wire(runs.to_item(one))
    result = item["results"]["M"]["eu-west-1"]["M"]
    inner = [
        {**item, "results": {"M": {**item["results"]["M"], "eu-west-1": {"M": bad}}}}
        for bad in broken({**result, "rx": {"M": {}}, "why": {"M": {}}, "stall": {"M": {}}}, set())
    ]
    return [*broken(item, {"region", "timestamp"}), *inner]


def cell_items() -> list[Item]:
    now = this_minute()
    cell = Summary("1D", "us-east-1", "eu-west-1", figures(68.0, 1438, now), now, now, now, "aws")
    return list(broken(wire(summaries.to_item(cell)), {"timeframe", "index"}))


# All of it takes minutes; every ninth meets each attribute and each wrong type at some place.
every = pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])


@every
def test_broken_regions(dynamodb: Any, good: Flask, step: int) -> None:
    items = region_items()
    assert len(items) >= 400
    expected = {state.region.code for state in RegionTable(dynamodb).all()}
    for some in chunks(items[::step]):
        codes = [f"xx-east-{k}" for k in range(PER_TABLE)]
        put(dynamodb, "cloudping_regions", [
            {**item, "region": {"S": code}} for code, item in zip(codes, some, strict=False)
        ])  # fmt: skip
        answers = survives(dynamodb, good)
        shown = {row["region"] for row in answers["/api/v1/regions"]["data"]}
        assert expected <= shown <= expected | set(codes)
        assert len(answers["/api/latencies"]["data"]["us-east-1"]) == len(TARGETS)


@every
def test_broken_newest_runs(dynamodb: Any, good: Flask, step: int) -> None:
    items = run_items()
    assert len(items) >= 478
    codes = [code for code in CATALOGUE if code not in TARGETS][:PER_TABLE]
    for code in codes:
        RegionTable(dynamodb).put(RegionState(CATALOGUE[code], True, True, 300, "ENABLED"))
    for k, some in enumerate(chunks(items[::step])):
        at = this_minute() - timedelta(minutes=k)
        for code, item in zip(codes, some, strict=False):
            key = {"region": {"S": code}, "timestamp": {"S": to_iso(at)}}
            put(dynamodb, RunTable.NAME, [{**item, **key}])
        answers = survives(dynamodb, good)
        assert set(answers["/api/latencies?timeframe=now"]["data"]) >= {"us-east-1", "eu-west-1"}
        for code in codes:
            dynamodb.delete_item(
                TableName=RunTable.NAME,
                Key={"region": {"S": code}, "timestamp": {"S": to_iso(at)}},
            )


@every
def test_broken_cells(dynamodb: Any, good: Flask, step: int) -> None:
    items = cell_items()
    assert len(items) >= 375
    others = [code for code in CATALOGUE if code not in TARGETS]
    pairs = [(source, code) for source in ("us-east-1", "eu-west-1") for code in others]
    for some in chunks(items[::step]):
        for timeframe in TIMEFRAMES:
            put(dynamodb, SummaryTable.NAME, [
                {**item, "timeframe": {"S": timeframe}, "index": {"S": f"{a}_{b}_{timeframe}"}}
                for (a, b), item in zip(pairs, some, strict=False)
            ])  # fmt: skip
        answers = survives(dynamodb, good)
        row = answers["/api/latencies"]["data"]["us-east-1"]
        assert {code: row[code] for code in TARGETS} == {
            "us-east-1": 1.2, "eu-west-1": 68.5, "ap-northeast-1": 148.5, "cn-north-1": 215.5
        }  # fmt: skip


@every
def test_broken_changes(dynamodb: Any, good: Flask, step: int) -> None:
    table = ChangeTable(dynamodb)
    item = wire(changes.to_item(a_change(last_day=date(2026, 4, 2))))
    pairs = ("{", "1", "[1]", "[[]]", '[["a","b","2026-03-14",null,1e999,NaN,1]]', "null", "[null]")
    items = [
        *broken(item, {"year", "id"}),
        *({**item, "pairs": {"S": text}} for text in pairs),
    ]
    for k, some in enumerate(chunks(items[::step])):
        table.write([a_change()])
        put(dynamodb, table.name, [
            {**bad, "id": {"S": f"2026-03-15-{k}-{n}"}} for n, bad in enumerate(some)
        ])  # fmt: skip
        table.put_state(State(date(2026, 11, 1) + timedelta(days=k), this_minute()))
        answers = survives(dynamodb, good)
        assert a_change().id in {row["id"] for row in answers["/api/v1/changes"]["data"]}


def test_a_broken_state_of_the_aggregator_only_costs_its_marks(dynamodb: Any, good: Flask) -> None:
    for wrong in ({}, {"watermark": {"N": "1"}}, {"written": {"S": "x"}, "revision": {"S": "y"}}):
        put(dynamodb, "cloudping_distributions",
            [{"region": {"S": "us-east-1"}, "bucket": {"S": "state"}, **wrong}])  # fmt: skip
        survives(dynamodb, good)
