"""The catalogue against botocore's, distances, and the table of regions."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest

from cloudping.errors import StoreError, UnknownRegionError
from cloudping.regions import (
    CATALOGUE,
    RegionState,
    RegionTable,
    distance_km,
    fibre_rtt_ms,
    region,
    rtt_floor_ms,
    suggest,
)

PUBLIC_PARTITIONS = {"aws", "aws-cn", "aws-us-gov", "aws-eusc"}


def test_catalogue_is_what_botocore_knows_of_the_public_partitions() -> None:
    session = botocore.session.get_session()
    known = {
        code: (partition["partition"], f"dynamodb.{code}.{partition['dnsSuffix']}")
        for partition in session.get_data("endpoints")["partitions"]
        if partition["partition"] in PUBLIC_PARTITIONS
        for code in partition["regions"]
    }
    assert {c: (r.partition, r.endpoint) for c, r in CATALOGUE.items()} == known
    assert len(CATALOGUE) == 39


def test_names_are_botocores() -> None:
    session = botocore.session.get_session()
    for partition in session.get_data("endpoints")["partitions"]:
        for code, description in partition["regions"].items():
            if code in CATALOGUE:
                assert CATALOGUE[code].name == description["description"]


def test_places_are_on_earth_and_in_their_geography() -> None:
    longitudes = {
        "North America": (-130, -60),
        "South America": (-82, -34),
        "Europe": (-10, 30),
        "Middle East": (34, 60),
        "Africa": (-18, 52),
        "Asia Pacific": (68, 180),
        "China": (73, 135),
    }
    for place in CATALOGUE.values():
        west, east = longitudes[place.geography]
        assert west <= place.longitude <= east, place
        assert -60 <= place.latitude <= 70, place


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        # City distances as any great-circle calculator gives them, to 1 %.
        ("eu-west-2", "eu-west-3", 344),
        ("us-east-1", "eu-west-1", 5_446),
        ("ap-southeast-2", "sa-east-1", 13_352),
    ],
)
def test_distance(a: str, b: str, km: float) -> None:
    assert distance_km(region(a), region(b)) == pytest.approx(km, rel=0.01)
    assert distance_km(region(b), region(a)) == pytest.approx(distance_km(region(a), region(b)))


def test_floor_is_below_what_light_needs_and_zero_for_neighbours() -> None:
    floor_ms = rtt_floor_ms("us-east-1", "eu-west-1")
    assert 0.7 * fibre_rtt_ms(region("us-east-1"), region("eu-west-1")) < floor_ms
    assert floor_ms < fibre_rtt_ms(region("us-east-1"), region("eu-west-1"))
    assert rtt_floor_ms("us-east-1", "us-east-1") == 0
    assert rtt_floor_ms("us-west-2", "us-gov-west-1") == 0
    assert rtt_floor_ms("us-east-1", "not-a-region-1") == 0


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("us-est-1", "us-east-1"), ("Frankfurt", "eu-central-1"), ("ireland", "eu-west-1")],
)
def test_unknown_region_suggests(wrong: str, meant: str) -> None:
    with pytest.raises(UnknownRegionError, match="did you mean") as caught:
        region(wrong)
    assert meant in caught.value.suggestions


def test_suggest_nothing_for_nothing() -> None:
    assert suggest("") == ()
    assert suggest("qqqqqq") == ()


STATE = RegionState(
    region=region("eu-west-1"),
    is_source=True,
    is_target=True,
    interval_s=300,
    opt_in_status="opt-in-not-required",
    earliest_data=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_table_returns_what_was_put_and_finds_by_use(dynamodb: Any) -> None:
    table = RegionTable(dynamodb)
    target_only = RegionState(region("cn-north-1"), is_source=False, is_target=True)
    retired = RegionState(region("us-west-1"), is_source=False, is_target=False)
    for state in (STATE, target_only, retired):
        table.put(state)
    assert table.all() == [target_only, STATE, retired]
    assert table.sources() == [STATE]
    assert {s.region.code for s in table.targets()} == {"eu-west-1", "cn-north-1"}


def test_put_replaces(dynamodb: Any) -> None:
    table = RegionTable(dynamodb)
    table.put(STATE)
    table.put(replace(STATE, interval_s=60))
    assert [s.interval_s for s in table.all()] == [60]


def test_broken_item_names_key_and_attribute(dynamodb: Any) -> None:
    dynamodb.put_item(TableName="cloudping_regions", Item={"region": {"S": "eu-west-1"}})
    (error,) = RegionTable(dynamodb).all().bad
    assert str(error).startswith("cloudping_regions item eu-west-1: region_name is None")


def test_a_broken_item_need_not_stop_the_others(dynamodb: Any) -> None:
    table = RegionTable(dynamodb)
    table.put(STATE)
    broken = {"region": {"S": "eu-west-9"}, "active_from": {"S": "True"}}
    dynamodb.put_item(TableName="cloudping_regions", Item=broken)
    for read in (table.all, table.sources):
        found = read()
        assert found == [STATE]
        assert [error.key for error in found.bad] == ["eu-west-9"]


def test_nothing_is_noted_of_a_region_that_is_not_there(dynamodb: Any) -> None:
    """Half an item would stop everybody who reads the catalogue."""
    table = RegionTable(dynamodb)
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    with pytest.raises(StoreError, match="ConditionalCheckFailed"):
        table.note_data("eu-west-1", moment, moment)
    assert table.all() == []
