from dataclasses import replace
from datetime import timedelta

import pytest

from frontend.views import status
from tests.frontend.conftest import SOURCES, TARGETS, installation, run, show, this_minute


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
