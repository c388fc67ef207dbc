"""From level shifts of single pairs to events: what began together, and shares an end, is one.

Pure: pairs and days in, events out. A region is named when a good part of what is measured from
it, to it, or both, changed within a day of each other; two groups of regions when it is the paths
between them (a cable, a reroute); what is left are paths of their own, both directions together.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, Literal, TypeVar

from .level_shifts import Shift

Pair = tuple[str, str]
Key = TypeVar("Key", bound=Hashable)
Role = Literal["from", "to", "both", "between", "path"]

TOGETHER_DAYS: Final = 1  # a shift in the middle of a day shows on that day or the next
FEWEST_PAIRS: Final = 3  # of an event that is more than a path
SHARE: Final = 0.25  # of a scope's measured pairs that must have changed for it to be named
_RETURNED: Final = 0.3  # of the step: how near to the old level counts as back


@dataclass(frozen=True, slots=True)
class Episode:
    """A pair's level was another from a day on, until it came back.

    first_day, last_day  day numbers; last_day is None while it has not come back
    before, after        the two levels, in the series' unit
    sigmas               how sure: the step over its standard error
    """

    pair: Pair
    first_day: int
    last_day: int | None
    before: float
    after: float
    sigmas: float

    @property
    def step(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom an event concerns.

    role   `from`, `to`, `both`: a region as source, target, or either; `between`: two groups of
           regions; `path`: one pair, in one or both directions
    ends   the region; the two groups; the two regions of a path, in the order of the alphabet
    """

    role: Role
    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Episodes that began together and share a scope; `measured` is how many pairs that has."""

    scope: Scope
    episodes: tuple[Episode, ...]
    measured: int

    @property
    def first_day(self) -> int:
        """The day on which most of its episodes begin; the earliest of those where several tie."""
        return _usual(episode.first_day for episode in self.episodes)

    @property
    def last_day(self) -> int | None:
        """The day on which most of those that are over ended; None while half of them last."""
        ends = [e.last_day for e in self.episodes if e.last_day is not None]
        return _usual(ends) if 2 * len(ends) > len(self.episodes) else None


def _usual(days: Iterable[int]) -> int:
    counted = Counter(days)
    return min(counted, key=lambda day: (-counted[day], day))


def episodes(pair: Pair, shifts: Sequence[Shift], first_day: int) -> Iterator[Episode]:
    """What one series' shifts, in their order, say of a pair; column 0 is the day `first_day`."""
    left = list(reversed(shifts))
    while left:
        shift = left.pop()
        step = abs(shift.after - shift.before)
        came_back = bool(left) and abs(left[-1].after - shift.before) <= _RETURNED * step
        if came_back:
            left.pop()
        yield Episode(
            pair,
            first_day + shift.day,
            first_day + shift.until - 1 if came_back else None,
            shift.before,
            shift.after,
            shift.sigmas,
        )


def group(
    found: Iterable[Episode], measured: Collection[Pair], neighbourhood: Mapping[str, str]
) -> list[Event]:
    """Events by first day, each episode in exactly one of them.

    measured       every pair that has figures: what a share is a share of
    neighbourhood  region code to the name of the group that it belongs to
    """
    sizes = Counter(scope for pair in measured for scope in _scopes(pair, neighbourhood))
    events: list[Event] = []
    for alike in _by(found, lambda episode: episode.step > 0).values():
        left = set(alike)
        for scope, members in _largest_first(alike, sizes, neighbourhood):
            events.append(Event(scope, _ordered(members), sizes[scope]))
            left -= members
        by_path = _by(left, lambda episode: _path(episode.pair))
        events += [
            Event(path, tuple(together), sizes[path])
            for path, members in by_path.items()
            for together in _began_together(members)
        ]
    return sorted(events, key=lambda event: (event.first_day, event.scope.role, event.scope.ends))


def _path(pair: Pair) -> Scope:
    return Scope("path", tuple(sorted(pair)))


def _scopes(pair: Pair, neighbourhood: Mapping[str, str]) -> list[Scope]:
    """Everything that a pair is part of."""
    source, target = pair
    groups = tuple(sorted({neighbourhood[source], neighbourhood[target]}))
    wide = [Scope("between", groups)] if len(groups) > 1 else []
    return [
        Scope("from", (source,)),
        Scope("to", (target,)),
        Scope("both", (source,)),
        Scope("both", (target,)),
        *wide,
        _path(pair),
    ]


def _largest_first(
    episodes: Collection[Episode], sizes: Mapping[Scope, int], neighbourhood: Mapping[str, str]
) -> Iterator[tuple[Scope, set[Episode]]]:
    """Scopes wider than a path, with what began together in them; the largest takes its own first.

    A heap of candidates by the number of episodes that nobody has taken yet; since that can only
    fall, one that comes up with its number unchanged is the largest there is.
    """
    candidates: dict[tuple[Scope, int], set[Episode]] = defaultdict(set)
    for episode in episodes:
        for scope in _scopes(episode.pair, neighbourhood):
            if scope.role != "path":
                for day in range(-TOGETHER_DAYS, TOGETHER_DAYS + 1):
                    candidates[scope, episode.first_day + day].add(episode)

    def rank(scope: Scope, day: int) -> tuple[float, ...]:
        members = candidates[scope, day]
        off_centre = sum(abs(episode.first_day - day) for episode in members)
        return -len(members), sizes[scope], off_centre

    heap = [
        (rank(scope, day), scope.role, scope.ends, day)
        for (scope, day), members in candidates.items()
        if len(members) >= _needed(sizes[scope])
    ]
    heapify(heap)
    taken: set[Episode] = set()
    while heap:
        order, role, ends, day = heappop(heap)
        scope = Scope(role, ends)
        candidates[scope, day] -= taken
        members = candidates[scope, day]
        if len(members) < _needed(sizes[scope]) or not _is_whole(scope, members, sizes):
            continue
        if (now := rank(scope, day)) != order:
            heappush(heap, (now, role, ends, day))
            continue
        yield scope, members
        taken |= members


def _needed(size: int) -> float:
    return max(FEWEST_PAIRS, SHARE * size)


def _is_whole(scope: Scope, members: Collection[Episode], sizes: Mapping[Scope, int]) -> bool:
    """Whether a scope of two sides is met on both: else it is an event of one of them."""
    if scope.role == "both":
        (region,) = scope.ends
        outward = sum(episode.pair[0] == region for episode in members)
        return outward >= _needed(sizes[Scope("from", (region,))]) and len(
            members
        ) - outward >= _needed(sizes[Scope("to", (region,))])
    if scope.role == "between":
        return all(len({episode.pair[k] for episode in members}) > 1 for k in (0, 1))
    return True


def _began_together(episodes: Iterable[Episode]) -> Iterator[list[Episode]]:
    """A path's episodes, by first day, cut where the next one began on another day."""
    run: list[Episode] = []
    for episode in _ordered(episodes):
        if run and episode.first_day - run[-1].first_day > TOGETHER_DAYS:
            yield run
            run = []
        run.append(episode)
    if run:
        yield run


def _ordered(episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    return tuple(sorted(episodes, key=lambda episode: (episode.first_day, episode.pair)))


def _by(episodes: Iterable[Episode], key: Callable[[Episode], Key]) -> dict[Key, list[Episode]]:
    groups: dict[Key, list[Episode]] = defaultdict(list)
    for episode in episodes:
        groups[key(episode)].append(episode)
    return groups
