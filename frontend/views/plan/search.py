"""Which regions to put replicas in: every set is considered, and what is left out is proven worse.

Three steps, each for what the one before could not rule out. A bound without any convolution: what
the client's own round trip takes, plus the least that the quorum can take. Then the figure on
latencies rounded down to 0.5 ms, which is exact to a few times that. Then the exact figure, in the
order of the rounded ones, until they exceed the worst that is shown. A replica too far away to be
part of a quorum changes nothing, so sets that differ only by such replicas are one case.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from time import monotonic
from typing import Final

import numpy as np
import numpy.typing as npt

from cloudping.distribution import UNITS_PER_MS
from frontend.views.plan.evaluate import Evaluator, Placement
from frontend.views.plan.latency import ZERO, Latency, half, total
from frontend.views.plan.ties import Ties

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Replicas = tuple[str, ...]

MOST_CANDIDATES: Final = 62  # as many as the bits of the number that says which of them matter
STEP: Final = 50  # units: 0.5 ms
_STEP_MS: Final = STEP / UNITS_PER_MS
_ROWS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Choice:
    """Which sets there are to choose from.

    candidates  regions that may be replicas, 62 at most
    required    groups of regions, of each of which one must be a replica
    allowed     whether two candidates may both be replicas
    """

    candidates: tuple[str, ...]
    required: tuple[frozenset[str], ...] = ()
    allowed: Callable[[str, str], bool] = lambda _a, _b: True


@dataclass(frozen=True, slots=True)
class Outcome:
    """The best placements, best first; equal ones in the order of `ties.Ties`, then of their codes.

    bound_ms  None when every set was computed, or proven to be no better than the last one shown;
              else the time ran out, and what was not looked at is no better than this
    """

    placements: tuple[Placement, ...]
    bound_ms: float | None


def best(choice: Choice, evaluator: Evaluator, number: int = 10, seconds: float = 5.0) -> Outcome:
    """The `number` best sets of `evaluator.protocol.replicas` regions."""
    if len(choice.candidates) > MOST_CANDIDATES:
        raise ValueError(f"{len(choice.candidates)} candidates: expected {MOST_CANDIDATES} at most")
    search = _Search(choice, evaluator, number, monotonic() + seconds)
    strategy = {"leader": _by_leader, "nearest": _by_nearest, "chain": _by_chain}
    find = _by_witness if evaluator.protocol.witnesses else strategy[evaluator.protocol.asked]
    cases: list[_Case] = []
    bound = None
    try:
        for case in find(search):
            cases.append(case)
    except _OutOfTimeError as stopped:
        bound = float(stopped.args[0])
    exact = _Ranking(number, search.ties.score)
    for case in sorted(cases, key=lambda case: case.least):
        if case.least > exact.limit:
            break
        if monotonic() > search.ends and exact.found:
            bound = min(case.least, case.least if bound is None else bound)
            break
        figure = evaluator.goal.combined(case.figures(evaluator))
        for replicas in case.sets:
            exact.add(replicas, figure, case.asked)
    ranked = exact.ranked()
    placements = tuple(evaluator.asking(way.asked, replicas) for replicas, way in ranked)
    return Outcome(placements, bound)


class _OutOfTimeError(Exception):
    """Carries the lower bound of all that has not been looked at, in ms."""


class _Ranking:
    """The best sets so far, each by the best way that it was added with."""

    def __init__(
        self, number: int, score: Callable[[Replicas, Replicas], tuple[float, float]] | None = None
    ) -> None:
        """`score` orders what has the same figure."""
        self._number, self._score = number, score
        self.found: dict[Replicas, _Way] = {}
        self.limit = float("inf")  # the worst of them, once there are enough

    def add(self, replicas: Replicas, figure: float, asked: Replicas) -> None:
        known = self.found.get(replicas)
        if figure > self.limit or (known is not None and known.figure < figure):
            return
        score = self._score(replicas, asked) if self._score else (0.0, 0.0)
        way = _Way(figure, score, asked)
        if known is not None and known <= way:
            return
        self.found[replicas] = way
        if len(self.found) >= self._number:
            self.found = dict(self.ranked())
            self.limit = max(way.figure for way in self.found.values())

    def ranked(self) -> "list[tuple[Replicas, _Way]]":
        """Sets with their ways, best first."""
        ordered = sorted(
            self.found.items(), key=lambda item: (item[1].figure, item[1].score, item[0])
        )
        return ordered[: self._number]


@dataclass(frozen=True, slots=True, order=True)
class _Way:
    """What a set gives by whom is asked."""

    figure: float
    score: tuple[float, float]
    asked: Replicas


@dataclass(frozen=True, slots=True)
class _Case:
    """Sets that give the same, whatever else is in them.

    least    a lower bound of the figure, ms
    sets     of those that give it, the first by their codes, as many as are to be shown
    asked    the leader, or the chain
    figures  each client's figure by an evaluator
    """

    least: float
    sets: Sequence[Replicas]
    asked: Replicas
    figures: Callable[[Evaluator], list[float]]


class _Search:
    """What the strategies share: candidates as indices, bounds on them, rounded latencies."""

    def __init__(self, choice: Choice, evaluator: Evaluator, number: int, ends: float) -> None:
        self.choice, self.evaluator, self.number, self.ends = choice, evaluator, number, ends
        self.codes = codes = tuple(sorted(choice.candidates))
        may = np.array([[a == b or choice.allowed(a, b) for b in codes] for a in codes], bool)
        self.allowed: Bools = may & may.T
        self.rough = Evaluator(
            evaluator.protocol,
            evaluator.goal,
            cache(lambda a, b: evaluator.measured(a, b).coarse(STEP)),
        )
        self._worst_shown = _Ranking(number)
        self.ties = Ties(evaluator, codes)

    @property
    def limit(self) -> float:
        """What is certainly above this cannot be shown, ms."""
        return self._worst_shown.limit

    def case(
        self, sets: Sequence[Replicas], asked: Replicas, figures: Callable[[Evaluator], list[float]]
    ) -> _Case | None:
        """A case with its figure on rounded latencies, or None when that is above the limit."""
        goal, protocol = self.evaluator.goal, self.evaluator.protocol
        least = goal.combined(figures(self.rough)) * STEP
        if least > self.limit:
            return None
        # Each latency in the sum was rounded down by less than a step; a chain's are then halved.
        parts = 1 + (len(asked) if protocol.asked == "chain" else len(protocol.phases))
        for replicas in sets:
            self._worst_shown.add(replicas, least + parts * goal.round_trips * _STEP_MS, asked)
        return _Case(least, sets, asked, figures)

    def check_time(self, bound: float) -> None:
        if monotonic() > self.ends:
            raise _OutOfTimeError(bound)

    def own(self, p: float) -> Floats:
        """C x M: the p-th percentile of a client's own round trips to each candidate, ms."""
        goal, measured = self.evaluator.goal, self.evaluator.measured
        return np.array(
            [
                [total([measured(c, code)] * goal.round_trips).percentile(p) for code in self.codes]
                for c in goal.clients
            ]
        )

    def reach(self) -> tuple[Floats, Floats]:
        """M x M: the least and the most that a round trip between candidates takes, ms."""
        edges = np.zeros((2, len(self.codes), len(self.codes)))
        for j, a in enumerate(self.codes):
            for k, b in enumerate(self.codes):
                if j != k:
                    latency = self.evaluator.measured(a, b)
                    edges[:, j, k] = latency.first / UNITS_PER_MS, latency.last / UNITS_PER_MS
        return edges[0], edges[1]

    def scenarios(self) -> list[tuple[Floats, list[tuple[int, int]]]]:
        """What is certain to be waited for: own round trips, and (quorum, times) to add to them.

        A phase that now and then is needed is part of the p-th percentile when it is needed more
        often than in 100 - p % of the operations: then in the slowest of those that have it.
        """
        goal, phases = self.evaluator.goal, self.evaluator.protocol.phases
        certain = [(ph.quorum, goal.round_trips) for ph in phases if ph.probability == 1]
        found = [(self.own(goal.p), certain)]
        for phase in phases:
            never = (1 - phase.probability) ** goal.round_trips
            if 0 < never < goal.p / 100:
                p = 100 * (goal.p / 100 - never) / (1 - never)
                found.append((self.own(p), [*certain, (phase.quorum, 1)]))
        return found

    def widest_quorum(self) -> int:
        return max((phase.quorum for phase in self.evaluator.protocol.phases), default=1)

    def combined(self, figures: Sequence[Floats]) -> Floats:
        """The goal's figure of each row, from an array of rows for each client."""
        goal = self.evaluator.goal
        if goal.objective == "worst":
            worst: Floats = np.max(figures, axis=0)
            return worst
        weights = np.array(list(goal.clients.values()))
        mean: Floats = weights @ np.array(figures) / weights.sum()
        return mean


def _sets(order: Sequence[int], search: _Search) -> Ints:
    """N x n positions in `order`, ascending, of the allowed sets that contain order[0]."""
    allowed = search.allowed[np.ix_(order, order)]
    is_free = bool(allowed.all())
    rows: Ints = np.zeros((1, 1), np.int64)
    for _ in range(search.evaluator.protocol.replicas - 1):
        last = rows[:, -1]
        many = len(order) - 1 - last
        parent = np.repeat(np.arange(len(rows)), many)
        begin = np.cumsum(many) - many
        new = np.arange(len(parent)) - begin[parent] + last[parent] + 1
        if not is_free:
            keep = allowed[rows[parent], new[:, None]].all(axis=1)
            parent, new = parent[keep], new[keep]
        rows = np.concatenate([rows[parent], new[:, None]], axis=1)
    for group in search.choice.required:
        members = [search.codes.index(code) for code in group if code in search.codes]
        rows = rows[np.isin(np.asarray(order)[rows], members).any(axis=1)]
    return rows


def _by_leader(search: _Search) -> Iterator[_Case]:
    """Leader by leader, the one that is best for the clients first."""
    goal, codes = search.evaluator.goal, search.codes
    scenarios = search.scenarios()
    by_leader = [goal.combined(own.tolist()) for own in scenarios[0][0].T]
    first, last = search.reach()
    for leader in sorted(range(len(codes)), key=lambda k: (by_leader[k], k)):
        if by_leader[leader] > search.limit:
            return
        search.check_time(by_leader[leader])
        others = (k for k in range(len(codes)) if k != leader)
        order = [leader, *sorted(others, key=lambda k: (first[leader, k], k))]
        rows = _sets(order, search)
        near, far = first[leader, order], last[leader, order]
        # Positions ascend by distance: the q-th replica of a row is the q-th nearest.
        bounds = np.max(
            [
                goal.combined(own[:, leader].tolist())
                + sum((times * near[rows[:, q - 1]] for q, times in waits), np.zeros(len(rows)))
                for own, waits in scenarios
            ],
            axis=0,
        )

        def matters(part: Ints, near: Floats = near, far: Floats = far) -> Ints:
            return _mask(part, near[part], far[part], search.widest_quorum())[:, None]

        def figures(key: Sequence[int], order: list[int] = order) -> _Figures:
            asked, replicas = codes[order[0]], _members(key[0], order, codes)
            return lambda by: [
                by.through(asked, c, replicas, goal.p).percentile(goal.p) for c in goal.clients
            ]

        yield from _cases(search, rows, bounds, order, (codes[leader],), matters, figures)


_Figures = Callable[[Evaluator], list[float]]


def _by_nearest(search: _Search) -> Iterator[_Case]:
    """By the member that is nearest to any client: each set once, with its nearest member first."""
    goal, codes = search.evaluator.goal, search.codes
    scenarios = search.scenarios()
    own = scenarios[0][0]
    first, last = search.reach()
    rank = np.array([_rank(search.evaluator, client, codes) for client in goal.clients])
    by_nearness = sorted(range(len(codes)), key=lambda k: (float(own[:, k].min()), k))
    for begin in range(len(codes) - search.evaluator.protocol.replicas + 1):
        order = by_nearness[begin:]
        least = goal.combined(own[:, order].min(axis=1).tolist())
        if least > search.limit:
            return
        search.check_time(least)
        rows = _sets(order, search)
        ids = np.asarray(order)
        rows = rows[search.combined([one[ids[rows]].min(axis=1) for one in own]) <= search.limit]
        members = ids[rows]
        asked = [_asked(members, of_client) for of_client in rank]
        near = [np.sort(first[at[:, None], members], axis=1) for at in asked]
        bounds = np.max(
            [
                search.combined(
                    [
                        own_of[at] + sum((times * far[:, q - 1] for q, times in waits), 0.0)
                        for own_of, at, far in zip(own, asked, near, strict=True)
                    ]
                )
                for own, waits in scenarios
            ],
            axis=0,
        )

        def matters(part: Ints, ids: Ints = ids) -> Ints:
            members = ids[part]
            columns = []
            for rank_of in rank:
                at = _asked(members, rank_of)
                near, far = first[at[:, None], members], last[at[:, None], members]
                columns += [at, _mask(members, near, far, search.widest_quorum())]
            return np.stack(columns, axis=1)

        def figures(key: Sequence[int]) -> _Figures:
            asked = [codes[k] for k in key[::2]]
            replicas = [_members(mask, range(len(codes)), codes) for mask in key[1::2]]
            ways = list(zip(asked, goal.clients, replicas, strict=True))
            return lambda by: [by.through(*way, goal.p).percentile(goal.p) for way in ways]

        yield from _cases(search, rows, bounds, order, (), matters, figures)


def _rank(evaluator: Evaluator, client: str, codes: Sequence[str]) -> Ints:
    """M, each candidate's place by `Evaluator.nearest`, 0 the nearest."""
    ordered = sorted(codes, key=lambda c: (evaluator.measured(client, c).percentile(50), c))
    return np.array([ordered.index(code) for code in codes])


def _asked(members: Ints, rank: Ints) -> Ints:
    """Of each row the member with the lowest rank."""
    found: Ints = members[np.arange(len(members)), rank[members].argmin(axis=1)]
    return found


def _mask(part: Ints, near: Floats, far: Floats, quorum: int) -> Ints:
    """Of each row the members that can be among the `quorum` nearest, as bits of a number.

    When `quorum` of them answer within `reach` at the latest, one that answers later never counts.
    """
    reach = np.sort(far, axis=1)[:, quorum - 1]
    bits: Ints = np.bitwise_or.reduce(np.left_shift(1, part) * (near <= reach[:, None]), axis=1)
    return bits


def _members(mask: int, order: Sequence[int], codes: Sequence[str]) -> frozenset[str]:
    return frozenset(codes[k] for bit, k in enumerate(order) if mask >> bit & 1)


def _cases(
    search: _Search,
    rows: Ints,
    bounds: Floats,
    order: Sequence[int],
    asked: Replicas,
    matters: Callable[[Ints], Ints],
    figures: Callable[[Sequence[int]], _Figures],
) -> Iterator[_Case]:
    """The cases of rows in the order of their bounds, until none can be among the best.

    `matters` gives what each row's figures depend on, `figures` how to compute them from that.
    """
    kept = np.flatnonzero(bounds <= search.limit)
    kept = kept[np.argsort(bounds[kept], kind="stable")]
    ids = np.asarray(order)
    done, number = 0, _ROWS_AT_ONCE
    while done < len(kept) and bounds[kept[done]] <= search.limit:
        part = rows[kept[done : done + number]]
        keys, which = np.unique(matters(part), axis=0, return_inverse=True)
        by_key = np.argsort(which.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(which.ravel(), minlength=len(keys)))
        for key, same in zip(keys.tolist(), np.split(by_key, ends[:-1]), strict=True):
            search.check_time(float(bounds[kept[done]]))
            members = np.sort(ids[part[same]], axis=1)
            by_code = members.T[::-1]
            if len(members) > search.number:
                by_code = np.vstack([by_code, search.ties.lost(members).round(6)])
            shown = members[np.lexsort(by_code)][: search.number].tolist()
            sets = [tuple(search.codes[k] for k in replicas) for replicas in shown]
            if (case := search.case(sets, asked, figures(key))) is not None:
                yield case
        done, number = done + number, 2 * number


def _by_witness(search: _Search) -> Iterator[_Case]:
    """Each set with each choice of its witnesses: for the few sets that such rules leave."""
    goal, codes = search.evaluator.goal, search.codes
    for begin in range(len(codes) - search.evaluator.protocol.replicas + 1):
        order = range(begin, len(codes))
        for row in _sets(order, search).tolist():
            replicas = tuple(codes[order[k]] for k in row)
            for asked in combinations(
                replicas, len(replicas) - search.evaluator.protocol.witnesses
            ):
                search.check_time(0.0)

                def figures(
                    by: Evaluator, asked: Replicas = asked, replicas: Replicas = replicas
                ) -> list[float]:
                    return [
                        by.through(by.nearest(c, asked), c, frozenset(replicas), goal.p).percentile(
                            goal.p
                        )
                        for c in goal.clients
                    ]

                if (case := search.case([replicas], asked, figures)) is not None:
                    yield case


def _by_chain(search: _Search) -> Iterator[_Case]:
    """Chains grown from the head, the nearest next first, while they can still be among the best.

    Two bounds, both of which only grow with the chain: one adds low percentiles of its legs, one
    the legs themselves, rounded down. While the tail is unknown, the way home from it is the
    shortest there is.
    """
    codes, goal, rough = search.codes, search.evaluator.goal, search.rough
    replicas = search.evaluator.protocol.replicas
    trips = goal.round_trips
    # If a sum of m is at most the sum of what each stays below with probability p/m, one of them
    # does: so its p-th percentile is not below that. And what a leg reaches with less than an m-th
    # part of the rest does not decide it.
    low, ample = goal.p / (replicas + 1) / trips, 100 - (100 - goal.p) / (replicas + 1) / trips
    leg = cache(lambda a, b: search.evaluator.measured(a, b).percentile(low) * trips / 2)
    home = {
        c: Latency(min(rough.measured(tail, c).first for tail in codes), ZERO.share)
        for c in goal.clients
    }
    way_home = {c: min(leg(tail, c) for tail in codes) for c in goal.clients}

    def quick(order: Replicas) -> float:
        inner = sum(leg(a, b) for a, b in pairwise(order))
        is_whole = len(order) == replicas
        return goal.combined(
            [
                leg(c, order[0]) + inner + (leg(order[-1], c) if is_whole else way_home[c])
                for c in goal.clients
            ]
        )

    def least(order: Replicas, inner: Latency) -> float:
        is_whole = len(order) == replicas
        figures = []
        for c in goal.clients:
            back = rough.measured(order[-1], c) if is_whole else home[c]
            legs = [rough.measured(c, order[0]), inner, back]
            figures.append(half(total(legs * trips, goal.p)).percentile(goal.p))
        return goal.combined(figures) * STEP

    def grow(order: Replicas, inner: Latency, beyond: float) -> Iterator[_Case]:
        """`beyond` is the least of what is left to look at when this chain is done with."""
        search.check_time(beyond)
        if len(order) == replicas:
            if all(group & set(order) for group in search.choice.required):

                def figures(by: Evaluator) -> list[float]:
                    return [by.along(order, c, goal.p).percentile(goal.p) for c in goal.clients]

                if (case := search.case([tuple(sorted(order))], order, figures)) is not None:
                    yield case
            return
        at = [codes.index(code) for code in order]
        longer = []
        for k, code in enumerate(codes):
            if k in at or not search.allowed[at, k].all():
                continue
            next_order = (*order, code)
            if quick(next_order) <= search.limit:
                legs = ZERO if not order else total([inner, rough.measured(order[-1], code)], ample)
                longer.append((least(next_order, legs), next_order, legs))
        longer.sort(key=lambda one: one[:2])
        for k, (bound, next_order, legs) in enumerate(longer):
            if bound > search.limit:
                break
            rest = longer[k + 1][0] if k + 1 < len(longer) else float("inf")
            yield from grow(next_order, legs, min(beyond, bound, rest))

    yield from grow((), ZERO, float("inf"))
