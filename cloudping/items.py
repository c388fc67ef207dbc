"""Typed access to what a table holds: what an item says wrongly is an ItemError, never a surprise.

An item may have been written by another program, an older version or by hand. So every value is
held against its type and against bounds that are far from what can be meant: beyond them sums and
times overflow, or a page says nonsense. One bad item costs its own row: its error stands in `bad`
beside the records of the others, whichever table they are of.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any, Final, Generic, TypeGuard, TypeVar

from cloudping.errors import ItemError
from cloudping.times import from_iso

MAX_TEXT: Final = 500
MAX_NUMBER: Final = 1e12
YEARS: Final = (2000, 2100)
MAX_INTERVAL_S: Final = 7 * 86400  # of a schedule


T = TypeVar("T")


class Batch(list[T], Generic[T]):
    """The records that were read; `bad` are the errors of the items that could not be."""

    def __init__(self, found: Iterable[T] = (), bad: Iterable[ItemError] = ()) -> None:
        super().__init__(found)
        self.bad = list(bad)


def read(items: Iterable[Mapping[str, Any]], parse: Callable[[Mapping[str, Any]], T]) -> Batch[T]:
    """Parses each item; what raises ItemError is kept apart."""
    batch: Batch[T] = Batch()
    for item in items:
        try:
            batch.append(parse(item))
        except ItemError as error:
            batch.bad.append(error)
    return batch


class Reader:
    """Reads one stored map; `key` names it in errors."""

    def __init__(self, content: Any, table: str, key: str) -> None:
        self._table, self._key = table, key
        if not isinstance(content, Mapping):
            raise ItemError(table, key, "results", content, "a map")
        self._content = content

    def error(self, attribute: str, expected: str) -> ItemError:
        value = self._content.get(attribute)
        return ItemError(self._table, self._key, attribute, value, expected)

    def has(self, attribute: str) -> bool:
        return attribute in self._content

    def text(self, attribute: str, default: str = "") -> str:
        """A text that is not empty, of one line."""
        value = self._content.get(attribute, default)
        if not _is_text(value):
            raise self.error(attribute, f"a text of 1 to {MAX_TEXT} printable characters")
        return str(value)

    def one_of(self, attribute: str, allowed: Iterable[str]) -> str:
        value = self.text(attribute)
        if value not in allowed:
            raise self.error(attribute, f"one of {', '.join(allowed)}")
        return value

    def texts(self, attribute: str) -> list[str]:
        value = self._content.get(attribute)
        if not isinstance(value, list) or not all(map(_is_text, value)):
            raise self.error(attribute, "a list of texts")
        return value

    def moment(self, attribute: str) -> datetime:
        try:
            moment = from_iso(self.text(attribute))
        except (ValueError, OverflowError):
            raise self.error(attribute, "an ISO 8601 time with its offset") from None
        if not YEARS[0] <= moment.year < YEARS[1]:
            raise self.error(attribute, f"a time from {YEARS[0]} to {YEARS[1]}")
        return moment

    def moment_or_none(self, attribute: str) -> datetime | None:
        return self.moment(attribute) if attribute in self._content else None

    def number(self, attribute: str, most: float = MAX_NUMBER, least: float = 0) -> float:
        value = self._content.get(attribute)
        if not is_number(value) or not least <= value <= most:
            raise self.error(attribute, f"a number from {least:g} to {most:g}")
        return float(value)

    def whole(self, attribute: str, most: float = MAX_NUMBER) -> int:
        return int(self.number(attribute, most))

    def numbers(self, attribute: str, most: float = MAX_NUMBER) -> list[float | None]:
        value = self._content.get(attribute)
        if not isinstance(value, list) or not all(
            entry is None or (is_number(entry) and 0 <= entry <= most) for entry in value
        ):
            raise self.error(attribute, f"a list of numbers from 0 to {most:g}, or nulls")
        return [None if entry is None else float(entry) for entry in value]

    def counts(self, attribute: str) -> dict[str, int]:
        """A map of texts to counts."""
        found = self.mapping(attribute)
        for name, count in found.items():
            if not _is_text(name) or not is_number(count) or not 0 <= count <= MAX_NUMBER:
                raise self.error(attribute, "a map of texts to counts")
        return {name: int(count) for name, count in found.items()}

    def words(self, attribute: str) -> dict[str, str]:
        """A map of texts to texts."""
        found = self.mapping(attribute)
        if not all(_is_text(name) and _is_text(text) for name, text in found.items()):
            raise self.error(attribute, "a map of texts to texts")
        return dict(found)

    def mapping(
        self, attribute: str, default: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        value = self._content.get(attribute, default)
        if not isinstance(value, Mapping):
            raise self.error(attribute, "a map")
        return value


def is_number(value: Any) -> TypeGuard[Decimal | int | float]:
    """True for a finite number; DynamoDB's are Decimal, those of JSON may be int or float."""
    if isinstance(value, Decimal):
        return value.is_finite()
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()
