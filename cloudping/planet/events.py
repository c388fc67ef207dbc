"""The planet's level shifts and outages: when, where, how large; and the same by name, as truth.

Time is cut into slots, and each slot of a pair or region holds one episode or none; its begin, end
and size follow from the slot's number. Latencies are computed from the very episodes that `shifts`
and `outages` list, so what they name is the whole truth.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import permutations
from math import ceil
from typing import Any, Final, Literal

from cloudping.planet.links import base_ms, links_between
from cloudping.planet.noise import key, mix, pair_key, uniform
from cloudping.regions import CATALOGUE

Kind = Literal["pair", "link", "region", "source", "target"]
_DAY = 1440


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of level that came and, at `end`, goes (to the minute).

    `kind` says what shifted: `pair`, both directions between two `regions`; `link`, all pairs
    whose shortest path has the link between the two; `region`, all pairs to and from it;
    `source`, all pairs from it; `target`, all pairs to it. `change_ms` has the size for each
    directed pair that shifted, negative where it became faster.
    """

    kind: Kind
    regions: tuple[str, ...]
    start: datetime
    end: datetime
    change_ms: Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Outage:
    """A time when part of all packets is lost, between a pair or to and from a region.

    `loss` is the probability for a single attempt, on top of what is lost anyway.
    """

    kind: Kind
    regions: tuple[str, ...]
    start: datetime
    end: datetime
    loss: float


@dataclass(frozen=True, slots=True)
class Episode:
    """From minute `start` to before minute `end` of the epoch; `size` is a share."""

    start: int
    end: int
    size: float

    def at(self, minute: Any) -> Any:
        return self.size * ((minute >= self.start) & (minute < self.end))


@dataclass(frozen=True, slots=True)
class _Process:
    """How often a pair or a region has episodes of one sort, how long, how large; in minutes."""

    salt: int
    slot: int
    chance: float  # that a slot has an episode
    shortest: int
    longest: int
    least: float
    most: float
    faster: float = 0.0  # the share of shifts that make it faster, by half as much

    def episode(self, of: int, slot: int, activity: float) -> Episode | None:
        luck = mix(mix(of ^ self.salt) ^ mix(slot))
        if uniform(luck) >= self.chance * activity:
            return None
        # Short and small ones are the most frequent.
        u, v, w, x = (uniform(mix(luck ^ number)) for number in (1, 2, 3, 4))
        length = self.shortest + int((self.longest - self.shortest) * u * u)
        start = slot * self.slot + int((self.slot - length) * v)
        size = self.least + (self.most - self.least) * w * w
        return Episode(start, start + length, size if x >= self.faster else -size / 2)


# A reroute lasts for weeks, a new route for years. The size of a shift is a share of the pair's
# round trip, or the link's, plus SHIFT_BASE_MS, so that short ones shift visibly too.
SHIFT_BASE_MS: Final = 20
_SHIFTS: Final[Mapping[Kind, tuple[_Process, ...]]] = {
    "pair": (
        _Process(11, 90 * _DAY, 0.12, 5 * _DAY, 70 * _DAY, 0.01, 0.12, faster=0.1),
        _Process(12, 1200 * _DAY, 0.2, 300 * _DAY, 1100 * _DAY, 0.01, 0.06, faster=0.4),
    ),
    "link": (_Process(17, 90 * _DAY, 0.05, 5 * _DAY, 70 * _DAY, 0.05, 0.3),),
    "region": (
        _Process(13, 90 * _DAY, 0.05, 10 * _DAY, 70 * _DAY, 0.03, 0.11),
        _Process(14, 1200 * _DAY, 0.1, 300 * _DAY, 1100 * _DAY, 0.015, 0.04, faster=0.4),
    ),
    "source": (_Process(15, 90 * _DAY, 0.03, 10 * _DAY, 70 * _DAY, 0.03, 0.11),),
    "target": (_Process(16, 90 * _DAY, 0.03, 10 * _DAY, 70 * _DAY, 0.03, 0.11),),
}
_OUTAGES: Final[Mapping[Kind, tuple[_Process, ...]]] = {
    "pair": (_Process(21, 30 * _DAY, 0.06, 10, 12 * 60, 0.2, 1.0),),
    "region": (_Process(22, 30 * _DAY, 0.04, 5, 6 * 60, 0.3, 1.0),),
}


def shift_ms(source: str, target: str, minute: Any, seed: int, activity: float) -> Any:
    """By how much a pair is slower for its level shifts, at a minute or an array of them."""
    return sum(
        scale_ms * episode.at(minute)
        for (kind, regions), scale_ms in _exposure(source, target, seed).items()
        for process in _SHIFTS[kind]
        for episode in _touching(process, key("|".join(regions), seed), minute, activity)
    )


def outage(source: str, target: str, minute: Any, seed: int, activity: float) -> Any:
    """The probability that an attempt is lost to an outage, at a minute or an array of them."""
    return sum(
        episode.at(minute)
        for kind, regions in _exposure(source, target, seed)
        for process in _OUTAGES.get(kind, ())
        for episode in _touching(process, key("|".join(regions), seed), minute, activity)
    )


@cache
def _exposure(source: str, target: str, seed: int) -> Mapping[tuple[Kind, tuple[str, ...]], float]:
    """What can happen to a directed pair: (kind, regions) and what a shift by 100 % adds, in ms.

    Nothing to a region's way to itself, which does not leave it.
    """
    if source == target:
        return {}
    of_pair_ms = SHIFT_BASE_MS + base_ms(source, target, seed)
    # A shift of one end is felt by its pairs about alike.
    of_end_ms = of_pair_ms * (0.85 + 0.3 * uniform(mix(pair_key(source, target, seed) ^ 18)))
    found: dict[tuple[Kind, tuple[str, ...]], float] = {
        ("pair", tuple(sorted((source, target)))): of_pair_ms,
        ("region", (source,)): of_end_ms,
        ("region", (target,)): of_end_ms,
        ("source", (source,)): of_end_ms,
        ("target", (target,)): of_end_ms,
    }
    for ends, link_ms in links_between(source, target).items():
        found["link", ends] = SHIFT_BASE_MS + link_ms
    return found


def _touching(process: _Process, of: int, minute: Any, activity: float) -> Iterator[Episode]:
    """The episodes that a minute, or an array of them, may be in."""
    if isinstance(minute, int):
        first = last = minute
    elif minute.size:
        first, last = int(minute.min()), int(minute.max())
    else:
        return
    yield from _episodes(process, of, first, last, activity)


def _episodes(
    process: _Process, of: int, first: int, last: int, activity: float
) -> Iterator[Episode]:
    for slot in range(first // process.slot, last // process.slot + 1):
        episode = process.episode(of, slot, activity)
        if episode is not None and episode.end > first and episode.start <= last:
            yield episode


def shifts(
    start: datetime,
    end: datetime,
    codes: Iterable[str] = tuple(CATALOGUE),
    seed: int = 0,
    activity: float = 1.0,
) -> list[Shift]:
    """Every level shift among these regions that is there at some time from `start` to `end`."""
    exposed: dict[tuple[Kind, tuple[str, ...]], dict[tuple[str, str], float]] = {}
    for pair in permutations(sorted(codes), 2):
        for thing, scale_ms in _exposure(*pair, seed).items():
            exposed.setdefault(thing, {})[pair] = scale_ms
    found = [
        Shift(
            kind,
            regions,
            _moment(episode.start),
            _moment(episode.end),
            {pair: episode.size * scale_ms for pair, scale_ms in pairs.items()},
        )
        for (kind, regions), pairs in exposed.items()
        for episode in _all(_SHIFTS, kind, regions, start, end, seed, activity)
    ]
    return sorted(found, key=lambda shift: (shift.start, shift.kind, shift.regions))


def outages(
    start: datetime,
    end: datetime,
    codes: Iterable[str] = tuple(CATALOGUE),
    seed: int = 0,
    activity: float = 1.0,
) -> list[Outage]:
    """Every outage among these regions that is there at some time from `start` to `end`."""
    things = {thing for pair in permutations(codes, 2) for thing in _exposure(*pair, seed)}
    found = [
        Outage(kind, regions, _moment(episode.start), _moment(episode.end), episode.size)
        for kind, regions in things
        for episode in _all(_OUTAGES, kind, regions, start, end, seed, activity)
    ]
    return sorted(found, key=lambda outage: (outage.start, outage.kind, outage.regions))


def _all(
    processes: Mapping[Kind, tuple[_Process, ...]],
    kind: Kind,
    regions: tuple[str, ...],
    start: datetime,
    end: datetime,
    seed: int,
    activity: float,
) -> Iterator[Episode]:
    first, last = int(start.timestamp()) // 60, ceil(end.timestamp() / 60) - 1
    for process in processes.get(kind, ()):
        yield from _episodes(process, key("|".join(regions), seed), first, last, activity)


def _moment(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)
