"""What changed, in words and in order: the views of the pages, feeds and API of changes; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from cloudping.changes import Change, ChangedPair
from cloudping.regions import Region
from frontend.views.figures import percent
from frontend.views.lookup import short_name

FIGURE_LABELS: Final = {"p50": "median (p50)", "p99": "tail (p99)", "loss": "loss"}
STRIP_DAYS: Final = 366


@dataclass(frozen=True, slots=True)
class Choice:
    """Which changes are asked for; what is empty or None does not choose.

    region  at either end
    pair    source and target, in both directions
    figure  `p50`, `p99`, `loss`
    least   size of at least one pair's change: ms, or % for loss
    """

    region: str = ""
    pair: tuple[str, str] | None = None
    figure: str = ""
    least: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """A change as people are told it.

    title   whom it concerns and by how much, one line
    when    since when, or from when to when
    largest the pair that changed most
    """

    change: Change
    title: str
    when: str
    largest: ChangedPair


def chosen(changes: Iterable[Change], choice: Choice) -> list[Change]:
    """Those that are asked for and were not withdrawn, the newest first."""
    found = [
        change
        for change in changes
        if not change.is_withdrawn
        and choice.figure in ("", change.figure)
        and any(_meets(pair, choice) for pair in change.pairs)
    ]
    return sorted(found, key=lambda change: (change.first_day, change.id), reverse=True)


def _meets(pair: ChangedPair, choice: Choice) -> bool:
    ends = (pair.region_from, pair.region_to)
    return (
        choice.region in ("", *ends)
        and (choice.pair is None or set(choice.pair) == set(ends))
        and abs(pair.after - pair.before) >= choice.least
    )


def told(change: Change, regions: Mapping[str, Region]) -> Told:
    largest = max(change.pairs, key=lambda pair: abs(pair.after - pair.before))
    title = f"{_whom(change, regions)}: {_size(change)}"
    return Told(change, title, _when(change.first_day, change.last_day), largest)


def _whom(change: Change, regions: Mapping[str, Region]) -> str:
    def name(code: str) -> str:
        return short_name(regions[code]) if code in regions else code

    many, measured = len(change.pairs), change.measured
    match change.role:
        case "to":
            return f"{many} of {measured} sources to {name(change.ends[0])}"
        case "from":
            return f"{name(change.ends[0])} to {many} of {measured} targets"
        case "both":
            return f"{many} of {measured} pairs from and to {name(change.ends[0])}"
        case "between":
            return f"{many} of {measured} pairs between {' and '.join(change.ends)}"
        case _ if many == 1:
            return f"{name(change.pairs[0].region_from)} → {name(change.pairs[0].region_to)}"
        case _:
            return f"{name(change.ends[0])} ↔ {name(change.ends[-1])}"


def _size(change: Change) -> str:
    steps = sorted(pair.after - pair.before for pair in change.pairs)
    if change.figure == "loss":
        worst = max(pair.after for pair in change.pairs)
        return f"up to {percent(worst)} % lost"
    low, high = (f"{step:+.1f}" for step in (steps[0], steps[-1]))
    between = f"{low} ms" if low == high else f"{low} to {high} ms"
    return f"p99 {between}" if change.figure == "p99" else between


def _when(first: date, last: date | None) -> str:
    if last is None:
        return f"since {first:%-d %b %Y}"
    if first == last:
        return f"on {first:%-d %b %Y}"
    return f"{first:%-d %b %Y} to {last:%-d %b %Y}"


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the strip: how many changes began, and how many pairs they have."""

    day: date
    changes: int
    pairs: int


def strip(changes: Sequence[Change], until: date) -> list[Day]:
    """Every day of the year to `until`."""
    began = Counter(change.first_day for change in changes)
    pairs: Counter[date] = Counter()
    for change in changes:
        pairs[change.first_day] += len(change.pairs)
    days = (until - timedelta(days=back) for back in range(STRIP_DAYS - 1, -1, -1))
    return [Day(day, began[day], pairs[day]) for day in days]


def marks(changes: Iterable[Change], source: str, target: str) -> list[tuple[date, str]]:
    """What to mark in a directed pair's graph: days on which it changed, with the new level."""
    found = []
    for change in changes:
        for pair in change.pairs:
            if not change.is_withdrawn and (pair.region_from, pair.region_to) == (source, target):
                found.append((pair.first_day, _level(change.figure, pair)))
                if pair.last_day is not None:
                    after = pair.last_day + timedelta(days=1)
                    found.append((after, f"{FIGURE_LABELS[change.figure]} as before"))
    return sorted(found)


def _level(figure: str, pair: ChangedPair) -> str:
    unit = "%" if figure == "loss" else "ms"
    return f"{FIGURE_LABELS[figure]} {pair.before:.1f} → {pair.after:.1f} {unit}"
