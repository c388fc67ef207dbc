"""`cloudping_changes`: events and state come back as they were written."""

from datetime import UTC, date, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cloudping import changes, dynamo
from cloudping.changes import ChangeTable, State
from cloudping.errors import ItemError
from tests.frontend.conftest import a_change

NOW = datetime(2026, 11, 24, 2, 3, tzinfo=UTC)


@pytest.fixture
def table() -> Any:
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-2")
        client.create_table(
            TableName="t-cloudping_changes",
            KeySchema=[
                {"AttributeName": "year", "KeyType": "HASH"},
                {"AttributeName": "id", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "year", "AttributeType": "S"},
                {"AttributeName": "id", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        yield ChangeTable(client, "t-")


def test_events_come_back_by_year_as_they_were_written(table: ChangeTable) -> None:
    old = a_change(id="2025-12-31-loss-up-path-a-b", figure="loss", role="path", ends=("a", "b"))
    new = a_change(last_day=date(2026, 5, 1), is_withdrawn=True)
    table.write([new, old])
    assert list(table.all(2025, 2026)) == [old, new]
    assert list(table.all(2026, 2026)) == [new]


def test_an_event_with_the_same_id_is_replaced(table: ChangeTable) -> None:
    table.write([a_change()])
    table.write([a_change(measured=34)])
    assert [change.measured for change in table.all(2026, 2026)] == [34]


def test_one_broken_event_does_not_hide_the_others(table: ChangeTable) -> None:
    table.write([a_change()])
    broken = {**changes.to_item(a_change(id="2026-01-01-x")), "pairs": "[1]"}
    table._client.put_item(TableName=table.name, Item=dynamo.to_wire(broken))
    found = table.all(2026, 2026)
    assert [change.id for change in found] == [a_change().id]
    assert [(error.key, error.attribute) for error in found.bad] == [("2026/2026-01-01-x", "pairs")]


def test_the_state(table: ChangeTable) -> None:
    assert table.state() is None
    table.put_state(State(date(2026, 11, 23), NOW))
    assert table.state() == State(date(2026, 11, 23), NOW)
    assert list(table.all(2026, 2026)) == []


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("figure", "p51"),
        ("role", "near"),
        ("first_day", "2026-13-01"),
        ("last_day", 5),
        ("pairs", "[[1,2,3]]"),
        ("pairs", "{"),
        ("pairs", "[]"),
        ("measured", -1),
        ("network", "guessed"),
        ("updated_at", "yesterday"),
        ("ends", "ap-south-1"),
        ("ends", []),
        ("pairs", '[["a","b","2026-03-14",null,NaN,1,1]]'),
        ("id", ""),
    ],
)
def test_what_is_broken_is_named(attribute: str, value: object) -> None:
    item = {**changes.to_item(a_change()), attribute: value}
    with pytest.raises(ItemError) as caught:
        changes.from_item(item)
    assert caught.value.attribute == attribute


def test_ids_can_stand_in_an_address() -> None:
    day = date(2026, 3, 14)
    assert changes.new_id(day, "p99", False, "between", ("Asia Pacific", "Europe")) == (
        "2026-03-14-p99-down-between-asia-pacific-europe"
    )


def test_when_two_say_the_same() -> None:
    later = datetime(2026, 11, 25, tzinfo=UTC)
    assert a_change(updated_at=later).says_the_same(a_change())
    assert not a_change(measured=34).says_the_same(a_change())
