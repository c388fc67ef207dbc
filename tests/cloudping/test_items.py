from decimal import Decimal
from typing import Any

import pytest

from cloudping.errors import ItemError
from cloudping.items import Reader


def reader(value: Any) -> Reader:
    return Reader({"x": value}, "table", "key")


@pytest.mark.parametrize(
    ("read", "good"),
    [
        ("text", "N. Virginia"),
        ("texts", ["a", "b"]),
        ("moment", "2026-11-20T06:05:00.000Z"),
        ("number", Decimal("0.25")),
        ("whole", Decimal(3)),
        ("numbers", [Decimal(1), None]),
        ("counts", {"timeout": Decimal(2)}),
        ("mapping", {"a": 1}),
    ],
)
@pytest.mark.parametrize(
    "bad",
    [None, True, "", "a\nb", "x" * 501, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", b"x",
     Decimal(-1), Decimal("1E18"), Decimal("NaN"), float("inf"), [Decimal("1E18")], [""], [{}],
     {"a": Decimal(-1)}, {"a": "x"}],
    ids=repr,
)  # fmt: skip
def test_only_what_is_meant_is_read(read: str, good: Any, bad: Any) -> None:
    getattr(reader(good), read)("x")
    fits = {
        "text": isinstance(bad, str) and bad.endswith("Z"),
        "mapping": isinstance(bad, dict),
    }
    if fits.get(read):
        return
    with pytest.raises(ItemError, match="table item key: x is"):
        getattr(reader(bad), read)("x")


def test_bounds_are_the_readers() -> None:
    assert reader(Decimal(-90)).number("x", most=90, least=-90) == -90
    with pytest.raises(ItemError, match="expected a number from -90 to 90"):
        reader(Decimal("90.01")).number("x", most=90, least=-90)
    with pytest.raises(ItemError, match="expected one of True, False"):
        reader("maybe").one_of("x", ("True", "False"))


def test_a_long_value_is_named_in_short() -> None:
    with pytest.raises(ItemError) as raised:
        reader(["x" * 100_000]).text("x")
    assert len(str(raised.value)) < 400
