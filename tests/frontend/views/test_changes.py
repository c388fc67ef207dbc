"""Changes in words and in order."""

from datetime import date

import pytest

from cloudping.changes import Change, ChangedPair
from cloudping.regions import CATALOGUE
from frontend.views import changes
from frontend.views.changes import Choice
from tests.frontend.conftest import a_change


def title(change: Change) -> str:
    return changes.told(change, CATALOGUE).title


@pytest.mark.parametrize(
    ("role", "ends", "words"),
    [
        ("to", ("ap-south-1",), "2 of 33 sources to Mumbai: +8.0 to +31.0 ms"),
        ("from", ("ap-south-1",), "Mumbai to 2 of 33 targets: +8.0 to +31.0 ms"),
        ("both", ("ap-south-1",), "2 of 33 pairs from and to Mumbai: +8.0 to +31.0 ms"),
        (
            "between",
            ("Asia Pacific", "Europe"),
            "2 of 33 pairs between Asia Pacific and Europe: +8.0 to +31.0 ms",
        ),
    ],
)
def test_whom_it_concerns(role: str, ends: tuple[str, ...], words: str) -> None:
    assert title(a_change(role=role, ends=ends)) == words


def test_a_path_in_one_and_in_both_directions() -> None:
    there = ChangedPair("eu-west-1", "us-east-1", date(2026, 3, 14), None, 70, 78, 9)
    back = ChangedPair("us-east-1", "eu-west-1", date(2026, 3, 14), None, 70, 78, 9)
    path = a_change(role="path", ends=("eu-west-1", "us-east-1"), pairs=(there,), measured=2)
    assert title(path) == "Ireland → N. Virginia: +8.0 ms"
    both = a_change(role="path", ends=("eu-west-1", "us-east-1"), pairs=(there, back), measured=2)
    assert title(both) == "Ireland ↔ N. Virginia: +8.0 ms"


def test_tail_and_loss() -> None:
    assert title(a_change(figure="p99")).endswith("p99 +8.0 to +31.0 ms")
    pair = ChangedPair("eu-west-1", "ap-south-1", date(2026, 3, 14), None, 0.1, 12.4, 30)
    assert title(a_change(figure="loss", pairs=(pair,))).endswith("up to 12 % lost")


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (None, "since 14 Mar 2026"),
        (date(2026, 3, 14), "on 14 Mar 2026"),
        (date(2026, 4, 2), "14 Mar 2026 to 2 Apr 2026"),
    ],
)
def test_since_when(last: date | None, words: str) -> None:
    assert changes.told(a_change(last_day=last), CATALOGUE).when == words


def test_a_region_that_is_known_no_more_is_called_by_its_code() -> None:
    assert title(a_change(ends=("xx-north-9",))).startswith("2 of 33 sources to xx-north-9")


def test_choosing_and_order() -> None:
    old = a_change(id="2026-01-01-x", first_day=date(2026, 1, 1), figure="p99")
    new = a_change()
    gone = a_change(id="2026-05-01-x", is_withdrawn=True)

    def chosen(choice: Choice) -> list[str]:
        return [change.id for change in changes.chosen([old, gone, new], choice)]

    assert chosen(Choice()) == [new.id, old.id]
    assert chosen(Choice(figure="p99")) == [old.id]
    assert chosen(Choice(region="sa-east-1")) == [new.id, old.id]
    assert chosen(Choice(region="eu-north-1")) == []
    assert chosen(Choice(pair=("ap-south-1", "sa-east-1"))) == [new.id, old.id]
    assert chosen(Choice(least=31)) == [new.id, old.id]
    assert chosen(Choice(least=31.1)) == []
    # One pair has to meet all of it, not one pair each a part.
    assert chosen(Choice(region="eu-west-1", least=20)) == []


def test_the_strip_has_every_day_of_the_year() -> None:
    days = changes.strip([a_change(), a_change(id="2026-03-14-y")], date(2026, 11, 24))
    assert (days[0].day, days[-1].day) == (date(2025, 11, 24), date(2026, 11, 24))
    assert [(day.day, day.changes, day.pairs) for day in days if day.changes] == [
        (date(2026, 3, 14), 2, 4)
    ]


def test_marks_of_a_pair_and_of_one_direction_only() -> None:
    found = changes.marks([a_change()], "sa-east-1", "ap-south-1")
    assert found == [
        (date(2026, 3, 15), "median (p50) 300.0 → 331.0 ms"),
        (date(2026, 4, 3), "median (p50) as before"),
    ]
    assert changes.marks([a_change()], "ap-south-1", "sa-east-1") == []
    assert changes.marks([a_change(is_withdrawn=True)], "sa-east-1", "ap-south-1") == []
