"""docs/reliability.md names tests that there are, and every test here is in it."""

import ast
import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "reliability.md").read_text()
FAULTS = TEXT.partition("## Faults\n")[2].partition("\n## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in FAULTS.splitlines() if line.startswith("| ")][1:]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
# The tests of the means, not of a fault.
OF_THE_MEANS = {"test_document.py", "test_verify.py"}


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_table_has_the_faults() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_no_row_without_a_test(row: list[str]) -> None:
    fault, injected, happened, shown = row
    assert fault and injected and happened
    named = NAMED.findall(shown)
    assert named
    assert NAMED.sub("", shown).strip() == ""
    for path, name in named:
        assert name in names_in(path), f"{path} has no {name}"


def test_no_fault_without_a_row() -> None:
    named = {name for _, name in NAMED.findall(TEXT)}
    here = sorted((ROOT / "tests" / "reliability").glob("test_*.py"))
    paths = [str(path.relative_to(ROOT)) for path in here if path.name not in OF_THE_MEANS]
    assert len(paths) >= 5
    assert {name for path in paths for name in names_in(path)} <= named
