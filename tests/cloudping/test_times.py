"""Timestamps as text and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudping.times import from_iso, to_iso


@given(st.datetimes(timezones=st.just(UTC)))
def test_to_the_millisecond_and_back(moment: datetime) -> None:
    back = from_iso(to_iso(moment))
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)


def test_other_zones_become_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert to_iso(datetime(2026, 11, 20, 9, tzinfo=tokyo)) == "2026-11-20T00:00:00.000Z"
    assert from_iso("2026-11-20T09:00:00+09:00") == datetime(2026, 11, 20, tzinfo=UTC)


def test_no_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_iso(datetime(2026, 11, 20))  # noqa: DTZ001 - what is tested
    with pytest.raises(ValueError, match="names no time zone"):
        from_iso("2026-11-20T09:00:00")
