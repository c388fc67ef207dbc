"""`/api/v1/daily.zip`: the daily figures of all pairs, written while they are read."""

import csv
import io
import logging
import zipfile
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from cloudping.summaries import PERCENTILES
from cloudping.times import utc_now
from frontend.api.formats import LICENCE_TEXT, cell
from frontend.api.rows import figures_row
from frontend.data.store import ReadHistory

log = logging.getLogger(__name__)

DAILY_COLUMNS: Final = ("date", "region_from", "region_to", "samples", "mean", "stddev", "min",
                        "max", *(f"p_{p}" for p in PERCENTILES), "loss_pct", "coverage_pct",
                        "network", "methods")  # fmt: skip


def zipped(
    pairs: list[tuple[str, str]], first: date, last: date, history_of: ReadHistory
) -> Iterator[bytes]:
    """A ZIP as it is made: never more than a pair's year in memory.

    Pairs of which something cannot be read are named in a file of their own.
    """
    buffer = _Drain()
    left_out: list[str] = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("LICENCE.txt", LICENCE_TEXT)
        table = zipfile.ZipInfo("daily.csv", utc_now().timetuple()[:6])  # else it is of 1980
        table.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(table, "w") as binary:
            out = io.TextIOWrapper(binary, "utf-8", newline="")
            writer = csv.DictWriter(out, DAILY_COLUMNS, extrasaction="ignore", restval="")
            writer.writeheader()
            for source, target in pairs:
                days = history_of(source, target, first, last)
                for error in days.bad:
                    log.error("%s", error)
                if days.bad:
                    left_out.append(
                        f"{source} to {target}: part of what is stored of it cannot be read\n"
                    )
                for day in days:
                    row = {
                        "date": day.day.isoformat(),
                        "region_from": source,
                        "region_to": target,
                        **figures_row(day.figures),
                        "network": day.origin,
                    }
                    writer.writerow({name: cell(value) for name, value in row.items()})
                out.flush()
                yield buffer.drain()
            out.detach()
        if left_out:
            archive.writestr("LEFT_OUT.txt", "".join(left_out))
    yield buffer.drain()


class _Drain(io.RawIOBase):
    """A file that is only written to, and emptied in between."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def drain(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held
