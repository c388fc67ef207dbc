"""The simulated network: deterministic, plausible, the same on numbers and on arrays."""

from datetime import UTC, datetime

import numpy as np
import pytest

from cloudping import planet
from cloudping.regions import CATALOGUE, fibre_rtt_ms, rtt_floor_ms

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOON_MINUTE = int(NOON.timestamp()) // 60
YEAR = NOON_MINUTE - np.arange(0, 365 * 1440, 360)


def test_same_question_same_answer_and_another_seed_another() -> None:
    asked = ("us-east-1", "eu-west-1", NOON, 5)
    assert planet.connects(*asked) == planet.connects(*asked)
    assert planet.connects(*asked) != planet.connects(*asked, seed=1)


@pytest.mark.parametrize("target", ["us-east-1", "eu-west-1", "cn-north-1"])
def test_numbers_and_arrays_agree(target: str) -> None:
    minutes = YEAR[:200]
    array = planet.latencies_ms("us-east-1", target, minutes, 5)
    for row, minute in zip(array, minutes, strict=True):
        moment = datetime.fromtimestamp(int(minute) * 60, UTC)
        singles = planet.connects("us-east-1", target, moment, 5)
        expected = [np.nan if a.latency_ms is None else a.latency_ms for a in singles]
        np.testing.assert_allclose(row, expected, rtol=0, atol=0.0011)


def test_never_faster_than_light_and_rarely_lost() -> None:
    lost = total = 0
    for source in list(CATALOGUE)[::5]:
        for target in CATALOGUE:
            array = planet.latencies_ms(source, target, YEAR, 5)
            assert np.nanmin(array) > rtt_floor_ms(source, target)
            fibre_ms = fibre_rtt_ms(CATALOGUE[source], CATALOGUE[target])
            assert np.nanmedian(array) < 2.4 * fibre_ms + 5
            lost += int(np.isnan(array).sum())
            total += array.size
    assert 0.0002 < lost / total < 0.01


def test_outages_come_and_the_failures_say_why() -> None:
    start = NOON_MINUTE - 30 * 1440
    array = planet.latencies_ms("us-east-1", "eu-west-1", np.arange(start, NOON_MINUTE, 5), 5)
    reasons = {
        attempt.reason
        for minute in start + 5 * np.flatnonzero(np.isnan(array).any(axis=1))
        for attempt in planet.connects(
            "us-east-1", "eu-west-1", datetime.fromtimestamp(int(minute) * 60, UTC), 5
        )
    }
    assert {None, "timeout", "retransmitted"} >= reasons
    assert reasons & {"timeout", "retransmitted"}


def test_addresses_are_distinct_and_of_the_documentation_range() -> None:
    addresses = {planet.address(code) for code in CATALOGUE}
    assert len(addresses) == len(CATALOGUE)
    assert all(address.startswith("203.0.113.") for address in addresses)
