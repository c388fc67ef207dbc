from datetime import UTC, datetime

from cloudping.periods import DAY, HOUR, MONTH, floor, following


def test_levels_follow_the_calendar_in_utc() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, 999, tzinfo=UTC)
    assert floor(HOUR, moment) == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert floor(DAY, moment) == datetime(2026, 12, 31, tzinfo=UTC)
    assert floor(MONTH, moment) == datetime(2026, 12, 1, tzinfo=UTC)
    for level in (HOUR, DAY, MONTH):
        assert following(level, floor(level, moment)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert following(MONTH, datetime(2026, 2, 1, tzinfo=UTC)) == datetime(2026, 3, 1, tzinfo=UTC)
