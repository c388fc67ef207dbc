"""The stretches of time that distributions are kept for: hours, UTC days and UTC months; pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

# Levels, from fine to coarse, with how the start is written in a bucket's key.
HOUR: Final = "H"
DAY: Final = "D"
MONTH: Final = "M"
START_FORMAT: Final = {HOUR: "%Y-%m-%dT%H", DAY: "%Y-%m-%d", MONTH: "%Y-%m"}


def floor(level: str, moment: datetime) -> datetime:
    """The start of the hour, UTC day or UTC month that a moment is in."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if level == HOUR:
        return start
    return start.replace(hour=0) if level == DAY else start.replace(hour=0, day=1)


def following(level: str, start: datetime) -> datetime:
    """The start of the next hour, day or month."""
    if level == MONTH:
        return floor(MONTH, start + timedelta(days=31))
    return start + (timedelta(hours=1) if level == HOUR else timedelta(days=1))
