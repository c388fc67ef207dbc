from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cloudping.buckets import Checkpoint, DistributionTable, from_item, to_item
from cloudping.codec import digest
from cloudping.errors import ItemError
from cloudping.periods import DAY, HOUR, MONTH
from tests.cloudping.conftest import SIX, bucket, made


@pytest.fixture
def table() -> Iterator[DistributionTable]:
    with mock_aws():
        client = boto3.client("dynamodb", "us-east-2")
        keys = ("region", "bucket")
        client.create_table(
            TableName="t-cloudping_distributions",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in keys],
            KeySchema=[
                {"AttributeName": keys[0], "KeyType": "HASH"},
                {"AttributeName": keys[1], "KeyType": "RANGE"},
            ],
        )
        yield DistributionTable(client, "t-")


@pytest.mark.parametrize(
    ("level", "start", "method", "origin", "key"),
    [
        (HOUR, SIX, "kernel-1", "aws", "H#2026-11-20T06"),
        (DAY, SIX.replace(hour=0), "kernel-1", "simulated", "D#2026-11-20#simulated"),
        (MONTH, SIX.replace(day=1, hour=0), "original-1", "aws", "M#2026-11#original-1"),
        (HOUR, SIX, "connect-1", "simulated", "H#2026-11-20T06#connect-1#simulated"),
    ],
)
def test_the_key_says_level_start_and_what_is_unusual(
    level: str, start: datetime, method: str, origin: str, key: str
) -> None:
    item = to_item(bucket(made([(0, 1.5, 0, 60)]), start, level, method, origin), SIX)
    assert item["bucket"] == key
    back = from_item(item)
    assert (back.level, back.start, back.method, back.origin) == (level, start, method, origin)
    assert digest(back.distribution) == back.stored_digest


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("bucket", "H#2026"), ("bucket", 7), ("version", 2), ("data", b"x"), ("method", None)],
)
def test_a_bad_item_is_named(attribute: str, value: Any) -> None:
    item = to_item(bucket(made([])), SIX) | {attribute: value}
    if value is None:
        del item[attribute]
    with pytest.raises(ItemError) as caught:
        from_item(item)
    assert caught.value.attribute == attribute


def test_a_range_holds_all_methods_of_its_first_and_last_start_only(
    table: DistributionTable,
) -> None:
    hours = [SIX + timedelta(hours=k) for k in range(-1, 4)]
    stored = [
        bucket(made([]), start, method=method)
        for start in hours
        for method in ("kernel-1", "original-1")
    ]
    stored += [bucket(made([]), SIX.replace(hour=0), DAY)]
    table.write(stored, SIX)
    table.move(Checkpoint("eu-west-1", SIX, SIX), None, SIX)
    found = table.between("eu-west-1", HOUR, hours[1], hours[3])
    assert [(b.start, b.method) for b in found] == [
        (start, method) for start in hours[1:4] for method in ("kernel-1", "original-1")
    ]
    assert len(table.between("eu-west-1", DAY, hours[0], hours[4])) == 1
    assert table.between("eu-west-2", HOUR, hours[0], hours[4]) == []


def test_a_writer_that_read_an_older_bucket_does_not_win(table: DistributionTable) -> None:
    old, new = bucket(made([(0, 1.0, 0, 60)])), bucket(made([(0, 1.0, 0, 60), (0, 2.0, 0, 61)]))
    assert table.replace(old, None, SIX)
    assert not table.replace(new, None, SIX)  # it thought that there was none
    (read,) = table.between("eu-west-1", HOUR, SIX, SIX, consistent=True)
    assert table.replace(new, read, SIX)
    assert not table.replace(old, read, SIX)
    (stored,) = table.between("eu-west-1", HOUR, SIX, SIX)
    assert stored.distribution.sample_counts().tolist() == [2, 0, 0]


def test_the_state_is_kept_and_only_its_reader_can_move_it(table: DistributionTable) -> None:
    assert table.checkpoint("eu-west-1") is None
    state = Checkpoint(
        "eu-west-1", SIX, SIX + timedelta(minutes=1), SIX - timedelta(days=3), {"1D": "abc"}
    )
    assert table.move(state, None, SIX)
    assert not table.move(state, None, SIX)
    read = table.checkpoint("eu-west-1")
    assert read is not None
    assert read == replace(state, revision=1, updated_at=SIX)
    assert table.move(read, read, SIX)
    assert not table.move(read, read, SIX)
