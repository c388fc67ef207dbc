"""What a plan says beside its sets: losses, ties, intervals, rules; on the simulated planet."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from cloudping.regions import CATALOGUE
from frontend.data.samples import PairSamples, WindowSamples
from frontend.views.plan import ask
from frontend.views.plan.plan import Plan, make
from tests.frontend.views.plan import planet
from tests.frontend.views.plan.planet import REGIONS

WINDOW = planet.window()


def plan(window: WindowSamples = WINDOW, /, **given: str) -> Plan:
    question = ask.question(given, CATALOGUE, set(REGIONS))
    return make(question, window, CATALOGUE, seconds=60)


def test_the_best_set_is_led_recomputed_after_a_loss_and_compared() -> None:
    found = plan(
        clients="us-east-1,eu-central-1,ap-northeast-1", mine="us-east-1,us-west-2,sa-east-1"
    )
    best, mine = found.sets[0], found.mine
    assert found.bound_ms is None
    assert [one.place for one in found.sets] == sorted(one.place for one in found.sets)
    assert best.figure == max(client.figure for client in best.clients) == best.worst
    assert best.low < best.figure < best.high
    assert all(client.p50 < client.p99 for client in best.clients)
    assert [loss.lost for loss in best.losses] == list(best.replicas)
    # After a loss nothing is faster, and another leads where the leader was lost.
    assert all(loss.figure is not None and loss.figure >= best.figure for loss in best.losses)
    assert all(loss.lost not in loss.asked for loss in best.losses)
    assert mine is not None
    assert mine.more == pytest.approx(
        mine.figure - {c.code: c for c in best.clients}[mine.deciding].figure
    )
    assert mine.figure > best.figure


def test_two_of_three_do_not_survive_a_loss_when_all_must_answer() -> None:
    found = plan(clients="us-east-1", protocol="write", quorum="3")
    assert [loss.figure for loss in found.sets[0].losses] == [None] * 3


def test_equal_sets_share_their_place_and_the_one_that_loses_least_comes_first() -> None:
    found = plan(clients="eu-west-1,eu-central-1", replicas="3", figure="p_50")
    equal = [one for one in found.sets if one.figure == found.sets[0].figure]
    assert len(equal) > 1
    assert {one.place for one in equal} == {1}
    assert all(one.is_alike for one in equal[1:])
    losses = []
    for one in (equal[0], equal[-1]):
        mine = ",".join(one.replicas)
        again = plan(clients="eu-west-1,eu-central-1", figure="p_50", mine=mine).mine
        assert again is not None
        losses.append(max(loss.figure or 0 for loss in again.losses))
    assert losses[0] <= losses[1] + 1


def test_rules_about_places_are_kept() -> None:
    for one in plan(clients="us-east-1", apart="geography").sets:
        assert len({CATALOGUE[code].geography for code in one.replicas}) == 3
    for one in plan(clients="us-east-1", apart_ms="60").sets:
        for a, b in combinations(one.replicas, 2):
            pair = WINDOW.pairs[a, b]
            assert np.percentile(np.repeat(pair.units, pair.counts), 50) >= 5990
    for one in plan(clients="us-east-1", must="Europe,sa-east-1", never="eu-west-1").sets:
        assert "sa-east-1" in one.replicas
        assert "eu-west-1" not in one.replicas
        assert any(CATALOGUE[code].geography == "Europe" for code in one.replicas)
    assert plan(clients="us-east-1", apart_km="19000").sets == ()


def test_what_aws_sells_stays_within_its_sets() -> None:
    table = plan(clients="eu-west-1,us-east-1", protocol="dynamodb")
    assert table.sets
    assert all(any(set(one.replicas) <= group for group in ask.DYNAMODB_SETS) for one in table.sets)
    dsql = plan(clients="us-east-1", protocol="dsql").sets[0]
    assert len(dsql.asked) == 2
    assert set(dsql.asked) < set(dsql.replicas) == {"us-east-1", "us-east-2", "us-west-2"}
    assert {client.asked for client in dsql.clients} <= set(dsql.asked)


def test_a_primary_is_best_for_writes_and_its_replicas_for_reads() -> None:
    found = plan(
        clients="us-east-1:5,eu-west-1,ap-northeast-1", protocol="primary", objective="mean"
    )
    assert found.primary == "us-east-1"
    assert set(found.sets[0].replicas) == {"us-east-1", "eu-west-1", "ap-northeast-1"}
    by_code = {client.code: client for client in found.sets[0].clients}
    assert by_code["eu-west-1"].figure < 10
    assert (by_code["eu-west-1"].write_ms or 0) > 60


def test_pairs_with_too_few_samples_are_left_out_with_the_reason() -> None:
    pairs = dict(WINDOW.pairs)
    thin = PairSamples(np.array([9000], np.int32), np.array([99], np.int32), 0, 20)
    pairs["us-east-1", "eu-west-1"] = pairs["eu-west-1", "us-east-1"] = thin
    found = plan(
        replace(WINDOW, pairs=pairs),
        clients="us-east-1",
        may="eu-west-1,eu-west-2,eu-west-3,us-east-1",
    )
    assert found.left_out == (("eu-west-1", "too few samples from us-east-1"),)
    with pytest.raises(
        ValueError, match="2 have the 100 samples from every client that p_99 needs"
    ):
        plan(replace(WINDOW, pairs=pairs), clients="us-east-1", may="eu-west-1,us-east-1,us-east-2")


def test_the_interval_holds_the_figure_of_the_whole() -> None:
    """Of weeks drawn from a month whose own P90 is known: 19 of 20 are due."""
    rng = np.random.default_rng(5)
    codes = ("us-east-1", "us-east-2", "us-west-2", "ap-northeast-1")
    given = {
        "clients": "us-east-1,ap-northeast-1",
        "figure": "p_90",
        "may": "us-east-1,us-east-2,us-west-2",
    }
    [whole] = plan(**given).sets
    held = 0
    for _ in range(30):
        pairs = {
            (a, b): PairSamples(*_drawn(rng, WINDOW.pairs[a, b], 168), 0, 168)
            for a in codes
            for b in codes
        }
        [found] = plan(replace(WINDOW, pairs=pairs), **given).sets
        held += found.low <= whole.figure <= found.high
    assert held >= 27


def _drawn(
    rng: np.random.Generator, one: PairSamples, number: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    units, counts = np.unique(
        rng.choice(one.units, number, p=one.counts / one.samples), return_counts=True
    )
    return units.astype(np.int32), counts.astype(np.int32)
