import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from cloudping.summaries import Figures
from tests.frontend.conftest import TARGETS, installation, show


def test_region_page_sorts_by_the_figure_and_shows_both_ways(web: FlaskClient) -> None:
    page = web.get("/region/us-east-1").text
    table = page.split("All regions, out and in")[1]
    assert re.findall(r'scope="row"><a href="/region/([\w-]+)"', table) == [
        "us-east-1",
        "eu-west-1",
        "ap-northeast-1",
        "cn-north-1",
    ]
    assert 'href="/pair/eu-west-1/us-east-1"' in table


def test_a_target_only_region_says_so(web: FlaskClient) -> None:
    assert "A target only" in web.get("/region/cn-north-1").text


def test_map_from_a_region(web: FlaskClient) -> None:
    page = web.get("/map?from=eu-west-1").text
    assert "N. Virginia us-east-1: 70 ms" in page
    assert page.count("<circle") == len(TARGETS)


@pytest.mark.parametrize("path", ["/pair/us-east-11/eu-west-1", "/region/us-east-11"])
def test_an_unknown_region_is_404_with_suggestions(web: FlaskClient, path: str) -> None:
    answer = web.get(path)
    assert answer.status_code == 404
    assert 'href="/region/us-east-1"' in answer.text


def test_the_map_has_each_figure_beside_its_name_and_in_a_list() -> None:
    page = show(installation()).get("/map?from=us-east-1").text
    drawing, rest = page.split("</svg>")
    assert ">Ireland 68</text>" in drawing
    nearest = rest.split('class="nearest"')[1]
    found = re.findall(r'href="(/pair/[^"]+)"', nearest)
    assert found == [f"/pair/us-east-1/{c}" for c in ("eu-west-1", "ap-northeast-1", "cn-north-1")]
    # No probe runs in Beijing: what there is, is how it is reached.
    nearest = show(installation()).get("/map?from=cn-north-1").text.split('class="nearest"')[1]
    assert re.findall(r'href="(/pair/[^"]+)"', nearest) == [
        "/pair/ap-northeast-1/cn-north-1", "/pair/us-east-1/cn-north-1",
    ]  # fmt: skip


def test_the_map_has_its_lines_where_nothing_was_lost() -> None:
    good = installation()
    cells = {
        pair: replace(cell, figures=replace(cell.figures, loss_pct=0.0))
        for pair, cell in good.cells["1D"].items()
    }
    page = show(replace(good, cells={**good.cells, "1D": cells})).get("/map?metric=loss").text
    assert page.count('class="way l-zero"') == len(TARGETS) - 1


def test_only_what_was_tried_and_lost_has_a_cross() -> None:
    good = installation()
    untried = Figures(0, failures={"not_tried": 5}, coverage_pct=0.0)
    cells = {
        **good.cells["1D"],
        ("us-east-1", "eu-west-1"): replace(
            good.cells["1D"]["us-east-1", "eu-west-1"], figures=untried
        ),
    }
    web = show(replace(good, cells={**good.cells, "1D": cells}))
    page = web.get("/region/us-east-1").text
    assert "✕" not in page
    assert "✕" in web.get("/region/eu-west-1").text  # to cn-north-1 every packet was lost
