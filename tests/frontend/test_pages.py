import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from cloudping.regions import CATALOGUE
from frontend import status, worldmap
from frontend.figures import LATENCY_STEPS_MS, METRICS, STEPS, milliseconds, percent
from frontend.matrix import by_proximity, matches, short_name
from tests.frontend.conftest import SOURCES, TARGETS, figures, installation, run, show, this_minute

STYLES = Path(status.__file__).parent / "static" / "site.css"


@pytest.mark.parametrize(
    "path", ["/", "/map", "/status", "/api", "/region/cn-north-1", "/pair/us-east-1/eu-west-1"]
)
def test_no_page_asks_another_host_or_holds_inline_code(web: FlaskClient, path: str) -> None:
    page = web.get(path).text
    for loaded in re.findall(r'(?:src|href)="([^"]+)"', page.split("<body")[0]):
        assert loaded.startswith("/")
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r'\s(?:style|on\w+)="', page)


def test_pair_page_has_its_figures_without_javascript(web: FlaskClient) -> None:
    page = web.get("/pair/us-east-1/eu-west-1").text
    assert "68.99" in page  # p99
    assert "69.50" in page  # p50 back
    assert "-1.00" in page  # there less back
    assert 'href="/api/v1/pairs/us-east-1/eu-west-1/samples?format=csv"' in page


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


def test_status_lists_those_in_trouble_first() -> None:
    good = installation()
    old = run("us-east-1", this_minute() - timedelta(hours=2))
    snapshot = replace(good, runs={**good.runs, "us-east-1": old})
    found = status.sources(snapshot, this_minute())
    assert [(s.code, s.state) for s in found] == [
        ("us-east-1", "silent"),
        ("ap-northeast-1", "ok"),
        ("eu-west-1", "ok"),
    ]
    page = show(snapshot).get("/status").text
    assert "1 of 3 sources need a look." in page


@pytest.mark.parametrize(("coverage_pct", "expected"), [(None, 288), (100.0, 3), (30.0, 10)])
def test_expected_runs_follow_coverage_else_the_interval(
    coverage_pct: float | None, expected: int
) -> None:
    good = installation()
    day = {
        pair: replace(cell, figures=replace(cell.figures, coverage_pct=coverage_pct))
        for pair, cell in good.cells["1D"].items()
    }
    snapshot = replace(good, cells={**good.cells, "1D": day})
    source = next(s for s in status.sources(snapshot, this_minute()) if s.code == "eu-west-1")
    assert (source.seen, source.expected) == (3, expected)


@pytest.mark.parametrize(
    ("lossy", "targets", "sources", "paths"),
    [
        ([], [], [], []),
        ([(s, "us-east-2") for s in SOURCES], ["us-east-2"], [], []),
        (
            [("us-east-1", t) for t in ("eu-west-1", "us-east-2", "cn-north-1")],
            [],
            ["us-east-1"],
            [],
        ),
        ([("us-east-1", "eu-west-1")], [], [], [("us-east-1", "eu-west-1")]),
        (
            [*((s, "us-east-2") for s in SOURCES), ("eu-west-1", "cn-north-1")],
            ["us-east-2"],
            [],
            [("eu-west-1", "cn-north-1")],
        ),
    ],
    ids=["nothing", "target", "source", "path", "target and path"],
)
def test_loss_points_at_a_target_a_source_or_a_path(
    lossy: list[tuple[str, str]], targets: list[str], sources: list[str], paths: list[object]
) -> None:
    cell = installation().cells["1D"]["us-east-1", "eu-west-1"]
    bad = replace(cell, figures=replace(cell.figures, loss_pct=20.0))
    cells = {
        (s, t): bad if (s, t) in lossy else cell for s in SOURCES for t in (*TARGETS, "us-east-2")
    }
    found = status.locate(cells, 1.0)
    assert [code for code, _, _ in found.targets] == targets
    assert [code for code, _, _ in found.sources] == sources
    assert [(a, b) for a, b, _ in found.paths] == paths


def test_metrics_are_clean_and_in_base_units(web: FlaskClient) -> None:
    text = web.get("/metrics").text
    pair = 'region_from="us-east-1",region_to="eu-west-1"'
    assert f"cloudping_last_run_round_trip_seconds{{{pair}}} 0.07" in text
    p99 = re.search(rf'cloudping_day_round_trip_seconds{{percentile="99",{pair}}} (.+)', text)
    assert p99 is not None
    assert float(p99[1]) == pytest.approx(0.06899)
    assert (
        'cloudping_last_run_loss_ratio{region_from="eu-west-1",region_to="cn-north-1"} 1.0' in text
    )
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_regions_are_found_by_code_name_place_geography_and_partition() -> None:
    def found(text: str) -> set[str]:
        return {code for code, region in CATALOGUE.items() if matches(region, text)}

    assert found("") == set(CATALOGUE)
    assert found("us-east-1") == {"us-east-1"}
    assert found("tokyo, ireland") == {"ap-northeast-1", "eu-west-1"}
    assert found("South America") == {"sa-east-1"}
    assert found("govcloud") == found("aws-us-gov") == {"us-gov-east-1", "us-gov-west-1"}
    assert len(found("aws")) == 34


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


def test_short_names_are_unique() -> None:
    names = [short_name(region) for region in CATALOGUE.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.004, "0.00"), (0.65, "0.65"), (0.996, "1.0"), (9.94, "9.9"), (9.96, "10"), (213.4, "213")],
)
def test_milliseconds_are_short(value: float, text: str) -> None:
    assert milliseconds(value) == text


def test_loss_is_never_rounded_to_zero() -> None:
    assert [percent(v) for v in (0, 0.001, 0.04, 1.26, 100)] == ["0", "<0.01", "0.04", "1.3", "100"]


def test_every_metric_reads_its_figure() -> None:
    found = figures(68.0, 1438, this_minute())
    values = {name: metric.value(found) for name, metric in METRICS.items()}
    assert values["p_95"] == pytest.approx(68.95)
    assert (values["mean"], values["min"], values["max"], values["stddev"]) == (68.5, 68, 69, 0.25)
    assert values["loss"] == pytest.approx(0.1389, abs=1e-4)


def test_a_step_ends_at_its_bound() -> None:
    metric = METRICS["p_50"]
    assert [metric.step(v) for v in (0.0, 5.0, 5.01, 300.0, 301.0)] == [0, 0, 1, 10, 11]
    assert metric.step(1e9) == STEPS - 1 == len(LATENCY_STEPS_MS)


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
