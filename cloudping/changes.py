"""`cloudping_changes`: level shifts and outages between regions, as events; records and table.

HASH `year` (`2026`, as in the id), RANGE `id` (`2026-03-14-p50-up-to-ap-south-1`); one item is an
event:
  figure                what changed: `p50`, `p99`, or `loss`
  role, ends            whom it concerns: see `Change`
  measured              how many directed pairs that has
  first_day, last_day   `last_day` is absent while it lasts
  pairs                 JSON text: a list of [from, to, first_day, last_day or null, before, after,
                        sigmas]; text, since nested lists are several times the size
  is_withdrawn          true when later days showed that there was nothing
  network, found_at, updated_at

and one item with the year `state` and the id `state`: until which day they were looked for.
An event keeps its id whatever later days say of it, so that its address stays.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from math import isfinite
from typing import Any, Final, Literal

from cloudping import dynamo
from cloudping.errors import ItemError
from cloudping.items import Batch, Reader, read
from cloudping.runs import ORIGINS
from cloudping.times import to_iso

Figure = Literal["p50", "p99", "loss"]
FIGURES: Final[tuple[Figure, ...]] = ("p50", "p99", "loss")
ROLES: Final = ("from", "to", "both", "between", "path")
MOST_PAIRS: Final = 4000  # of an event: more would not fit into an item
_STATE: Final = "state"


@dataclass(frozen=True, slots=True)
class ChangedPair:
    """What an event did to a directed pair.

    before, after  medians of the daily values: ms, or % for loss
    sigmas         how sure: the step over its standard error
    """

    region_from: str
    region_to: str
    first_day: date
    last_day: date | None
    before: float
    after: float
    sigmas: float


@dataclass(frozen=True, slots=True)
class Change:
    """A level shift, or an outage, of pairs that began together and share an end.

    role      `from`, `to`, `both`: a region as source, as target, as either; `between`: two groups
              of regions; `path`: one pair, in one or both directions
    ends      the region; the two groups; the two regions
    measured  how many directed pairs that has, changed or not
    """

    id: str
    figure: Figure
    role: str
    ends: tuple[str, ...]
    measured: int
    first_day: date
    last_day: date | None
    pairs: tuple[ChangedPair, ...]
    origin: str
    found_at: datetime
    updated_at: datetime
    is_withdrawn: bool = False

    @property
    def is_rise(self) -> bool:
        """True where the figure grew: slower, or more lost."""
        return self.pairs[0].after > self.pairs[0].before

    def says_the_same(self, other: "Change") -> bool:
        """Whether both say the same, whenever they were written."""
        return replace(self, updated_at=other.updated_at, found_at=other.found_at) == other


@dataclass(frozen=True, slots=True)
class State:
    """Until which day changes were looked for, and when the table was last written."""

    until: date
    updated_at: datetime


def new_id(first_day: date, figure: Figure, is_rise: bool, role: str, ends: Iterable[str]) -> str:
    """An id that can stand in an address: `2026-03-14-p50-up-to-ap-south-1`."""
    where = "-".join(ends).lower().replace(" ", "-")
    return f"{first_day}-{figure}-{'up' if is_rise else 'down'}-{role}-{where}"


def to_item(change: Change) -> dynamo.Item:
    """The item of an event; see the module's docstring."""
    item: dynamo.Item = {
        "year": change.id[:4],
        "id": change.id,
        "figure": change.figure,
        "role": change.role,
        "ends": list(change.ends),
        "measured": change.measured,
        "first_day": change.first_day.isoformat(),
        "pairs": json.dumps([_pair_out(pair) for pair in change.pairs], separators=(",", ":")),
        "is_withdrawn": change.is_withdrawn,
        "network": change.origin,
        "found_at": to_iso(change.found_at),
        "updated_at": to_iso(change.updated_at),
    }
    if change.last_day is not None:
        item["last_day"] = change.last_day.isoformat()
    return item


def from_item(item: Mapping[str, Any], table: str = "cloudping_changes") -> Change:
    """The inverse of `to_item`; raises ItemError with key, attribute and value."""
    get = Reader(item, table, f"{item.get('year')}/{item.get('id')}")
    return Change(
        id=get.text("id"),
        figure=next(figure for figure in FIGURES if figure == get.one_of("figure", FIGURES)),
        role=get.one_of("role", ROLES),
        ends=_ends(get),
        measured=get.whole("measured", MOST_PAIRS),
        first_day=_day(get, "first_day"),
        last_day=_day(get, "last_day") if get.has("last_day") else None,
        pairs=_pairs_in(get, item.get("pairs")),
        origin=get.one_of("network", ORIGINS),
        found_at=get.moment("found_at"),
        updated_at=get.moment("updated_at"),
        is_withdrawn=item.get("is_withdrawn") is True,
    )


def _ends(get: Reader) -> tuple[str, ...]:
    found = get.texts("ends")
    if not found:
        raise get.error("ends", "the regions or groups that it concerns")
    return tuple(found)


def _day(get: Reader, attribute: str) -> date:
    try:
        return date.fromisoformat(get.text(attribute))
    except ValueError:
        raise get.error(attribute, "a day, as 2026-03-14") from None


def _pair_out(pair: ChangedPair) -> list[Any]:
    last = None if pair.last_day is None else pair.last_day.isoformat()
    numbers = round(pair.before, 3), round(pair.after, 3), round(pair.sigmas, 1)
    return [pair.region_from, pair.region_to, pair.first_day.isoformat(), last, *numbers]


def _pairs_in(get: Reader, text: Any) -> tuple[ChangedPair, ...]:
    try:
        found = tuple(
            ChangedPair(
                str(region_from),
                str(region_to),
                date.fromisoformat(first),
                None if last is None else date.fromisoformat(last),
                *_finite(before, after, sigmas),
            )
            for region_from, region_to, first, last, before, after, sigmas in json.loads(text)
        )
    except (TypeError, ValueError):
        found = ()
    if not found:
        raise get.error("pairs", "pairs as changes.py writes them")
    return found


def _finite(*numbers: Any) -> Iterator[float]:
    for number in map(float, numbers):
        if not isfinite(number):
            raise ValueError(number)
        yield number


class ChangeTable:
    """`cloudping_changes`: HASH `year`, RANGE `id`."""

    NAME = "cloudping_changes"

    def __init__(self, client: Any, prefix: str = "") -> None:
        self._client = client
        self.name = prefix + self.NAME

    def all(self, first_year: int, last_year: int) -> Batch[Change]:
        """Every event that began in these years, both included, oldest first."""
        items = (
            item
            for year in range(first_year, last_year + 1)
            for item in dynamo.pages(
                self._client.query,
                self.name,
                KeyConditionExpression="#year = :year",
                ExpressionAttributeNames={"#year": "year"},
                ExpressionAttributeValues={":year": {"S": str(year)}},
            )
        )
        return read(items, lambda item: from_item(item, self.name))

    def write(self, changes: Iterable[Change]) -> None:
        """Writes events; one with the same id is replaced."""
        dynamo.write_batches(self._client, self.name, map(to_item, changes))

    def state(self) -> State | None:
        """How far the search has come; None before the first, or where that cannot be read."""
        with dynamo.translated(self.name, "get_item"):
            answer = self._client.get_item(
                TableName=self.name, Key=dynamo.to_wire({"year": _STATE, "id": _STATE})
            )
        if "Item" not in answer:
            return None
        get = Reader(dynamo.from_wire(answer["Item"]), self.name, _STATE)
        try:
            return State(_day(get, "until"), get.moment("updated_at"))
        except ItemError:  # the next search looks through everything, and writes it anew
            return None

    def put_state(self, state: State) -> None:
        dynamo.put(
            self._client,
            self.name,
            {
                "year": _STATE,
                "id": _STATE,
                "until": state.until.isoformat(),
                "updated_at": to_iso(state.updated_at),
            },
        )

    def forget_state(self) -> None:
        """Lets the next search begin with all there is: daily figures were recomputed."""
        with dynamo.translated(self.name, "delete_item"):
            self._client.delete_item(
                TableName=self.name, Key=dynamo.to_wire({"year": _STATE, "id": _STATE})
            )
