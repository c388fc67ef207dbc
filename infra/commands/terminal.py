"""What commands say and ask on a terminal."""

import math
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence

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


def count(number: int, what: str) -> str:
    """`1 part`, `2 parts`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argument's type: a whole number within bounds, with an error that names them."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return convert


def real(low: float, high: float) -> Callable[[str], float]:
    """An argument's type: a number within bounds, with an error that names them."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return value

    return convert


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Text columns, as wide as they need to be."""
    lines = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
