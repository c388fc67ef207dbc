"""Each protocol's latency, by its formula, against draws of every leg."""

import numpy as np
import numpy.typing as npt
import pytest

from frontend.views.plan import latency, protocols
from frontend.views.plan.evaluate import Evaluator, Goal
from frontend.views.plan.protocols import Protocol

DRAWS = 1_000_000
RNG = np.random.default_rng(7)
BASE = {("c", "x"): 10, ("c", "y"): 40, ("c", "z"): 90}
BASE |= {("x", "y"): 30, ("x", "z"): 85, ("y", "z"): 60}
Draws = npt.NDArray[np.float64]  # DRAWS latencies in ms


def _measured() -> tuple[dict[tuple[str, str], latency.Latency], dict[tuple[str, str], Draws]]:
    latencies, draws = {}, {}
    for (a, b), base in BASE.items():
        for pair in ((a, b), (b, a)):
            drawn = np.rint(100 * (base + RNG.gamma(1.5, base / 30, 50_000))).astype(np.int64)
            latencies[pair] = latency.from_counts(*np.unique(drawn, return_counts=True))
            draws[pair] = RNG.choice(drawn, DRAWS) / 100
    return latencies, draws


LATENCIES, D = _measured()
REPLICAS = ("x", "y", "z")


def evaluator(protocol: Protocol, round_trips: int = 1) -> Evaluator:
    goal = Goal({"c": 1.0}, round_trips=round_trips)
    return Evaluator(protocol, goal, lambda a, b: LATENCIES[a, b])


def second(a: str) -> Draws:
    """Q_2: the nearer of the two others."""
    b, c = (replica for replica in REPLICAS if replica != a)
    nearer: Draws = np.minimum(D[a, b], D[a, c])
    return nearer


def third(a: str) -> Draws:
    b, c = (replica for replica in REPLICAS if replica != a)
    farther: Draws = np.maximum(D[a, b], D[a, c])
    return farther


@pytest.mark.parametrize(
    ("protocol", "asked", "drawn"),
    [
        (protocols.single_leader(3), ("x",), D["c", "x"] + second("x")),
        (protocols.flexible(3, 3), ("y",), D["c", "y"] + third("y")),
        (protocols.leaderless(3, 0.0), (), D["c", "x"] + second("x")),
        (protocols.quorum_read(3, 1), (), D["c", "x"]),
        (protocols.quorum_write(3, 3), (), D["c", "x"] + third("x")),
        (protocols.primary_write(3), ("z",), D["c", "z"]),
        (protocols.primary_write(3, 2), ("z",), D["c", "z"] + second("z")),
        (protocols.local_read(3), (), D["c", "x"]),
        (
            protocols.chain_write(3),
            ("x", "y", "z"),
            (D["c", "x"] + D["x", "y"] + D["y", "z"] + D["z", "c"]) / 2,
        ),
    ],
)
def test_a_protocol_is_its_formula(
    protocol: Protocol,
    asked: tuple[str, ...],
    drawn: Draws,
) -> None:
    found = evaluator(protocol).asking(asked, REPLICAS).clients["c"]
    for p in (50, 90, 99):
        assert found.percentile(p) == pytest.approx(np.percentile(drawn, p), rel=0.005)


def test_conflicts_need_a_second_phase() -> None:
    drawn = D["c", "x"] + second("x")
    again = np.minimum(*(RNG.permutation(D["x", other]) for other in ("y", "z")))
    drawn = drawn + np.where(RNG.random(DRAWS) < 0.2, again, 0)
    found = evaluator(protocols.leaderless(3, 0.2)).asking((), REPLICAS).clients["c"]
    for p in (50, 90, 99):
        assert found.percentile(p) == pytest.approx(np.percentile(drawn, p), rel=0.005)


def test_round_trips_add_up_as_distributions() -> None:
    found = evaluator(protocols.primary_write(3), round_trips=3)
    drawn = sum(RNG.permutation(D["c", "x"]) for _ in range(3))
    latency_of_three = found.asking(("x",), REPLICAS).clients["c"]
    assert latency_of_three.percentile(99) == pytest.approx(np.percentile(drawn, 99), rel=0.005)


def test_fast_quorums_of_epaxos() -> None:
    sizes = {n: protocols.leaderless(n, 0.0).phases[0].quorum for n in (3, 5, 7)}
    assert sizes == {3: 2, 5: 3, 7: 5}


def test_the_best_leader_is_chosen_and_another_when_it_is_lost() -> None:
    found = evaluator(protocols.single_leader(3))
    whole = found.placement(REPLICAS)
    assert whole.asked == ("x",)
    lost = found.without(whole, "x")
    assert lost is not None
    assert (lost.replicas, lost.asked) == (("y", "z"), ("y",))
    drawn = D["c", "y"] + D["y", "z"]
    assert lost.clients["c"].percentile(99) == pytest.approx(np.percentile(drawn, 99), rel=0.005)


def test_without_a_quorum_there_is_nothing() -> None:
    found = evaluator(protocols.quorum_write(3, 3))
    assert found.without(found.placement(REPLICAS), "x") is None
    assert [p.survives for p in (protocols.single_leader(5), protocols.chain_write(3))] == [2, 2]


def test_a_quorum_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a quorum of 4 of 3 replicas: expected 1 to 3"):
        protocols.quorum_read(3, 4)
    with pytest.raises(ValueError, match=r"conflicts=1\.5"):
        protocols.leaderless(3, 1.5)
