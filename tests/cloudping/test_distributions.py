from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import compress

import boto3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from cloudping.distributions import (
    DAY,
    HOUR,
    MONTH,
    Bucket,
    Distribution,
    DistributionTable,
    State,
    decode,
    digest,
    encode,
    figures,
    floor,
    following,
    from_attempts,
    from_item,
    merge,
    minimum_samples,
    networks,
    percentiles,
    series,
    to_item,
)
from cloudping.errors import ItemError
from cloudping.runs import REASONS

SIX = datetime(2026, 11, 20, 6, tzinfo=UTC)
TARGETS = ("eu-west-1", "us-east-1", "us-west-2")

# One attempt: index of target, latency in ms or None, reason, time; 429496.72 s in units is < 2^32.
attempts = st.tuples(
    st.integers(0, 2),
    st.one_of(st.none(), st.floats(0, 40_000_000, allow_nan=False)),
    st.integers(0, len(REASONS) - 1),
    st.integers(1, 2**32 - 1),
)
Attempts = list[tuple[int, float | None, int, int]]


def made(rows: Attempts, targets: Sequence[str] = TARGETS) -> Distribution:
    return from_attempts(
        targets,
        [row[0] for row in rows],
        [np.nan if row[1] is None else row[1] for row in rows],
        [row[3] for row in rows],
        reason=[row[2] for row in rows],
        runs=len(rows),
    )


def bucket(
    distribution: Distribution,
    start: datetime = SIX,
    level: str = HOUR,
    method: str = "kernel-1",
    network: str = "aws",
) -> Bucket:
    return Bucket("eu-west-1", level, start, method, network, distribution)


@settings(deadline=None)
@given(st.lists(attempts, max_size=60))
def test_percentiles_are_numpys_over_the_samples(rows: Attempts) -> None:
    ps = [0, 1, 10, 25, 50, 75, 90, 95, 98, 99, 99.9, 100]
    result = percentiles(made(rows), ps)
    for at in range(len(TARGETS)):
        units = np.rint([ms * 100 for k, ms, _, _ in rows if k == at and ms is not None])
        if len(units):
            assert result[at].tolist() == np.percentile(units / 100, ps).tolist()
        else:
            assert np.isnan(result[at]).all()


@settings(deadline=None)
@given(st.lists(attempts, max_size=40), st.randoms(), st.integers(1, 6))
def test_any_split_and_any_order_of_the_samples_gives_the_same(
    rows: Attempts, random: Any, pieces: int
) -> None:
    whole = made(rows)
    shuffled = random.sample(rows, len(rows))
    parts = [made(shuffled[k::pieces]) for k in range(pieces)]
    while len(parts) > 1:  # merged in a random tree, as hours into days into months
        random.shuffle(parts)
        parts = [merge(parts[:2]), *parts[2:]]
    assert digest(parts[0]) == digest(whole)


@settings(deadline=None)
@given(*[st.lists(attempts, max_size=20)] * 3)
def test_merging_is_associative_and_commutative(a: Attempts, b: Attempts, c: Attempts) -> None:
    # The three know different targets, so that these have to be brought together as well.
    x, y, z = made(a), made(b, TARGETS[::-1]), made(c, ("a-1", "us-east-1", "z-9"))
    assert digest(merge([x, y])) == digest(merge([y, x]))
    assert digest(merge([merge([x, y]), z])) == digest(merge([x, merge([y, z])]))
    assert digest(merge([x, merge([])])) == digest(x)


@settings(deadline=None)
@given(st.lists(attempts, max_size=60))
def test_encoding_loses_nothing(rows: Attempts) -> None:
    one = made(rows)
    two = decode(encode(one))
    assert (two.targets, two.runs, two.scheduled_runs, two.until_s) == (
        one.targets,
        one.runs,
        one.scheduled_runs,
        one.until_s,
    )
    for column in ("target", "units", "counts", "failures", "scheduled", "first_s", "last_s"):
        np.testing.assert_array_equal(getattr(two, column), getattr(one, column))
    assert encode(two) == encode(one)


@pytest.mark.parametrize(
    "data", [b"", b"no zlib", compress(b"{}\n"), compress(b'{"targets": 1}'), encode(made([]))[:-1]]
)
def test_what_is_not_a_distribution_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an encoded distribution"):
        decode(data)


def test_a_reason_added_later_does_not_disturb_what_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: Attempts = [(0, None, k, 60) for k in range(len(REASONS))]
    data = encode(made(rows))
    monkeypatch.setattr("cloudping.distributions.REASONS", ("new", *REASONS))
    assert decode(data).failures[0].tolist() == [0] + [1] * len(REASONS)


def test_an_hour_and_a_month_at_five_minutes_are_small() -> None:
    rng = np.random.default_rng(4)
    sizes = {}
    for name, runs in (("hour", 12), ("month", 8928)):
        target = np.tile(np.repeat(np.arange(39), 5), runs)
        latency = 6.0 * target * (1 + rng.exponential(0.004, len(target)))
        codes = [f"region-{k:02d}" for k in range(39)]
        one = from_attempts(codes, target, latency, SIX.timestamp(), runs=runs)
        sizes[name] = len(encode(one))
    assert sizes["hour"] < 2500
    assert sizes["month"] < 60_000  # DynamoDB takes 400 KB


def test_figures_count_losses_and_coverage_apart() -> None:
    rows: Attempts = [(0, float(ms), 0, 1_700_000_000 + ms) for ms in range(100)]
    rows += [(0, None, REASONS.index(reason), 60) for reason in REASONS]
    one = from_attempts(
        TARGETS,
        [row[0] for row in rows],
        [np.nan if row[1] is None else row[1] for row in rows],
        [row[3] for row in rows],
        reason=[row[2] for row in rows],
        scheduled=[214, 5, 0],
    )
    found = figures([bucket(one)])
    f = found["eu-west-1"]
    assert f.samples == 100
    assert f.mean == 49.5
    assert f.stddev == pytest.approx(np.std(np.arange(100)))
    assert (f.min, f.max) == (0.0, 99.0)
    assert f.percentiles[99] == np.percentile(np.arange(100), 99)
    assert f.failures == dict.fromkeys(REASONS, 1)
    assert f.loss_pct == 100 * 6 / 106  # six reasons are losses
    assert f.coverage_pct == 100 * 107 / 214  # too_fast was tried, local_error and not_tried not
    assert f.first_sample == datetime.fromtimestamp(1_700_000_000, UTC)
    assert f.last_sample == datetime.fromtimestamp(1_700_000_099, UTC)
    assert f.methods == ("kernel-1",)
    silent = found["us-east-1"]
    assert (silent.samples, silent.mean, silent.loss_pct, silent.coverage_pct) == (0, None, None, 0)
    assert silent.first_sample is None
    assert found["us-west-2"].coverage_pct is None


@pytest.mark.parametrize(
    ("p", "n"), [(10, 10), (25, 4), (50, 2), (75, 4), (90, 10), (95, 20), (98, 50), (99, 100)]
)
def test_a_percentile_needs_a_sample_beyond_it(p: int, n: int) -> None:
    assert minimum_samples(p) == n
    one_short = figures([bucket(made([(0, 5.0, 0, 60)] * (n - 1)))])["eu-west-1"]
    enough = figures([bucket(made([(0, 5.0, 0, 60)] * n))])["eu-west-1"]
    assert p not in one_short.percentiles
    assert enough.percentiles[p] == 5.0


def test_figures_name_every_method_of_their_samples_and_a_simulation_is_marked() -> None:
    own = bucket(made([(0, 5.0, 0, 60), (1, 6.0, 0, 60)]), network="simulated")
    imported = bucket(made([(0, 7.0, 0, 60), (1, None, 1, 60)]), method="original-1")
    found = figures([own, imported])
    assert found["eu-west-1"].methods == ("kernel-1", "original-1")
    assert found["eu-west-1"].mean == 6.0
    assert found["us-east-1"].methods == ("kernel-1",)
    assert networks([own, imported]) == "simulated"
    assert networks([imported]) == "aws"


def test_the_series_of_a_target_has_a_point_for_each_start() -> None:
    hours = [SIX, SIX + timedelta(hours=1)]
    buckets = [
        bucket(made([(1, 2.0, 0, 60)]), hours[1]),
        bucket(made([(1, 4.0, 0, 60)]), hours[0]),
        bucket(made([(1, 6.0, 0, 60)]), hours[0], method="original-1"),
    ]
    points = series(buckets, "us-east-1")
    assert [(start, f.samples, f.mean) for start, f in points] == [
        (hours[0], 2, 5),
        (hours[1], 1, 2),
    ]
    assert series(buckets, "not-a-target") == []


def test_levels_follow_the_calendar_in_utc() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, 999, tzinfo=UTC)
    assert floor(HOUR, moment) == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert floor(DAY, moment) == datetime(2026, 12, 31, tzinfo=UTC)
    assert floor(MONTH, moment) == datetime(2026, 12, 1, tzinfo=UTC)
    for level in (HOUR, DAY, MONTH):
        assert following(level, floor(level, moment)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert following(MONTH, datetime(2026, 2, 1, tzinfo=UTC)) == datetime(2026, 3, 1, tzinfo=UTC)


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
    ("level", "start", "method", "network", "key"),
    [
        (HOUR, SIX, "kernel-1", "aws", "H#2026-11-20T06"),
        (DAY, SIX.replace(hour=0), "kernel-1", "simulated", "D#2026-11-20#simulated"),
        (MONTH, SIX.replace(day=1, hour=0), "original-1", "aws", "M#2026-11#original-1"),
        (HOUR, SIX, "connect-1", "simulated", "H#2026-11-20T06#connect-1#simulated"),
    ],
)
def test_the_key_says_level_start_and_what_is_unusual(
    level: str, start: datetime, method: str, network: str, key: str
) -> None:
    item = to_item(bucket(made([(0, 1.5, 0, 60)]), start, level, method, network), SIX)
    assert item["bucket"] == key
    back = from_item(item)
    assert (back.level, back.start, back.method, back.network) == (level, start, method, network)
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
    table.put_state(State("eu-west-1", SIX, SIX), None)
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
    assert stored.distribution.samples().tolist() == [2, 0, 0]


def test_the_state_is_kept_and_only_its_reader_can_move_it(table: DistributionTable) -> None:
    assert table.state("eu-west-1") is None
    state = State(
        "eu-west-1", SIX, SIX + timedelta(minutes=1), SIX - timedelta(days=3), {"1D": "abc"}
    )
    assert table.put_state(state, None)
    assert not table.put_state(state, None)
    read = table.state("eu-west-1")
    assert read is not None
    assert read == replace(state, revision=1)
    assert table.put_state(read, read)
    assert not table.put_state(read, read)
