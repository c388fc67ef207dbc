"""What a set of replicas gives each client, by the protocol: exact, on whole distributions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise, permutations
from typing import Literal

from frontend.views.plan.latency import ZERO, Latency, half, mixture, smallest, total
from frontend.views.plan.protocols import Protocol

RoundTrips = Callable[[str, str], Latency]
Objective = Literal["worst", "mean"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be small: a percentile of the worst client, or of the clients' mean by weight.

    clients      region to weight, above 0
    p            the percentile, in %
    round_trips  operations one after another that count together
    """

    clients: Mapping[str, float]
    p: float = 99
    objective: Objective = "worst"
    round_trips: int = 1

    def combined(self, figures: Sequence[float]) -> float:
        """One figure from those of the clients, in their order."""
        if self.objective == "worst":
            return max(figures)
        weights = self.clients.values()
        return sum(w * f for w, f in zip(weights, figures, strict=True)) / sum(weights)


@dataclass(frozen=True, slots=True)
class Placement:
    """A set of replicas, in the alphabet's order, and what it gives.

    asked    the leader; all replicas in order for a chain; where each client asks its nearest,
             those that are no witnesses, or () when there is none
    figure   what the goal makes of the clients' latencies, ms
    """

    replicas: tuple[str, ...]
    asked: tuple[str, ...]
    figure: float
    clients: Mapping[str, Latency] = field(compare=False)


class Evaluator:
    """Exact latencies of one protocol, each computed once.

    `measured(a, b)` gives the round trip from a to b; what it raises for a pair that has no
    figures passes through.
    """

    def __init__(self, protocol: Protocol, goal: Goal, measured: RoundTrips) -> None:
        self.protocol, self.goal, self.measured = protocol, goal, measured
        self._waits: dict[tuple[str, frozenset[str], int], Latency] = {}
        self._medians: dict[tuple[str, str], float] = {}

    def placement(self, replicas: Sequence[str]) -> Placement:
        """The best that this set gives: by its best leader, or the best order of a chain."""
        replicas = tuple(sorted(replicas))
        ways = (self.asking(asked, replicas) for asked in self.ways(replicas))
        return min(ways, key=lambda way: (way.figure, way.asked))

    def ways(self, replicas: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """All that `asked` may be."""
        match self.protocol.asked:
            case "nearest" if self.protocol.witnesses:
                yield from combinations(replicas, len(replicas) - self.protocol.witnesses)
            case "nearest":
                yield ()
            case "leader":
                yield from ((leader,) for leader in replicas)
            case "chain":
                yield from permutations(replicas)

    def asking(self, asked: tuple[str, ...], replicas: tuple[str, ...]) -> Placement:
        """What a set gives by this leader, this order of a chain, or, of (), each one's nearest."""
        clients = {c: self._client(c, asked, replicas) for c in self.goal.clients}
        figures = [latency.percentile(self.goal.p) for latency in clients.values()]
        return Placement(replicas, asked, self.goal.combined(figures), clients)

    def without(self, placement: Placement, lost: str) -> Placement | None:
        """The same set when a member is lost: led by the best of the others, with the quorums of
        the whole set; None when too few are left for them."""
        left = tuple(replica for replica in placement.replicas if replica != lost)
        if not left or not self.protocol.survives:
            return None
        if self.protocol.witnesses:
            return self.asking(tuple(a for a in placement.asked if a != lost), left)
        return self.placement(left)

    def nearest(self, client: str, replicas: Sequence[str]) -> str:
        """The replica with the lowest median from a client; the first by code where they tie."""
        return min(replicas, key=lambda replica: (self._median(client, replica), replica))

    def wait(self, asked: str, replicas: frozenset[str], quorum: int) -> Latency:
        """From the asked replica to the `quorum` nearest ones, itself included, whichever."""
        key = asked, replicas, quorum
        if key not in self._waits:
            others = [
                self.measured(asked, replica) for replica in sorted(replicas) if replica != asked
            ]
            self._waits[key] = smallest([ZERO, *others], quorum)
        return self._waits[key]

    def through(self, asked: str, client: str, replicas: frozenset[str], p: float = 100) -> Latency:
        """An operation of a client that asks this replica, `goal.round_trips` times.

        Exact up to its p-th percentile: all that a search needs, at a fraction of the work.
        """
        phases = sorted(self.protocol.phases, key=lambda phase: -phase.probability)
        certain = [phase for phase in phases if phase.probability == 1]
        now_and_then = phases[len(certain) :]
        once = [self.measured(client, asked)]
        once += [self.wait(asked, replicas, phase.quorum) for phase in certain]
        if not now_and_then:
            return total(once * self.goal.round_trips, p)
        found = total(once)
        for phase in now_and_then:
            more = total([found, self.wait(asked, replicas, phase.quorum)])
            found = mixture(found, more, phase.probability)
        return total([found] * self.goal.round_trips, p)

    def along(self, order: tuple[str, ...], client: str, p: float = 100) -> Latency:
        """Through a chain and back from its tail: half a round trip for each leg; p as above."""
        legs = [(client, order[0]), *pairwise(order), (order[-1], client)]
        return half(total([self.measured(a, b) for a, b in legs] * self.goal.round_trips, p))

    def _client(self, client: str, asked: tuple[str, ...], replicas: tuple[str, ...]) -> Latency:
        match self.protocol.asked:
            case "chain":
                return self.along(asked, client)
            case "leader":
                return self.through(asked[0], client, frozenset(replicas))
            case _:
                nearest = self.nearest(client, asked or replicas)
                return self.through(nearest, client, frozenset(replicas))

    def _median(self, a: str, b: str) -> float:
        if (a, b) not in self._medians:
            self._medians[a, b] = self.measured(a, b).percentile(50)
        return self._medians[a, b]
