"""One computation at a time, few that wait, and each answer once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from frontend.data.costly import WAITING, Costly
from frontend.data.store import BusyError


def test_an_answer_is_computed_once_for_all_who_ask_meanwhile() -> None:
    costly, made, go = Costly(), [], threading.Event()

    def compute() -> str:
        go.wait(30)
        made.append(1)
        return "answer"

    with ThreadPoolExecutor(1 + WAITING) as pool:
        asked = [pool.submit(costly.get, "key", compute) for _ in range(1 + WAITING)]
        go.set()
        assert [future.result(30) for future in asked] == ["answer"] * (1 + WAITING)
    assert costly.get("key", compute) == "answer"
    assert made == [1]


def test_whoever_would_be_one_too_many_is_turned_away_at_once() -> None:
    costly, running, go = Costly(), threading.Event(), threading.Event()
    at_once = most = 0

    def compute() -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        running.set()
        go.wait(30)
        at_once -= 1
        return 1

    with ThreadPoolExecutor(1 + WAITING) as pool:
        asked = [pool.submit(costly.get, key, compute) for key in range(1 + WAITING)]
        assert running.wait(30)
        while costly._places._value:  # all have a place
            threading.Event().wait(0.001)
        with pytest.raises(BusyError):
            costly.get("one more", compute)
        go.set()
        assert [future.result(30) for future in asked] == [1] * (1 + WAITING)
    assert most == 1
    assert costly.get("one more", lambda: 2) == 2


def test_a_failure_is_not_kept() -> None:
    costly = Costly()
    with pytest.raises(ValueError, match="no"):
        costly.get("key", lambda: (_ for _ in ()).throw(ValueError("no")))
    assert costly.get("key", lambda: 3) == 3
