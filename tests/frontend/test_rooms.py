"""Which room of the front end may import which, and what: read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import frontend

HERE = Path(frontend.__file__).parent
# Of the front end itself: modules, or rooms with all their modules. `serving` is asked for turns
# of rendering and refusals by those who answer; it knows none of them.
MAY_IMPORT = {
    "data": {"frontend.data"},
    "views": {
        "frontend.views",
        "frontend.data.snapshot",
        "frontend.data.now",
        "frontend.data.samples",
    },
    "pages": {"frontend.pages", "frontend.views", "frontend.data", "frontend.serving"},
    "api": {"frontend.api", "frontend.views", "frontend.data", "frontend.serving"},
    "serving": {"frontend.serving"},
}
OTHER_DEPLOYABLES = {"probes", "aggregator", "watch", "infra", "bench", "tests", "chalicelib"}
# Views are pure, and `cloudping` alone makes clients.
NOT_IN = {
    "data": {"boto3", "botocore"},
    "views": {"boto3", "botocore", "flask", "threading", "logging"},
    "pages": {"boto3", "botocore"},
    "api": {"boto3", "botocore"},
    "serving": {"boto3", "botocore", "cloudping"},
}


def imported(path: Path) -> Iterator[str]:
    """The modules that a module imports; of `from package import x` both, as x may be a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: set[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def test_every_module_is_in_a_room() -> None:
    assert [path.name for path in HERE.glob("*.py")] == ["__init__.py"]
    assert {path.parent.name for path in HERE.glob("*/*.py")} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    for path in (HERE / room).rglob("*.py"):
        for name in imported(path):
            where = f"{path.relative_to(HERE)} imports {name}"
            assert not within(name, OTHER_DEPLOYABLES | NOT_IN[room]), where
            assert not within(name, {"frontend"}) or within(name, MAY_IMPORT[room]), where


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_is_used(room: str) -> None:
    """Else the names above would be wrong, and the test above would hold nothing."""
    users = [path for path in HERE.rglob("*.py") if path.relative_to(HERE).parts[0] != room]
    assert any(within(name, {f"frontend.{room}"}) for path in users for name in imported(path))
