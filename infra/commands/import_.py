"""Bring in the original CloudPing's PingTest: JSON lines (plain or .gz), or a DynamoDB table.

An item of the original is one source, target and run: `region`, `regionTo`, `timestamp`, `avg`,
`attempts` and, of the connects that succeeded, `results` with their times. All items of a source
within an hour become one run of the method `original-1`: user-space times with the name lookup in
them. Where `results` is missing, the run's average is its one sample.

Lines may be an export of DynamoDB to S3 ({"Item": {...}}), items in its wire format, or plain JSON.
Safe to repeat: a run that is there already stays as it is.
"""

import argparse
import gzip
import json
import math
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeGuard

from cloudping import dynamo
from cloudping.errors import CloudPingError, ItemError
from cloudping.periods import HOUR, floor
from cloudping.regions import CATALOGUE, RegionTable
from cloudping.runs import METHOD_IMPORTED, ORIGIN_AWS, Attempt, Run, RunTable, TargetResult
from cloudping.settings import load
from cloudping.times import from_iso, utc_now
from infra.commands.backfill import recompute

sys.path.append(str(Path(__file__).resolve().parents[2] / "aggregator"))  # as Lambda has it
from chalicelib.tables import tables

AFTER_THE_HOUR: Final = timedelta(seconds=30)
INTERVAL_S: Final = 6 * 3600  # the original's schedule: cron 0,6,12,18 (its ping_from_region)
# The original does not store why a connect failed. Its connects give up after 1 s; that is what a
# lost SYN or a silent peer looks like, and by far the most frequent reason.
UNKNOWN_REASON: Final = "timeout"
MAX_ATTEMPTS: Final = 50
EXPECTED: Final = "a value as the original CloudPing wrote it"


@dataclass(frozen=True, slots=True)
class Original:
    """One item: connect times in ms, how many connects failed, whether it is only an average."""

    source: str
    target: str
    moment: datetime
    latencies_ms: tuple[float, ...]
    failed: int
    is_average: bool


@dataclass(slots=True)
class Report:
    """What an import did; `bad` are lines or items that were left out."""

    items: int = 0
    averages: int = 0
    runs_written: int = 0
    runs_there: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def reject(self, error: str, kind: str) -> None:
        self.bad[kind] += 1
        if len(self.examples) < 20:
            self.examples.append(error)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="FILE|TABLE", help="a file of JSON lines, or else a table's name"
    )
    parser.add_argument(
        "--table-region", metavar="CODE", default="us-east-2",
        help="where the TABLE is (the original's is in us-east-2)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    settings = load(os.environ)
    client = dynamo.client(settings.home_region, settings.endpoint_url or None)
    installed = tables(client, settings.table_prefix)
    report, path = Report(), Path(args.what)
    if path.exists():
        items = from_lines(path, report)
    elif args.what == installed.runs.name and args.table_region == settings.home_region:
        raise CloudPingError(f"{args.what} is this installation's own table; name the original's")
    else:
        if path.suffix:
            raise CloudPingError(f"there is no file {args.what}, and no table can have that name")
        source = dynamo.client(args.table_region, settings.endpoint_url or None)
        items = dynamo.pages(source.scan, args.what)
    work: dict[str, list[datetime]] = {}
    for imported in as_runs(originals(items, report, args.what)):
        written = put(installed.runs, imported)
        report.runs_written += written
        report.runs_there += not written
        # Of those that were there as well: an import that was killed may not have summed them.
        work.setdefault(imported.region, []).append(floor(HOUR, imported.timestamp))
        if (report.runs_written + report.runs_there) % 1000 == 0:
            print(f"{report.runs_written + report.runs_there} runs, {imported.timestamp:%Y-%m-%d}")
    print(
        f"{report.items} items read: {report.runs_written} runs written, {report.runs_there} were "
        f"there; {report.averages} items had only an average; {report.bad.total()} bad"
    )
    for kind, number in report.bad.most_common():
        print(f"  left out: {kind}: {number}")
    for example in report.examples:
        print(f"  e.g. {example}", file=sys.stderr)
    if not work:
        raise CloudPingError(f"{args.what} holds no item of the original CloudPing's PingTest")
    recompute(installed, work, utc_now(), print)
    for line in unseen(installed.regions, work):
        print(line, file=sys.stderr)
    return 0


def put(table: RunTable, run: Run) -> bool:
    """Writes a run unless it is there; False when it is.

    Up to November 2026 an import stored it at the full hour, where a probe may have one as well.
    """
    hour = floor(HOUR, run.timestamp)
    at_the_hour = table.between(run.region, hour, hour)
    if any(there.method == METHOD_IMPORTED for there in at_the_hour):
        return False
    return table.put_once(run)


def unseen(table: RegionTable, sources: Collection[str]) -> Iterator[str]:
    """A line for each source that was imported and that no page's matrix has, with what to do."""
    states = table.all()
    known = {state.region.code: state for state in states}
    broken = {str(error.key) for error in states.bad}
    for code in sources:
        if code in broken:
            yield f"{code}: imported, but its item in {table.name} is broken, so no page shows it"
        elif code not in known:
            yield (
                f"{code}: imported, but it is not in {table.name}, so no page shows it: "
                "run `python -m infra deploy`, which registers the regions of the catalogue"
            )
        elif not known[code].is_source:
            yield (
                f"{code}: imported, but no active source, so the matrix has no row of it (its "
                f"pairs have their days): run `python -m infra deploy --regions {code}`"
            )


def from_lines(path: Path, report: Report) -> Iterator[Mapping[str, Any]]:
    """The items of a file of JSON lines."""
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
                item = item.get("Item", item)
                is_wire = isinstance(item.get("region"), dict)
                yield dynamo.from_wire(item) if is_wire else item
            except (ValueError, AttributeError, ArithmeticError) as error:
                report.reject(f"{path}:{number}: {error}", "not a JSON object")


def originals(items: Iterable[Mapping[str, Any]], report: Report, name: str) -> Iterator[Original]:
    """The items that can be used; the others are counted in the report."""
    for item in items:
        report.items += 1
        try:
            one = parse(item, name)
        except ItemError as error:
            report.reject(str(error), f"{error.attribute} is not as expected")
            continue
        report.averages += one.is_average
        yield one


def parse(item: Mapping[str, Any], name: str) -> Original:
    """An item of the original's PingTest; raises ItemError with attribute and value."""
    key = f"{item.get('region')}/{item.get('regionTo')}/{item.get('timestamp')}"

    def bad(attribute: str) -> ItemError:
        return ItemError(name, key, attribute, item.get(attribute), EXPECTED)

    for attribute in ("region", "regionTo"):
        if not isinstance(item.get(attribute), str) or not item[attribute]:
            raise bad(attribute)
    try:
        moment = from_iso(item["timestamp"])
    except (KeyError, TypeError, ValueError):
        raise bad("timestamp") from None
    if moment > utc_now():
        raise bad("timestamp")
    if "results" not in item:
        return Original(item["region"], item["regionTo"], moment, (_ms(item, "avg", bad),), 0, True)
    if not isinstance(item["results"], list):
        raise bad("results")
    # An early version, in JavaScript, also listed failed connects, without a time.
    times = tuple(
        _ms(entry, "time", lambda _: bad("results"))
        for entry in item["results"]
        if isinstance(entry, Mapping) and entry.get("time") is not None
    )
    attempts = item.get("attempts", len(times))
    if not _is_number(attempts) or not len(times) <= attempts <= MAX_ATTEMPTS:
        raise bad("attempts")
    return Original(
        item["region"], item["regionTo"], moment, times, int(attempts) - len(times), False
    )


def _ms(content: Mapping[str, Any], name: str, bad: Callable[[str], ItemError]) -> float:
    value = content.get(name)
    if not _is_number(value) or not 0 < value < 60_000:
        raise bad(name)
    return float(value)


def _is_number(value: Any) -> TypeGuard[float | Decimal]:
    return (
        isinstance(value, (int, float, Decimal))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def as_runs(items: Iterable[Original]) -> Iterator[Run]:
    """Runs of the items, by source and hour; the items may come in any order and number.

    They are sorted on disk: the original's table holds millions.
    """
    with TemporaryDirectory(prefix="cloudping-import-") as folder:
        database = sqlite3.connect(Path(folder) / "items.sqlite3")
        try:
            database.execute("PRAGMA journal_mode=OFF")
            database.execute(
                "CREATE TABLE item (source, moment REAL, target, ms, failed INTEGER, "
                "UNIQUE (source, moment, target))"  # an item met twice counts once
            )
            database.executemany(
                "INSERT OR IGNORE INTO item VALUES (?, ?, ?, ?, ?)",
                (
                    (i.source, i.moment.timestamp(), i.target, json.dumps(i.latencies_ms), i.failed)
                    for i in items
                ),
            )
            rows = database.execute("SELECT * FROM item ORDER BY source, moment, target")
            for (source, hour_s), group in groupby(rows, lambda row: (row[0], row[1] // 3600)):
                yield _run(source, datetime.fromtimestamp(hour_s * 3600, UTC), list(group))
        finally:
            database.close()


def _run(source: str, hour: datetime, rows: Sequence[tuple[str, float, str, str, int]]) -> Run:
    """One run of what a source measured within an hour.

    It is stored half a minute past the hour: a probe's runs are at full minutes, so that neither
    takes the other's place. It has no `written_at`: the index of new runs does not show it, since
    the import itself recomputes what rests on it.
    """
    by_target: dict[str, list[Attempt]] = {}
    for _, _, target, latencies_ms, failed in rows:
        attempts = by_target.setdefault(target, [])
        attempts += [Attempt(ms, ms) for ms in json.loads(latencies_ms)]
        attempts += [Attempt(None, None, 0, UNKNOWN_REASON)] * failed
    place = CATALOGUE.get(source)
    return Run(
        region=source,
        timestamp=hour + AFTER_THE_HOUR,
        partition=place.partition if place else "aws",
        interval_s=INTERVAL_S,
        attempts_per_target=max(map(len, by_target.values())),
        method=METHOD_IMPORTED,
        origin=ORIGIN_AWS,
        results={
            target: TargetResult(
                CATALOGUE[target].endpoint if target in CATALOGUE else "unknown",
                (),
                None,
                tuple(attempts),
            )
            for target, attempts in sorted(by_target.items())
        },
    )
