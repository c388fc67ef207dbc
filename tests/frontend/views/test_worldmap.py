import re
from itertools import pairwise, permutations

import pytest

from cloudping.regions import CATALOGUE
from frontend.views import worldmap
from frontend.views.lookup import short_name


def test_the_projection_is_equal_earth() -> None:
    # Equal Earth's published extent: x = 2.7066 at the equator's end, y = 1.3173 at the pole.
    assert worldmap._unit(0, 180)[0] == pytest.approx(2.70663, abs=1e-4)
    assert worldmap._unit(90, 0)[1] == pytest.approx(1.31737, abs=1e-4)


def test_a_great_circle_breaks_nowhere_but_at_the_edge_of_the_map() -> None:
    broken = 0
    for a, b in permutations(CATALOGUE.values(), 2):
        path = worldmap.great_circle(a, b)
        if (a.latitude, a.longitude) == (b.latitude, b.longitude):
            assert path == ""
            continue
        steps = [
            (kind, float(x), float(y)) for kind, x, y in re.findall(r"([ML])(\S+) ([^ML]+)", path)
        ]
        for (_, x, y), place in ((steps[0], a), (steps[-1], b)):
            assert (x, y) == pytest.approx(
                worldmap.project(place.latitude, place.longitude), abs=0.06
            )
        for (_, x0, y0), (kind, x1, y1) in pairwise(steps):
            if kind == "M":  # the same place, on the other edge
                broken += 1
                assert (x0 + x1, y0) == pytest.approx((worldmap.WIDTH, y1), abs=10)
            else:
                assert abs(x1 - x0) < worldmap.WIDTH / 4
    assert broken > 50  # ways across the Pacific


def test_every_region_is_on_the_map_and_labels_do_not_meet() -> None:
    places = {
        code: (*worldmap.project(region.latitude, region.longitude), short_name(region))
        for code, region in CATALOGUE.items()
    }
    for x, y, _ in places.values():
        assert 0 < x < worldmap.WIDTH
        assert 0 < y < worldmap.HEIGHT
    placed = worldmap.labels(places, "eu-central-1")
    assert "eu-central-1" in placed  # in the thick of Europe, but asked for
    assert len(placed) >= 25


def test_coastlines_come_from_topojson() -> None:
    topology = {
        "transform": {"scale": [1, 1], "translate": [0, 0]},
        "arcs": [[[0, 0], [10, 0], [0, 10], [-10, -10]], [[0, -80], [5, 0], [0, -5], [-5, 5]]],
        "objects": {"land": {"type": "MultiPolygon", "arcs": [[[0]], [[1]]]}},
    }
    path = worldmap.coastlines(topology)
    assert path.count("M") == 1  # Antarctica is left out
    assert path.endswith("z")
