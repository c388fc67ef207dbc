"""A plan: the best sets for a question, what each gives, and what cannot be told apart; pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import sqrt
from time import monotonic
from typing import Final

import numpy as np

from cloudping.regions import Region, distance_km
from frontend.data.samples import PairSamples, WindowSamples
from frontend.views.plan import protocols
from frontend.views.plan.ask import KINDS, Question
from frontend.views.plan.evaluate import Evaluator, Goal, Placement
from frontend.views.plan.latency import Latency, from_counts, total
from frontend.views.plan.search import Choice, best

SHOWN: Final = 8
SECONDS: Final = 5.0
Z_95: Final = 1.959964
# Stands in for a pair without figures, whose regions never come into one set: 1,000 s.
_FAR: Final = 10**8
_ONE: Final = np.ones(1)


@dataclass(frozen=True, slots=True)
class ClientFigures:
    """What one client gets, ms; `asked` is whom it asks.

    `figure` is the question's percentile; `write_ms` likewise of a write, where reads are planned.
    """

    code: str
    weight: float
    asked: str
    p50: float
    p99: float
    figure: float
    write_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """What is left when a member is lost; None where an operation cannot complete any more."""

    lost: str
    asked: tuple[str, ...] = ()
    figure: float | None = None
    worst: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One set.

    place           from 1; equal figures have the same
    figure          of the question, ms, with the bounds of its 95 % interval
    worst, mean     over the clients, of the question's percentile, ms
    is_alike        its interval meets that of the best: what is measured does not tell them apart
    deciding, more  the client that makes it worse than the best, and by how much, ms
    """

    place: int
    replicas: tuple[str, ...]
    asked: tuple[str, ...]
    figure: float
    low: float
    high: float
    worst: float
    mean: float
    clients: tuple[ClientFigures, ...]
    is_alike: bool = False
    deciding: str = ""
    more: float = 0.0
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a question.

    sets       best first, `SHOWN` at most
    mine       the set to compare with, if one was given
    primary    of `primary`: the region that all sets have, best for writes
    bound_ms   None when nothing better was left out; else where the search stopped
    left_out   candidates that were not usable, with the reason
    samples    n of the pair with the fewest, of those that were used
    """

    question: Question
    window: WindowSamples
    protocol: protocols.Protocol
    sets: tuple[Ranked, ...]
    mine: Ranked | None
    primary: str
    bound_ms: float | None
    left_out: tuple[tuple[str, str], ...]
    samples: int
    seconds: float


class _Measurements:
    """Latencies between regions, as they were measured; where only the other way was, that."""

    def __init__(self, window: WindowSamples, least_samples: int) -> None:
        self._window, self._least = window, least_samples
        self._latencies: dict[tuple[str, str], Latency] = {}

    def samples(self, a: str, b: str) -> PairSamples | None:
        for pair in ((a, b), (b, a)):
            found = self._window.pairs.get(pair)
            if found is not None and found.samples >= self._least:
                return found
        return None

    def latency(self, a: str, b: str) -> Latency:
        if (a, b) not in self._latencies:
            found = self.samples(a, b)
            self._latencies[a, b] = (
                Latency(_FAR, _ONE) if found is None else from_counts(found.units, found.counts)
            )
        return self._latencies[a, b]

    def effective(self, a: str, b: str) -> int:
        """Samples that count: one a run, since those of one run lie within seconds."""
        found = self.samples(a, b)
        assert found is not None  # noqa: S101 - only sets whose pairs were measured are asked for
        return min(found.samples, found.runs or found.samples)


def make(
    q: Question,
    window: WindowSamples,
    regions: Mapping[str, Region],
    seconds: float = SECONDS,
) -> Plan:
    """The plan; ValueError where a client has no figures, or too few regions are left."""
    begun = monotonic()
    measurements = _Measurements(window, q.least_samples)
    codes = [code for code, _ in q.clients]
    candidates, left_out = _usable(q, measurements)
    allowed = _together(q, measurements, regions)
    protocol = q.protocol
    goal = Goal(dict(q.clients), q.p, q.objective, q.round_trips)
    evaluator = Evaluator(protocol, goal, measurements.latency)
    choice = Choice(candidates, q.required, allowed)
    primary = ""
    if q.kind == "primary":
        writes = Evaluator(protocols.primary_write(1), goal, measurements.latency)
        from_must = len(q.required) >= q.replicas
        homes = frozenset().union(*q.required) if from_must else frozenset(candidates)
        [first] = best(Choice(tuple(homes)), writes, 1, seconds / 2).placements
        primary = first.asked[0]
        choice = replace(choice, required=(*q.required, frozenset({primary})))
    outcome = best(choice, evaluator, SHOWN, seconds)
    describe = _Description(q, evaluator, measurements, primary)
    sets = [describe.ranked(placement) for placement in outcome.placements]
    ranked = tuple(_compared(q, one, sets) for one in sets)
    mine = None
    if q.mine:
        pairs = [*combinations(q.mine, 2), *((c, r) for c in codes for r in q.mine)]
        for a, b in pairs:
            if measurements.samples(a, b) is None:
                raise ValueError(f"mine: there are too few samples between {a} and {b}.")
        placement = best(Choice(q.mine), evaluator, 1, seconds).placements[0]
        mine = _compared(q, describe.ranked(placement), sets)
        mine = replace(mine, losses=describe.losses(mine))
    if ranked:
        ranked = (replace(ranked[0], losses=describe.losses(ranked[0])), *ranked[1:])
    return Plan(
        question=q,
        window=window,
        protocol=protocol,
        sets=ranked,
        mine=mine,
        primary=primary,
        bound_ms=outcome.bound_ms,
        left_out=left_out,
        samples=describe.fewest,
        seconds=monotonic() - begun,
    )


def _usable(
    q: Question, measurements: _Measurements
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Candidates that every client has figures to, and why the others are not."""
    usable, left_out = [], []
    for code in q.candidates:
        without = [c for c, _ in q.clients if measurements.samples(c, code) is None]
        if without:
            left_out.append((code, f"too few samples from {', '.join(without[:3])}"))
        else:
            usable.append(code)
    if len(usable) < q.replicas:
        raise ValueError(
            f"replicas={q.replicas}: of {len(q.candidates)} regions {len(usable)} have the "
            f"{q.least_samples} samples from every client that {q.figure} needs in "
            f"{q.timeframe}; a longer timeframe has more."
        )
    return tuple(usable), tuple(left_out)


def _together(
    q: Question, measurements: _Measurements, regions: Mapping[str, Region]
) -> Callable[[str, str], bool]:
    """Whether two regions may be in one set: by the rules, and since their pair was measured."""
    sets = KINDS[q.kind].sets

    def allowed(a: str, b: str) -> bool:
        one, two = regions[a], regions[b]
        if sets and not any({a, b} <= group for group in sets):
            return False
        if q.geographies and one.geography == two.geography:
            return False
        if q.apart_km and distance_km(one, two) < q.apart_km:
            return False
        if measurements.samples(a, b) is None:
            return False
        return not q.apart_ms or measurements.latency(a, b).percentile(50) >= q.apart_ms

    return allowed


class _Description:
    """Placements in figures; `fewest` is n of the thinnest pair so far."""

    def __init__(
        self, q: Question, evaluator: Evaluator, measurements: _Measurements, primary: str
    ) -> None:
        self._q, self._evaluator, self._measurements = q, evaluator, measurements
        self._primary = primary
        self.fewest = 0

    def ranked(self, placement: Placement) -> Ranked:
        q, goal = self._q, self._evaluator.goal
        clients, lows, highs = [], [], []
        for code, weight in q.clients:
            latency = placement.clients[code]
            asked = self._asked(code, placement)
            low, high = self._interval(latency, self._legs(code, asked, placement))
            lows.append(low)
            highs.append(high)
            write_ms = None
            if self._primary:
                way = [self._measurements.latency(code, self._primary)] * q.round_trips
                write_ms = total(way).percentile(q.p)
            clients.append(
                ClientFigures(
                    code,
                    weight,
                    asked,
                    latency.percentile(50),
                    latency.percentile(99),
                    latency.percentile(q.p),
                    write_ms,
                )
            )
        figures = [client.figure for client in clients]
        return Ranked(
            place=1,
            replicas=placement.replicas,
            asked=placement.asked,
            figure=placement.figure,
            low=goal.combined(lows),
            high=goal.combined(highs),
            worst=max(figures),
            mean=replace(goal, objective="mean").combined(figures),
            clients=tuple(clients),
        )

    def losses(self, ranked: Ranked) -> tuple[Loss, ...]:
        """What each member's loss leaves: the best of the others leads, quorums stay."""
        protocol, goal = self._evaluator.protocol, self._evaluator.goal
        found = []
        for lost in ranked.replicas:
            left = tuple(code for code in ranked.replicas if code != lost)
            placement = None
            if left and protocol.survives and protocol.witnesses:
                asked = tuple(code for code in ranked.asked if code != lost)
                placement = self._evaluator.asking(asked, left)
            elif left and protocol.survives:
                fewer = replace(protocol, replicas=len(left))
                evaluator = Evaluator(fewer, goal, self._measurements.latency)
                placement = best(Choice(left), evaluator, 1).placements[0]
            if placement is None:
                found.append(Loss(lost))
                continue
            by_client = {c: f.percentile(goal.p) for c, f in placement.clients.items()}
            worst = max(by_client, key=lambda code: by_client[code])
            found.append(Loss(lost, placement.asked, placement.figure, worst))
        return tuple(found)

    def _asked(self, client: str, placement: Placement) -> str:
        if self._evaluator.protocol.asked == "nearest":
            return self._evaluator.nearest(client, placement.asked or placement.replicas)
        return placement.asked[0]

    def _legs(self, client: str, asked: str, placement: Placement) -> list[tuple[str, str]]:
        """The pairs whose samples are in the client's latency."""
        if self._evaluator.protocol.asked == "chain":
            return [(client, asked), *pairwise(placement.asked), (placement.asked[-1], client)]
        others = [(asked, r) for r in placement.replicas if r != asked]
        return [(client, asked), *(others if self._evaluator.protocol.phases else ())]

    def _interval(self, latency: Latency, legs: Sequence[tuple[str, str]]) -> tuple[float, float]:
        """95 % interval of the question's percentile, ms; see docs/planner.md.

        That of a binomial over as many operations as the thinnest pair has runs, each of which is
        used `times` times: the first-order terms of a U-statistic (Hoeffding 1948) have no more
        variance than that.
        """
        p, protocol = self._q.p / 100, self._evaluator.protocol
        # A chain of one goes to its replica and back over the same pair.
        times = self._q.round_trips * max(len(protocol.phases), len(legs) - len(set(legs)) + 1)
        runs = min(self._measurements.effective(a, b) for a, b in legs) / times
        n = min(samples.samples for leg in legs if (samples := self._measurements.samples(*leg)))
        self.fewest = min(self.fewest or n, n)
        off = Z_95 * sqrt(p * (1 - p) / runs)
        low, high = max(100 * (p - off), 1e-6), min(100 * (p + off), 100.0)
        return latency.percentile(low), latency.percentile(high)


def _compared(q: Question, one: Ranked, sets: Sequence[Ranked]) -> Ranked:
    """With its place among the sets, and what makes it worse than the best."""
    if not sets:
        return one
    first = sets[0]
    place = 1 + sum(round(other.figure, 2) < round(one.figure, 2) for other in sets)
    if one.replicas == first.replicas:
        return one
    there = {client.code: client for client in first.clients}
    more = {c.code: c.figure - there[c.code].figure for c in one.clients}
    if q.objective == "worst":
        deciding = max(one.clients, key=lambda c: c.figure).code
    else:
        deciding = max(one.clients, key=lambda c: c.weight * more[c.code]).code
    return replace(
        one,
        place=place,
        is_alike=one.low <= first.high and first.low <= one.high,
        deciding=deciding,
        more=more[deciding],
    )
