"""What commands say and ask on a terminal."""

import sys
from collections.abc import Iterable, Sequence

from cloudping.errors import CloudPingError


class NotConfirmedError(CloudPingError):
    """The operator did not say yes."""


def confirm(question: str, yes: bool, word: str = "yes") -> None:
    """Returns when the operator agrees; raises NotConfirmedError otherwise."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmedError("nobody is here to ask; say --yes to go on without a question")
    if input(f"{question} Type {word} to go on: ").strip() != word:
        raise NotConfirmedError("nothing was changed")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Text columns, as wide as they need to be."""
    lines = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
