"""`cloudping_stored_avgs` (the matrix) and `cloudping_history` (days): records, items, tables.

Pure records first, then the item schemas, then the tables; no other module knows the attribute
names.

`cloudping_stored_avgs`: HASH `timeframe`, RANGE `index` (`us-east-1_eu-west-1_1D`), one item a pair
and timeframe:
  region_from, region_to
  latency               mean
  p_10 … p_99, min, max, stddev
                        ms; an attribute is absent where n is too small for the figure
  samples               n: the latencies behind the figures
  failures              map of reason (`runs.REASONS`) to count
  loss_pct, coverage_pct
                        absent where nothing was tried, or nothing was scheduled
  first_sample, last_sample
                        scheduled times of the runs of the oldest and newest latency
  methods               list of the measuring methods of the samples (`runs.METHODS`)
  window_start, window_end, updated_at, network

`cloudping_history`: HASH `pair` (`us-east-1#eu-west-1`), RANGE `month` (`2026-11`):
  days                  map of day (`20`) to that day's figures, as JSON text with the attribute
                        names above; `first_sample` and `last_sample` are `HH:MM` of that day, UTC.
                        Text, since a year of nested maps is several times the size
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any, Final

from cloudping import dynamo
from cloudping.errors import ConditionError, ItemError
from cloudping.items import Batch, Reader, read
from cloudping.runs import ORIGINS
from cloudping.times import to_iso

PERCENTILES: Final = (10, 25, 50, 75, 90, 95, 98, 99)
TIMEFRAMES: Final = ("1D", "1W", "1M", "1Y")
TIMEFRAME_DAYS: Final = {"1D": 1, "1W": 7, "1M": 30, "1Y": 365}


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of one pair over one stretch of time; latencies in ms, None where too few.

    `percentiles` holds p to ms for those of PERCENTILES that n allows. `samples` is n: the exact
    latencies behind the figures. `failures` counts the others by reason (`runs.REASONS`).
    `loss_pct` is the share of lost among network attempts; None when there were none.
    `coverage_pct` is attempted against scheduled; None when nothing was scheduled.
    `methods` are the measuring methods of the samples, more than one only where imported ones mix.
    """

    samples: int
    mean: float | None = None
    stddev: float | None = None
    min: float | None = None
    max: float | None = None
    percentiles: Mapping[int, float] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    loss_pct: float | None = None
    coverage_pct: float | None = None
    first_sample: datetime | None = None
    last_sample: datetime | None = None
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """One cell of the matrix in one timeframe: an item of `cloudping_stored_avgs`."""

    timeframe: str
    region_from: str
    region_to: str
    figures: Figures
    window_start: datetime
    window_end: datetime
    updated_at: datetime
    origin: str

    def same_as(self, other: "Summary | None") -> bool:
        """Whether both say the same, whenever they were written."""
        return other is not None and to_item(self) == to_item(
            replace(other, updated_at=self.updated_at)
        )


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of a pair: a point of a history graph."""

    region_from: str
    region_to: str
    day: date
    figures: Figures
    origin: str


_NUMBERS: Final = {  # attribute to field of Figures and decimal places: ms to 1 µs; of a year,
    # one attempt in half a million is not 0 %
    "latency": ("mean", 3),
    "stddev": ("stddev", 3),
    "min": ("min", 3),
    "max": ("max", 3),
    "loss_pct": ("loss_pct", 6),
    "coverage_pct": ("coverage_pct", 6),
}


def _numbers(figures: Figures) -> Iterator[tuple[str, float, int]]:
    """Attribute, value and decimal places of every figure that there is."""
    for name, (attribute, places) in _NUMBERS.items():
        if (value := getattr(figures, attribute)) is not None:
            yield name, value, places
    for p, value in figures.percentiles.items():
        yield f"p_{p}", value, 3


def to_item(summary: Summary) -> dynamo.Item:
    """The item of `cloudping_stored_avgs`; see the module's docstring."""
    figures = summary.figures
    item: dynamo.Item = {
        "timeframe": summary.timeframe,
        "index": _index(summary.region_from, summary.region_to, summary.timeframe),
        "region_from": summary.region_from,
        "region_to": summary.region_to,
        "samples": figures.samples,
        "failures": dict(figures.failures),
        "methods": list(figures.methods),
        "window_start": to_iso(summary.window_start),
        "window_end": to_iso(summary.window_end),
        "updated_at": to_iso(summary.updated_at),
        "network": summary.origin,
    }
    for name, value, places in _numbers(figures):
        item[name] = dynamo.decimal(value, places)
    for name in ("first_sample", "last_sample"):
        if (moment := getattr(figures, name)) is not None:
            item[name] = to_iso(moment)
    return item


def from_item(item: Mapping[str, Any], table: str = "cloudping_stored_avgs") -> Summary:
    """The inverse of `to_item`; raises ItemError with key, attribute and value."""
    get = Reader(item, table, f"{item.get('timeframe')}/{item.get('index')}")
    source, target = get.text("region_from"), get.text("region_to")
    timeframe = get.text("timeframe")
    if get.text("index") != _index(source, target, timeframe):
        raise get.error("index", f"{_index(source, target, timeframe)}, of its own regions")
    return Summary(
        timeframe=timeframe,
        region_from=source,
        region_to=target,
        figures=_figures(
            get,
            *(
                get.moment(name) if get.has(name) else None
                for name in ("first_sample", "last_sample")
            ),
        ),
        window_start=get.moment("window_start"),
        window_end=get.moment("window_end"),
        updated_at=get.moment("updated_at"),
        origin=get.one_of("network", ORIGINS),
    )


def _figures(get: Reader, first_sample: datetime | None, last_sample: datetime | None) -> Figures:
    """Figures from an item or from the JSON of a day."""

    def number(name: str) -> float | None:
        return get.number(name) if get.has(name) else None

    return Figures(
        samples=get.whole("samples"),
        percentiles={p: value for p in PERCENTILES if (value := number(f"p_{p}")) is not None},
        failures=get.counts("failures"),
        first_sample=first_sample,
        last_sample=last_sample,
        methods=tuple(get.texts("methods")),
        **{attribute: number(name) for name, (attribute, _) in _NUMBERS.items()},
    )


def _index(region_from: str, region_to: str, timeframe: str) -> str:
    return f"{region_from}_{region_to}_{timeframe}"


def _day_text(day: Day) -> str:
    """A day's figures as JSON; the same figures always give the same text."""
    figures = day.figures
    content: dict[str, Any] = {"samples": figures.samples}
    content |= {name: round(value, places) for name, value, places in _numbers(figures)}
    content |= {"failures": dict(figures.failures), "methods": list(figures.methods)}
    for name in ("first_sample", "last_sample"):
        if (moment := getattr(figures, name)) is not None:
            content[name] = f"{moment:%H:%M}"
    content["network"] = day.origin
    return json.dumps(content, separators=(",", ":"), sort_keys=True)


def _day(region_from: str, region_to: str, day: date, text: str, table: str) -> Day:
    """The inverse of `_day_text`; raises ItemError."""
    key = f"{region_from}#{region_to}/{day:%Y-%m}"
    try:
        get = Reader(json.loads(text), table, key)
        first, last = (
            datetime.combine(day, datetime.strptime(get.text(name), "%H:%M").time(), UTC)  # noqa: DTZ007 - UTC is given
            if get.has(name)
            else None
            for name in ("first_sample", "last_sample")
        )
        figures = _figures(get, first, last)
        return Day(region_from, region_to, day, figures, get.one_of("network", ORIGINS))
    except (ItemError, TypeError, ValueError) as error:
        expected = "figures as summaries.py writes"
        raise ItemError(table, key, f"days.{day:%d}", text, expected) from error


class SummaryTable:
    """`cloudping_stored_avgs`: HASH `timeframe`, RANGE `index`."""

    NAME = "cloudping_stored_avgs"

    def __init__(self, client: Any, prefix: str = "") -> None:
        self._client = client
        self.name = prefix + self.NAME

    def all(self, timeframe: str) -> Batch[Summary]:
        """The whole matrix of a timeframe, in the order of the pairs."""
        return self._query(timeframe, "")

    def of_source(self, timeframe: str, region_from: str) -> Batch[Summary]:
        """One row of the matrix."""
        return self._query(timeframe, f"{region_from}_")

    def _query(self, timeframe: str, begin: str) -> Batch[Summary]:
        condition, values = "#timeframe = :timeframe", {":timeframe": {"S": timeframe}}
        names = {"#timeframe": "timeframe"}
        if begin:
            condition += " AND begins_with(#index, :begin)"
            values[":begin"] = {"S": begin}
            names["#index"] = "index"
        items = dynamo.pages(
            self._client.query,
            self.name,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )
        return read(items, lambda item: from_item(item, self.name))

    def write(self, summaries: Iterable[Summary]) -> None:
        """Writes the cells, in batches; one that was there is replaced."""
        dynamo.write_batches(self._client, self.name, map(to_item, summaries))

    def delete(self, summaries: Iterable[Summary]) -> None:
        """Removes cells of which nothing is known any more."""
        keys = (
            {"timeframe": s.timeframe, "index": _index(s.region_from, s.region_to, s.timeframe)}
            for s in summaries
        )
        dynamo.write_batches(self._client, self.name, deleted=keys)


class HistoryTable:
    """`cloudping_history`: HASH `pair`, RANGE `month`."""

    NAME = "cloudping_history"

    def __init__(self, client: Any, prefix: str = "") -> None:
        self._client = client
        self.name = prefix + self.NAME

    def between(self, region_from: str, region_to: str, first: date, last: date) -> Batch[Day]:
        """The pair's days from `first` to `last`, both included, oldest first: one query."""
        found: Batch[Day] = Batch()
        months = self._months(region_from, region_to, first, last)
        found.bad += months.bad
        for month, days in months:
            for number, text in sorted(days.items()):
                try:
                    day = date.fromisoformat(f"{month}-{number}")
                    if first <= day <= last:
                        found.append(_day(region_from, region_to, day, text, self.name))
                except ItemError as error:
                    found.bad.append(error)
                except ValueError:
                    key, name = f"{region_from}#{region_to}/{month}", f"days.{number}"
                    found.bad.append(ItemError(self.name, key, name, text, "a day of its month"))
        return found

    def _months(
        self, region_from: str, region_to: str, first: date, last: date
    ) -> Batch[tuple[str, Mapping[str, str]]]:
        items = dynamo.pages(
            self._client.query,
            self.name,
            KeyConditionExpression="#pair = :pair AND #month BETWEEN :first AND :last",
            ExpressionAttributeNames={"#pair": "pair", "#month": "month"},
            ExpressionAttributeValues={
                ":pair": {"S": f"{region_from}#{region_to}"},
                ":first": {"S": f"{first:%Y-%m}"},
                ":last": {"S": f"{last:%Y-%m}"},
            },
        )

        def month(item: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
            get = Reader(item, self.name, f"{region_from}#{region_to}/{item.get('month')}")
            return get.text("month"), get.mapping("days")

        return read(items, month)

    def update(self, days: Iterable[Day]) -> tuple[int, list[ItemError]]:
        """Writes those of the days that differ from what is stored.

        Other days of a month stay as they are, also when two writers meet; those of a month that
        cannot be read are given up. Returns how many were written, and the errors of such months.
        """
        changed, bad = 0, []
        for (region_from, region_to), group in groupby(sorted(days, key=_order), key=_pair):
            texts = {day.day: _day_text(day) for day in group}
            months = self._months(region_from, region_to, min(texts), max(texts))
            stored = dict(months)
            bad += months.bad
            for month, in_month in groupby(sorted(texts), key=lambda day: f"{day:%Y-%m}"):
                new = {f"{day:%d}": texts[day] for day in in_month}
                old = stored.get(month)
                different = {n: t for n, t in new.items() if old is None or old.get(n) != t}
                if different:
                    self._set(f"{region_from}#{region_to}", month, different, is_new=old is None)
                    changed += len(different)
        return changed, bad

    def _set(self, pair: str, month: str, days: Mapping[str, str], is_new: bool) -> None:
        key = {"pair": pair, "month": month}
        if is_new and dynamo.put_if(self._client, self.name, {**key, "days": days}, None):
            return
        request: dict[str, Any] = {
            "TableName": self.name,
            "Key": dynamo.to_wire(key),
            "UpdateExpression": "SET " + ", ".join(f"#days.#d{n} = :d{n}" for n in days),
            "ExpressionAttributeNames": {"#days": "days"} | {f"#d{n}": n for n in days},
            "ExpressionAttributeValues": {f":d{n}": {"S": text} for n, text in days.items()},
            "ConditionExpression": "attribute_type(#days, :map)",
        }
        request["ExpressionAttributeValues"][":map"] = {"S": "M"}
        try:
            with dynamo.translated(self.name, "update_item"):
                self._client.update_item(**request)
        except ConditionError:  # there is a month without a map of days
            dynamo.put(self._client, self.name, {**key, "days": days})

    def forget(self, pairs: Iterable[tuple[str, str]], month: date) -> None:
        """Deletes the days of a month, named by any day of it, of these pairs."""
        keys = ({"pair": f"{a}#{b}", "month": f"{month:%Y-%m}"} for a, b in pairs)
        dynamo.write_batches(self._client, self.name, deleted=keys)

    def replace(self, days: Iterable[Day]) -> None:
        """Writes whole months in batches, without a look at what is there: for a new table."""
        ordered = sorted(days, key=_order)
        dynamo.write_batches(
            self._client,
            self.name,
            (
                {
                    "pair": f"{region_from}#{region_to}",
                    "month": month,
                    "days": {f"{day.day:%d}": _day_text(day) for day in group},
                }
                for (region_from, region_to, month), group in groupby(
                    ordered, key=lambda day: (*_pair(day), f"{day.day:%Y-%m}")
                )
            ),
        )


def _order(day: Day) -> tuple[str, str, date]:
    return day.region_from, day.region_to, day.day


def _pair(day: Day) -> tuple[str, str]:
    return day.region_from, day.region_to
