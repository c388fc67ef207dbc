"""The tables of an installation, and what went on with one source in one pass over it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cloudping.buckets import DistributionTable
from cloudping.changes import ChangeTable
from cloudping.errors import CloudPingError, ItemError
from cloudping.regions import RegionState, RegionTable
from cloudping.runs import RunTable
from cloudping.summaries import HistoryTable, SummaryTable


class ConflictError(CloudPingError):
    """Another aggregator wrote to the same source meanwhile; the next run makes it right."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of an installation."""

    runs: RunTable
    distributions: DistributionTable
    summaries: SummaryTable
    history: HistoryTable
    changes: ChangeTable
    regions: RegionTable


def tables(client: Any, prefix: str) -> Tables:
    """The installation's tables."""
    return Tables(
        runs=RunTable(client, prefix),
        distributions=DistributionTable(client, prefix),
        summaries=SummaryTable(client, prefix),
        history=HistoryTable(client, prefix),
        changes=ChangeTable(client, prefix),
        regions=RegionTable(client, prefix),
    )


@dataclass(slots=True)
class Counts:
    """What was done; `bad` are the items that could not be used, and were left where they are."""

    runs_read: int = 0
    buckets_written: int = 0
    buckets_unchanged: int = 0
    buckets_kept: int = 0
    summaries_written: int = 0
    summaries_deleted: int = 0
    days_written: int = 0
    bad: dict[str, ItemError] = field(default_factory=dict)

    def report(self, errors: Iterable[ItemError]) -> None:
        """Counts each bad item once, however often it is met."""
        self.bad |= {f"{error.table}/{error.key}": error for error in errors}

    def add(self, part: "Counts") -> None:
        for name in self.__slots__:
            value, more = getattr(self, name), getattr(part, name)
            setattr(self, name, value | more if name == "bad" else value + more)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over one source: where, which, when. Everything in it has the same `now`.

    `newest` is the time of its newest run that is known.
    """

    tables: Tables
    source: RegionState
    now: datetime
    newest: datetime | None = None

    @property
    def code(self) -> str:
        return self.source.region.code
