"""The distributions of all pairs: which buckets, once a day, and what they cost."""

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import numpy as np

from cloudping.buckets import Bucket, DistributionTable
from cloudping.codec import encode
from cloudping.distribution import from_attempts, merge
from cloudping.periods import DAY, HOUR, MONTH, following
from cloudping.runs import METHOD_KERNEL, ORIGIN_SIMULATED
from frontend.data.all_pairs import AllPairs
from infra.commands.cost import ITEM_OVERHEAD

NOW = datetime(2026, 11, 20, 12, 3, tzinfo=UTC)


def bucket(level: str, start: datetime, *latencies: float, source: str = "us-east-1") -> Bucket:
    found = from_attempts(
        ["eu-west-1"], [0] * len(latencies), latencies, int(start.timestamp()), runs=1
    )
    return Bucket(source, level, start, METHOD_KERNEL, ORIGIN_SIMULATED, found)


def put(client: Any, level: str, first: datetime, latency_ms: float) -> None:
    found, start = [], first
    while following(level, start) <= NOW:
        found.append(bucket(level, start, latency_ms))
        start = following(level, start)
    DistributionTable(client).write(found, NOW)


def asked(client: Any) -> list[str]:
    calls: list[str] = []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
    return calls


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


def pairs(client: Any, clock: Clock, *sources: str) -> AllPairs:
    return AllPairs(lambda: client, "", lambda: sources or ("us-east-1",), clock)


def counts(found: AllPairs, timeframe: str) -> dict[float, int]:
    pair = found.window(timeframe).pairs["us-east-1", "eu-west-1"]
    return {u / 100: n for u, n in zip(pair.units.tolist(), pair.counts.tolist(), strict=True)}


def test_windows_are_whole_days_and_months_read_once_a_day(dynamodb: Any) -> None:
    put(dynamodb, HOUR, datetime(2026, 11, 18, tzinfo=UTC), 10.0)
    put(dynamodb, DAY, datetime(2026, 9, 1, tzinfo=UTC), 20.0)
    put(dynamodb, MONTH, datetime(2025, 6, 1, tzinfo=UTC), 30.0)
    clock, calls = Clock(), asked(dynamodb)
    found = pairs(dynamodb, clock, "us-east-1", "eu-west-1")
    assert [counts(found, name) for name in ("1D", "1W", "1M")] == [{20: 1}, {20: 7}, {20: 30}]
    assert counts(found, "1Y") == {30: 12}
    assert calls == ["Query"] * 4  # of each source its days, its months
    week = found.window("1W")
    assert (week.begin, week.end) == (
        NOW.replace(day=13, hour=0, minute=0),
        NOW.replace(hour=0, minute=0),
    )
    assert week.origin == ORIGIN_SIMULATED
    assert week.pairs["us-east-1", "eu-west-1"].runs == 7
    clock.now = datetime(2026, 11, 21, 1, 59, tzinfo=UTC)
    assert found.window("1W") is week
    clock.now += timedelta(minutes=1)  # a day is summed at the latest two hours after it is over
    assert found.window("1W").end == datetime(2026, 11, 21, tzinfo=UTC)
    found.window("1Y")
    assert calls == ["Query"] * 6
    clock.now = datetime(2026, 12, 1, 2, tzinfo=UTC)
    assert found.window("1Y").end == datetime(2026, 12, 1, tzinfo=UTC)


def test_a_new_installation_has_its_hours_and_then_its_days(dynamodb: Any) -> None:
    put(dynamodb, HOUR, NOW.replace(hour=7, minute=0), 10.0)
    found = pairs(dynamodb, Clock())
    assert [counts(found, name) for name in ("1D", "1M", "1Y")] == [{10: 5}] * 3
    assert found.window("1Y").begin == NOW.replace(hour=7, minute=0)
    put(dynamodb, DAY, NOW.replace(day=17, hour=0, minute=0), 20.0)
    days = pairs(dynamodb, Clock())
    assert counts(days, "1Y") == {20: 3}
    assert days.window("1Y").begin == NOW.replace(day=17, hour=0, minute=0)


def test_without_anything_there_are_no_pairs(dynamodb: Any) -> None:
    assert pairs(dynamodb, Clock()).window("1Y").pairs == {}


def test_sums_are_those_of_merged_distributions(dynamodb: Any) -> None:
    rng = np.random.default_rng(3)
    made = []
    for k in range(7):
        target = rng.integers(0, 3, 400)
        latency = np.where(
            rng.random(400) < 0.05, np.nan, 20 + 50 * target + rng.gamma(1.5, 2, 400)
        )
        one = from_attempts(["a", "b", "c"], target, latency, 1, runs=80)
        made.append(Bucket("us-east-1", DAY, NOW.replace(hour=0, minute=0) - timedelta(days=k + 1),
                           METHOD_KERNEL, "aws", one))  # fmt: skip
    DistributionTable(dynamodb).write(made, NOW)
    found = pairs(dynamodb, Clock()).window("1W").pairs
    merged = merge(bucket.distribution for bucket in made)
    for code in "abc":
        only, pair = merged.only(code), found["us-east-1", code]
        assert (pair.units.tolist(), pair.counts.tolist()) == (
            only.units.tolist(),
            only.counts.tolist(),
        )
        assert (pair.lost, pair.runs) == (int(only.failures.sum()), 560)


def test_a_read_is_below_three_thousand_units() -> None:
    """Eventually consistent queries: half a unit for each 4 KB that an answer has in all."""
    targets = 39
    rng = np.random.default_rng(1)

    def units(days: int, number: int) -> float:
        attempts = 1440 * days  # a pair's, at five every five minutes
        target = np.repeat(np.arange(targets), attempts)
        latency = 20 + 5 * target + rng.gamma(1.5, 0.5 + target / 40, len(target))
        made = from_attempts([f"t{k:02}" for k in range(targets)], target, latency, 1, runs=288)
        return 34 * ceil(number * (len(encode(made)) + ITEM_OVERHEAD) / 4096) / 2

    assert units(1, 30) <= 3000
    assert units(30, 12) <= 3000
