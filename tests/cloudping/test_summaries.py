import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cloudping import dynamo
from cloudping.errors import ItemError, StoreError
from cloudping.summaries import (
    Day,
    Figures,
    HistoryTable,
    Summary,
    SummaryTable,
    from_item,
    to_item,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

FULL = Figures(
    samples=1440,
    mean=81.237,
    stddev=1.5,
    min=80.01,
    max=99.99,
    percentiles={10: 80.2, 25: 80.5, 50: 81.0, 75: 82.0, 90: 84.1, 95: 85.0, 98: 90.0, 99: 95.125},
    failures={"timeout": 2, "too_fast": 1},
    loss_pct=0.139,
    coverage_pct=99.5,
    first_sample=NOON.replace(hour=0, minute=2),
    last_sample=NOON,
    methods=("kernel-1", "original-1"),
)
EMPTY = Figures(samples=0, coverage_pct=0.0)


def summary(figures: Figures = FULL, to: str = "eu-west-1", timeframe: str = "1D") -> Summary:
    return Summary(
        timeframe, "us-east-1", to, figures, NOON.replace(day=19), NOON, NOON, "simulated"
    )


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("dynamodb", "us-east-2")
        for name, keys in (
            ("t-cloudping_stored_avgs", ("timeframe", "index")),
            ("t-cloudping_history", ("pair", "month")),
        ):
            client.create_table(
                TableName=name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in keys],
                KeySchema=[
                    {"AttributeName": keys[0], "KeyType": "HASH"},
                    {"AttributeName": keys[1], "KeyType": "RANGE"},
                ],
            )
        yield client


@pytest.mark.parametrize("figures", [FULL, EMPTY])
def test_an_item_gives_back_its_summary(figures: Figures) -> None:
    wire = dynamo.to_wire(to_item(summary(figures)))
    assert from_item(dynamo.from_wire(wire)) == summary(figures)


def test_the_item_has_the_attributes_that_other_programs_read() -> None:
    item = to_item(summary())
    assert item["index"] == "us-east-1_eu-west-1_1D"
    assert float(item["latency"]) == 81.237
    assert {f"p_{p}" for p in (10, 25, 50, 75, 90, 95, 98, 99)} <= set(item)
    assert item["window_end"] == "2026-11-20T12:00:00.000Z"


def test_a_figure_that_is_not_known_has_no_attribute() -> None:
    item = to_item(summary(EMPTY))
    assert item["samples"] == 0
    assert not {"latency", "p_50", "min", "max", "stddev", "loss_pct"} & set(item)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("p_50", "81"),
        ("window_end", "yesterday"),
        ("samples", None),
        ("failures", []),
        ("methods", "kernel-1"),
        ("last_sample", "12:00"),
    ],
)
def test_a_bad_attribute_is_named_with_its_value(attribute: str, value: object) -> None:
    item = to_item(summary()) | {attribute: value}
    with pytest.raises(ItemError) as caught:
        from_item(item)
    assert (caught.value.attribute, caught.value.value) == (attribute, value)
    assert "1D/us-east-1_eu-west-1_1D" in str(caught.value)


def test_a_missing_attribute_is_named() -> None:
    item = to_item(summary())
    del item["network"]
    with pytest.raises(ItemError, match="network is None"):
        from_item(item)


def test_same_as_ignores_only_when_it_was_written() -> None:
    later = Summary(
        **{f: getattr(summary(), f) for f in Summary.__slots__}
        | {"updated_at": NOON.replace(hour=13)}
    )
    assert summary().same_as(later)
    assert not summary().same_as(summary(EMPTY))
    assert not summary().same_as(None)


def test_a_timeframe_and_a_row_of_it_are_read_back(client: Any) -> None:
    table = SummaryTable(client, "t-")
    others = [summary(to=f"eu-west-{n}") for n in range(1, 60)]  # more than two batches
    foreign = Summary("1D", "us-east-10", "eu-west-1", FULL, NOON, NOON, NOON, "aws")
    table.write([*others, foreign, summary(timeframe="1W")])
    assert len(table.all("1D")) == 60
    assert table.all("1W") == [summary(timeframe="1W")]
    assert sorted(s.region_to for s in table.of_source("1D", "us-east-1")) == sorted(
        s.region_to for s in others
    )
    table.delete(others[:30])
    assert len(table.of_source("1D", "us-east-1")) == 29


class Reluctant:
    """A client whose batch writes leave all but the first request unprocessed."""

    def __init__(self, client: Any, refusals: int) -> None:
        self._client, self._refusals = client, refusals

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> Any:
        if self._refusals == 0:
            return self._client.batch_write_item(RequestItems=RequestItems)
        self._refusals -= 1
        ((name, requests),) = RequestItems.items()
        self._client.batch_write_item(RequestItems={name: requests[:1]})
        return {"UnprocessedItems": {name: requests[1:]}}


def test_what_dynamodb_leaves_unprocessed_is_sent_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    SummaryTable(Reluctant(client, 3), "t-").write(summary(to=f"r-{n}") for n in range(40))
    assert len(SummaryTable(client, "t-").all("1D")) == 40
    with pytest.raises(StoreError, match="17 items still unprocessed"):
        SummaryTable(Reluctant(client, 100), "t-").write(summary(to=f"r-{n}") for n in range(25))


def day(number: int, figures: Figures = FULL, month: int = 11) -> Day:
    moved = {
        name: moment.replace(month=month, day=number)
        for name in ("first_sample", "last_sample")
        if (moment := getattr(figures, name)) is not None
    }
    of_day = replace(figures, **moved)
    return Day("us-east-1", "eu-west-1", date(2026, month, number), of_day, "aws")


def test_history_is_read_across_months_and_cut_to_the_days_asked_for(client: Any) -> None:
    table = HistoryTable(client, "t-")
    days = [day(30, month=10), day(31, EMPTY, month=10), day(1), day(2)]
    assert table.update(days) == (4, [])
    assert (
        table.between("us-east-1", "eu-west-1", date(2026, 10, 31), date(2026, 11, 1)) == days[1:3]
    )
    assert table.between("us-east-1", "eu-west-2", date(2026, 10, 1), date(2026, 11, 30)) == []


def test_only_days_that_differ_are_written_and_others_stay(client: Any) -> None:
    table = HistoryTable(client, "t-")
    table.update([day(1), day(2)])
    assert table.update([day(1), day(2, EMPTY), day(3)]) == (2, [])
    assert table.update([day(3)]) == (0, [])
    assert table.between("us-east-1", "eu-west-1", date(2026, 11, 1), date(2026, 11, 30)) == [
        day(1),
        day(2, EMPTY),
        day(3),
    ]


def test_two_writers_of_a_new_month_keep_each_others_days(client: Any) -> None:
    table = HistoryTable(client, "t-")
    table.update([day(1)])
    table._set("us-east-1#eu-west-1", "2026-11", {"02": "{}"}, is_new=True)
    item = client.get_item(
        TableName=table.name,
        Key={"pair": {"S": "us-east-1#eu-west-1"}, "month": {"S": "2026-11"}},
    )["Item"]
    assert sorted(item["days"]["M"]) == ["01", "02"]


def test_whole_months_are_written_at_once(client: Any) -> None:
    table = HistoryTable(client, "t-")
    days = [day(n, month=m) for m in (10, 11) for n in (1, 5)]
    table.replace(reversed(days))
    assert table.between("us-east-1", "eu-west-1", date(2026, 1, 1), date(2026, 12, 31)) == days


def test_a_bad_day_is_named_with_its_text(client: Any) -> None:
    table = HistoryTable(client, "t-")
    table._set("us-east-1#eu-west-1", "2026-11", {"07": "{}"}, is_new=True)
    (error,) = table.between("us-east-1", "eu-west-1", date(2026, 11, 1), date(2026, 11, 30)).bad
    assert "us-east-1#eu-west-1/2026-11: days.07 is '{}'" in str(error)


def test_one_attempt_of_a_year_is_not_rounded_away(client: Any) -> None:
    table = SummaryTable(client, "t-")
    once = replace(FULL, loss_pct=0.00019, coverage_pct=99.99981)
    table.write([summary(once, timeframe="1Y")])
    [read] = table.of_source("1Y", "us-east-1")
    assert (read.figures.loss_pct, read.figures.coverage_pct) == (0.00019, 99.99981)
