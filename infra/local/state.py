"""The files that MiniStack keeps of a run: whether they were written, what becomes of broken ones.

MiniStack writes a file a service, each whole or not at all; whether it could, only its log says.
"""

from datetime import UTC, datetime
from pathlib import Path

from cloudping.times import utc_now

TABLES = Path("state") / "dynamodb.json"


def saved_at(folder: Path) -> datetime | None:
    """When the tables were last written; None when they never were."""
    try:
        return datetime.fromtimestamp((folder / TABLES).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def discard_unfinished(folder: Path) -> None:
    """Removes what a process that was killed had begun to write."""
    for unfinished in (folder / "state").glob("*.tmp"):
        unfinished.unlink()


def is_there(folder: Path) -> bool:
    return any((folder / "state").glob("*.json"))


def set_aside(folder: Path) -> Path:
    """Moves all of it out of the way; returns where it is now."""
    aside = folder / f"state-broken-{utc_now():%Y%m%dT%H%M%S}"
    (folder / "state").rename(aside)
    return aside
