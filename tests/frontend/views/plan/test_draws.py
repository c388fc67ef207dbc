"""A hundred random problems against a million draws of every leg; and what independence costs."""

from itertools import pairwise, permutations

import numpy as np
import numpy.typing as npt
import pytest

from cloudping import planet
from frontend.views.plan import latency, protocols
from frontend.views.plan.evaluate import Evaluator, Goal, Placement
from frontend.views.plan.protocols import Protocol
from tests.frontend.views.plan.planet import END, REGIONS, window

DRAWS = 1_000_000
WINDOW = window()
Draws = npt.NDArray[np.float64]


def drawn(rng: np.random.Generator, a: str, b: str) -> Draws:
    """A new draw for each operation, ms."""
    pair = WINDOW.pairs[a, b]
    found: Draws = rng.choice(pair.units, DRAWS, p=pair.counts / pair.samples) / 100
    return found


def simulated(
    rng: np.random.Generator, protocol: Protocol, placement: Placement, client: str, asked: str
) -> Draws:
    """One operation after another, by the protocol's definition and not by its formula."""
    if protocol.asked == "chain":
        legs = list(pairwise([client, *placement.asked, client]))
        along: Draws = np.sum([drawn(rng, a, b) for a, b in legs], axis=0) / 2
        return along
    took = drawn(rng, client, asked)
    for phase in protocol.phases:
        answers: list[Draws] = [np.zeros(DRAWS)]
        answers += [drawn(rng, asked, r) for r in placement.replicas if r != asked]
        waited = np.partition(np.array(answers), phase.quorum - 1, axis=0)[phase.quorum - 1]
        took = took + np.where(rng.random(DRAWS) < phase.probability, waited, 0)
    return took


def problem(number: int) -> None:
    rng = np.random.default_rng(number)
    n = int(rng.choice([3, 5]))
    found = [
        protocols.single_leader(n),
        protocols.flexible(n, int(rng.integers(2, n + 1))),
        protocols.leaderless(n, float(rng.choice([0, 0.02, 0.3]))),
        protocols.quorum_read(n, int(rng.integers(1, n + 1))),
        protocols.quorum_write(n, int(rng.integers(1, n + 1))),
        protocols.local_read(n),
        protocols.chain_write(3),
        protocols.aurora_dsql(),
    ]
    protocol = found[number % len(found)]
    replicas = tuple(sorted(rng.choice(REGIONS, protocol.replicas, replace=False)))
    client = str(rng.choice(REGIONS))
    pairs = WINDOW.pairs
    evaluator = Evaluator(
        protocol,
        Goal({client: 1.0}),
        lambda a, b: latency.from_counts(pairs[a, b].units, pairs[a, b].counts),
    )
    placement = evaluator.placement(replicas)
    near = placement.asked or replicas
    asked = near[0] if protocol.asked == "leader" else evaluator.nearest(client, near)
    operations = simulated(rng, protocol, placement, client, asked)
    for p in (50, 90, 99):
        # A few values of the samples may lie on either side of a percentile, and where the draws
        # then fall is their noise: four standard errors of the share below it.
        noise = 4 * (p * (100 - p) / DRAWS) ** 0.5
        low, high = np.percentile(operations, (p - noise, p + noise))
        found_ms = placement.clients[client].percentile(p)
        said = (number, protocol.name, replicas, client, p, low, found_ms, high)
        assert 0.995 * low - 0.011 <= found_ms <= 1.005 * high + 0.011, said


@pytest.mark.parametrize("number", range(8))
def test_every_protocol_against_draws(number: int) -> None:
    problem(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8, 108))
def test_a_hundred_problems_against_draws(number: int) -> None:
    problem(number)


def test_how_far_off_independence_is() -> None:
    """Sums of two legs of the same minute against the convolution, as docs/planner.md says."""
    days = 30
    minutes = np.arange(0, days * 1440, 60) + int(END.timestamp()) // 60 - days * 1440
    codes = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1")
    off: dict[int, list[float]] = {50: [], 99: []}
    for a, b, c in permutations(codes, 3):
        one, two = (
            np.asarray(planet.latencies_ms(x, y, minutes, 5, activity=0.0)).ravel()
            for x, y in ((a, b), (b, c))
        )
        both = ~np.isnan(one) & ~np.isnan(two)
        legs = [
            latency.from_counts(
                *np.unique(np.rint(100 * leg[both]).astype(np.int64), return_counts=True)
            )
            for leg in (one, two)
        ]
        convolved = latency.total(legs)
        for p, found in off.items():
            joint = float(np.percentile((one + two)[both], p))
            found.append(100 * (convolved.percentile(p) / joint - 1))
    print({p: (min(found), max(found)) for p, found in off.items()})  # noqa: T201 - with pytest -s
    assert max(map(abs, off[50])) < 0.5
    assert max(map(abs, off[99])) < 2
