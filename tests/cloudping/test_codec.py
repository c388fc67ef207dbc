from zlib import compress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudping.codec import decode, encode
from cloudping.distribution import from_attempts
from cloudping.runs import REASONS
from tests.cloudping.conftest import SIX, Attempts, attempts, made


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
    monkeypatch.setattr("cloudping.codec.REASONS", ("new", *REASONS))
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
