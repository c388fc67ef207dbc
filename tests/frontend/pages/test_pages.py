import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from flask import render_template_string
from flask.testing import FlaskClient
from jinja2 import UndefinedError

from frontend import pages
from frontend.data.snapshot import Snapshot
from frontend.views.figures import STEPS
from tests.frontend.conftest import installation, show

STYLES = Path(pages.__file__).parent / "static" / "site.css"


@pytest.mark.parametrize(
    "path", ["/", "/map", "/status", "/api", "/region/cn-north-1", "/pair/us-east-1/eu-west-1"]
)
def test_no_page_asks_another_host_or_holds_inline_code(web: FlaskClient, path: str) -> None:
    page = web.get(path).text
    for loaded in re.findall(r'(?:src|href)="([^"]+)"', page.split("<body")[0]):
        assert loaded.startswith("/")
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r'\s(?:style|on\w+)="', page)


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    full = colour.lstrip("#")
    full = "".join(c * 2 for c in full) if len(full) == 3 else full
    parts = [int(full[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_scale_is_ordered_by_lightness_and_its_figures_are_readable(scheme: int) -> None:
    part = STYLES.read_text().split("@media (prefers-color-scheme: dark)")[scheme]
    colours = dict(re.findall(r"--([si]\d+): (#[0-9a-f]{3,6});", part))
    steps = [_luminance(colours[f"s{k}"]) for k in range(STEPS)]
    assert steps == sorted(steps, reverse=scheme == 0)
    for k, back in enumerate(steps):
        ink = _luminance(colours[f"i{k}"])
        assert (max(back, ink) + 0.05) / (min(back, ink) + 0.05) >= 4.5
    lightness = [116 * y ** (1 / 3) - 16 for y in steps]  # CIE L*
    gaps = [abs(b - a) for a, b in pairwise(lightness)]
    assert max(gaps) < 2.5 * min(gaps)


MIXED = "original-1, kernel-1"


def mixed() -> Snapshot:
    """The installation, where us-east-1 to eu-west-1 was measured in two ways."""
    good, pair = installation(), ("us-east-1", "eu-west-1")
    cells = {
        frame: {
            p: replace(c, figures=replace(c.figures, methods=("original-1", "kernel-1")))
            if p == pair
            else c
            for p, c in found.items()
        }
        for frame, found in good.cells.items()
    }
    return replace(good, cells=cells)


@pytest.mark.parametrize(
    "path", ["/", "/grid/p_99/timeframe/1Y", "/region/us-east-1", "/region/eu-west-1",
             "/map?from=us-east-1", "/pair/us-east-1/eu-west-1", "/pair/eu-west-1/us-east-1"]
)  # fmt: skip
def test_a_mixed_figure_is_marked_on_every_page(path: str) -> None:
    assert MIXED in show(mixed()).get(path).text
    assert "mixed" not in show(installation()).get(path).text


def test_the_tiles_of_a_mixed_pair_say_so() -> None:
    text = show(mixed()).get("/pair/us-east-1/eu-west-1").text
    assert re.search(r"The figures of 1 day are <abbr[^>]*>mixed</abbr>", text)


def test_a_name_that_no_template_has_is_an_error(web: FlaskClient) -> None:
    with web.application.app_context(), pytest.raises(UndefinedError, match="'nothing'"):
        render_template_string("{% if nothing %}x{% endif %}")
