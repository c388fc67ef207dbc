import re
from itertools import pairwise
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from frontend import pages
from frontend.views.figures import STEPS

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
