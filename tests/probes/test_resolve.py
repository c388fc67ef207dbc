"""Lookups: timed by themselves, one family, none waiting for a slow one."""

import threading
from time import perf_counter, sleep

import pytest
from chalicelib.resolve import Family, Lookup, lookup, resolve


def test_an_address_is_not_looked_up() -> None:
    assert lookup("198.18.0.1", 4) == Lookup(("198.18.0.1",))
    assert lookup("2001:db8::1", 6) == Lookup(("2001:db8::1",))


@pytest.mark.parametrize(("host", "family"), [("198.18.0.1", 6), ("2001:db8::1", 4)])
def test_an_address_of_the_other_family_is_an_error(host: str, family: Family) -> None:
    found = lookup(host, family)
    assert found.addresses == ()
    assert found.error == f"{host} is not an IPv{family} address"


def test_a_name_is_timed() -> None:
    found = lookup("localhost", 4)
    assert found.addresses == ("127.0.0.1",)
    assert found.dns_ms is not None and found.dns_ms > 0


@pytest.mark.parametrize("host", ["two..dots", "a" * 70 + ".example"])
def test_a_name_that_cannot_be_one_is_an_error_not_a_crash(host: str) -> None:
    found = lookup(host, 4)
    assert found.addresses == ()
    assert found.error


def test_as_many_at_once_as_allowed() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def look_up(_: str, __: Family) -> Lookup:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        sleep(0.01)
        with lock:
            running -= 1
        return Lookup(("127.0.0.1",), 10.0)

    found = resolve([f"h{n}" for n in range(9)], 4, parallel=3, look_up=look_up)
    assert len(found) == 9
    assert most == 3


def test_a_stalled_lookup_does_not_hold_back_the_others() -> None:
    stop = threading.Event()

    def look_up(host: str, _: Family) -> Lookup:
        if host == "stalled":
            stop.wait(5)
        return Lookup(("127.0.0.1",), 1.0)

    began = perf_counter()
    found = resolve(["stalled", "a", "b"], 4, parallel=1, timeout_s=0.5, look_up=look_up)
    took_s = perf_counter() - began
    stop.set()
    assert found["a"].addresses and found["b"].addresses
    assert found["stalled"] == Lookup((), error="no answer within 0.5 s")
    assert 0.5 <= took_s < 4


def test_each_host_is_asked_for_once() -> None:
    asked = []

    def look_up(host: str, _: Family) -> Lookup:
        asked.append(host)
        return Lookup(("127.0.0.1",), 1.0)

    assert set(resolve(["a", "b", "a"], 4, 2, look_up=look_up)) == {"a", "b"}
    assert sorted(asked) == ["a", "b"]
    assert resolve([], 4, 2) == {}


def test_no_thread_left_is_this_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    found = resolve(["a.example", "b.example"], 4, parallel=1)
    assert set(found) == {"a.example", "b.example"}
    assert all(one.is_local_error and one.error for one in found.values())
