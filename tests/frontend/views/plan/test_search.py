"""The search gives what trying every set gives, and says so when its time ran out."""

from itertools import combinations
from random import Random

import numpy as np
import pytest

from frontend.views.plan import latency, protocols
from frontend.views.plan.evaluate import Evaluator, Goal, Placement
from frontend.views.plan.latency import Latency
from frontend.views.plan.protocols import Protocol
from frontend.views.plan.search import Choice, best
from frontend.views.plan.ties import Ties

REGIONS = tuple("abcdefghij")


def planet(seed: int) -> dict[tuple[str, str], Latency]:
    """Round trips between points of a square, with jitter that grows with the distance."""
    rng = np.random.default_rng(seed)
    places = {region: rng.uniform(0, 200, 2) for region in REGIONS}
    found = {}
    for a in REGIONS:
        for b in REGIONS:
            base = 1 + float(np.hypot(*(places[a] - places[b])))
            drawn = base + rng.gamma(1.2, 0.2 + base / 60, 2000) + (rng.random(2000) < 0.01) * 30
            units, counts = np.unique(np.rint(drawn * 100).astype(np.int64), return_counts=True)
            found[a, b] = latency.from_counts(units, counts)
    return found


def tried(choice: Choice, evaluator: Evaluator, number: int) -> list[Placement]:
    """Every set, each computed whole."""
    replicas = evaluator.protocol.replicas
    ties = Ties(evaluator, sorted(choice.candidates))
    found = [
        min(
            (evaluator.asking(way, members) for way in evaluator.ways(members)),
            key=lambda one: (one.figure, ties.score(one.replicas, one.asked), one.asked),
        )
        for members in combinations(sorted(choice.candidates), replicas)
        if all(group & set(members) for group in choice.required)
        and all(choice.allowed(a, b) for a, b in combinations(members, 2))
    ]
    found.sort(key=lambda one: (one.figure, ties.score(one.replicas, one.asked), one.replicas))
    return found[:number]


def all_protocols(n: int) -> list[Protocol]:
    chain = [protocols.chain_write(n)] if n == 3 else []
    return [
        protocols.single_leader(n),
        protocols.flexible(n, 2),
        protocols.leaderless(n, 0.0),
        protocols.leaderless(n, 0.2),
        protocols.quorum_read(n, 2),
        protocols.quorum_write(n, n - 1),
        protocols.primary_write(n),
        protocols.primary_write(n, 2),
        protocols.local_read(n),
        *([protocols.aurora_dsql()] if n == 3 else []),
        *chain,
    ]


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("seed", [3, *(pytest.param(k, marks=pytest.mark.slow) for k in range(3))])
def test_the_ranking_is_that_of_brute_force(n: int, seed: int) -> None:
    random, round_trips = Random(seed), planet(seed)  # noqa: S311 - the same each time
    clients = {c: random.choice((1.0, 2.5)) for c in random.sample(REGIONS, 3)}
    choice = Choice(
        REGIONS,
        required=(frozenset("c"), frozenset("adg")) if seed % 2 else (),
        allowed=lambda a, b: seed != 3 or abs(ord(a) - ord(b)) > 1,
    )
    for protocol in all_protocols(n) if n > 1 else [protocols.single_leader(1)]:
        goal = Goal(
            clients,
            p=random.choice((50, 90, 99)),
            objective=random.choice(("worst", "mean")),
            round_trips=random.choice((1, 2)),
        )
        evaluator = Evaluator(protocol, goal, lambda a, b: round_trips[a, b])
        found = best(choice, evaluator, number=7, seconds=600)
        assert found.bound_ms is None
        assert list(found.placements) == tried(choice, evaluator, 7), protocol.name


def test_out_of_time_it_says_what_is_left_is_not_better_than() -> None:
    round_trips = planet(1)
    evaluator = Evaluator(
        protocols.single_leader(5), Goal({"a": 1.0}), lambda a, b: round_trips[a, b]
    )
    stopped = best(Choice(REGIONS), evaluator, seconds=-1)
    (whole,) = best(Choice(REGIONS), evaluator, number=1, seconds=600).placements
    assert stopped.bound_ms is not None
    assert stopped.bound_ms <= whole.figure


def test_fewer_sets_than_are_wanted() -> None:
    round_trips = planet(2)
    evaluator = Evaluator(
        protocols.single_leader(3), Goal({"a": 1.0}), lambda a, b: round_trips[a, b]
    )
    assert len(best(Choice(("a", "b", "c")), evaluator).placements) == 1
    assert best(Choice(("a", "b")), evaluator).placements == ()
    nothing = Choice(REGIONS, allowed=lambda _a, _b: False)
    assert best(nothing, evaluator).placements == ()


def test_more_candidates_than_it_can_tell_apart_are_refused() -> None:
    many = tuple(f"r{k}" for k in range(63))
    evaluator = Evaluator(protocols.single_leader(3), Goal({"a": 1.0}), lambda _a, _b: latency.ZERO)
    with pytest.raises(ValueError, match="63 candidates: expected 62 at most"):
        best(Choice(many), evaluator)
