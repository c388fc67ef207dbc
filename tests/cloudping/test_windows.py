from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudping import windows
from cloudping.periods import DAY, HOUR, MONTH, following

NOW = datetime(2026, 11, 20, 12, 3, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timeframe", "start"),
    [
        ("1D", datetime(2026, 11, 19, 12, tzinfo=UTC)),
        ("1W", datetime(2026, 11, 13, tzinfo=UTC)),
        ("1M", datetime(2026, 10, 21, tzinfo=UTC)),
        ("1Y", datetime(2025, 11, 20, tzinfo=UTC)),
    ],
)
def test_a_window_begins_at_a_full_hour_or_day(timeframe: str, start: datetime) -> None:
    assert windows.start(timeframe, NOW) == start


def test_a_year_is_covered_by_few_buckets() -> None:
    cover = list(windows.cover(windows.start("1Y", NOW), NOW))
    assert [(level, len(starts)) for level, starts in cover] == [
        (DAY, 11), (MONTH, 11), (DAY, 19), (HOUR, 13)
    ]  # fmt: skip
    assert cover[-1][1][-1] == datetime(2026, 11, 20, 12, tzinfo=UTC)


moments = st.integers(1_700_000_000, 1_830_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))


@given(moments, st.sampled_from(["1D", "1W", "1M", "1Y"]))
def test_a_cover_has_no_gap_no_overlap_and_nothing_unfinished_but_hours(
    now: datetime, timeframe: str
) -> None:
    begin = windows.start(timeframe, now)
    cover = [(level, start) for level, starts in windows.cover(begin, now) for start in starts]
    assert cover[0][1] == begin
    for (level, start), (_, next_start) in pairwise(cover):
        assert following(level, start) == next_start
    assert cover[-1][1] <= now < following(*cover[-1])
    assert all(level == HOUR or following(level, start) <= now for level, start in cover)
    # The fewest: no complete day left in hours, no complete month left in days.
    hours = [start for level, start in cover if level == HOUR]
    complete = {
        start
        for start in hours
        if start.hour == 0 and start + timedelta(hours=23) in hours
        if start + timedelta(days=1) <= now
    }
    assert not complete
    assert sum(level == DAY for level, _ in cover) <= 61
