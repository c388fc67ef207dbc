import random
from dataclasses import replace
from itertools import permutations

import pytest

from cloudping.regions import CATALOGUE
from cloudping.summaries import Figures, Summary
from frontend.data.keeper import MAX_REGIONS
from frontend.views.order import by_proximity
from tests.frontend.conftest import this_minute


def test_proximity_puts_neighbours_together() -> None:
    order = [r.code for r in by_proximity(list(CATALOGUE.values()), {})]
    at = {code: k for k, code in enumerate(order)}
    for a, b in (
        ("eu-west-1", "eu-west-2"),
        ("us-east-1", "us-east-2"),
        ("ap-east-1", "ap-east-2"),
    ):
        assert abs(at[a] - at[b]) <= 3
    assert abs(at["eu-west-1"] - at["ap-northeast-1"]) > 5


def test_ordering_ends_after_so_many_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many regions as the site takes, with round trips that no map explains."""
    many = [replace(CATALOGUE["eu-west-1"], code=f"r{k}") for k in range(MAX_REGIONS)]
    chance, now = random.Random(1), this_minute()  # noqa: S311 - any figures will do
    cells = {}
    for a, b in permutations(many, 2):
        figures = Figures(9, percentiles={50: chance.random()})
        cells[a.code, b.code] = Summary("1D", a.code, b.code, figures, now, now, now, "aws")
    settled = by_proximity(many, cells)
    monkeypatch.setattr("frontend.views.order.MAX_SWEEPS", 1)
    stopped = by_proximity(many, cells)
    assert {r.code for r in settled} == {r.code for r in stopped} == {r.code for r in many}
    assert settled != stopped
