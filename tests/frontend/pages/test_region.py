import re

import pytest
from flask.testing import FlaskClient

from tests.frontend.conftest import TARGETS


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
