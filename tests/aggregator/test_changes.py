"""Changes: found on the planet as it really changed, and kept in the table as days come."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import permutations

import numpy as np
import pytest
from chalicelib import changes
from chalicelib.changes import Daily
from chalicelib.events import Event
from chalicelib.tables import Tables

from cloudping import planet
from cloudping.changes import Change, ChangeTable, Figure, State
from cloudping.regions import CATALOGUE, RegionState
from cloudping.summaries import Day, Figures
from tests.aggregator.conftest import Installation

FIRST = date(2025, 11, 24)
BEGIN = datetime.combine(FIRST, time(), UTC)
NOW = datetime(2026, 11, 24, 2, 3, tzinfo=UTC)
DAYS = 365


def on_planet(codes: tuple[str, ...], seed: int, *, activity: float = 1.0) -> Daily:
    """A year of daily figures of all pairs, from a run of five attempts each hour."""
    minutes = int(BEGIN.timestamp()) // 60 + 7 + 60 * np.arange(DAYS * 24)
    pairs = tuple(permutations(codes, 2))
    p50, p99 = np.empty((2, len(pairs), DAYS))
    lost = np.empty((len(pairs), DAYS), np.int64)
    for row, pair in enumerate(pairs):
        found = planet.latencies_ms(*pair, minutes, 5, seed, activity).reshape(DAYS, -1)
        ordered = np.sort(found, axis=1)  # NaN last
        lost[row] = np.isnan(found).sum(axis=1)
        n = found.shape[1] - lost[row]
        days = np.arange(DAYS)
        for share, values in ((0.5, p50), (0.99, p99)):
            at = np.maximum((share * (n - 1)).round().astype(int), 0)
            values[row] = np.where(n > 0, ordered[days, at], np.nan)
    attempted = np.full_like(lost, found.shape[1])
    return Daily(pairs, FIRST, p50, p99, lost, attempted, is_simulated=True)


def day_of(moment: datetime) -> float:
    """Days since FIRST, with the part of the day."""
    return (moment - BEGIN) / timedelta(days=1)


class Truth:
    """What really changed: boundaries of the levels of every pair, in days and ms."""

    def __init__(self, daily: Daily, codes: tuple[str, ...], seed: int) -> None:
        self.shifts = planet.shifts(BEGIN, BEGIN + timedelta(days=DAYS), codes, seed)
        self.medians = dict(zip(daily.pairs, np.nanmedian(daily.p50, axis=1), strict=True))
        self.boundaries: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for shift in self.shifts:
            for pair, change_ms in shift.change_ms.items():
                for moment, sign in ((shift.start, 1), (shift.end, -1)):
                    self.boundaries.setdefault(pair, []).append((day_of(moment), sign * change_ms))

    def is_large(self, pair: tuple[str, str], change_ms: float) -> bool:
        return bool(abs(change_ms) >= max(2, 0.02 * self.medians[pair]))

    def wanted(self) -> list[tuple[tuple[str, str], float, float]]:
        """Pair, day and size of shifts of 2 ms and 2 % that last 14 days, away from the edges."""
        return [
            (pair, day_of(moment), sign * change_ms)
            for shift in self.shifts
            for pair, change_ms in shift.change_ms.items()
            for moment, sign in ((shift.start, 1), (shift.end, -1))
            if self.is_large(pair, change_ms)
            and shift.end - shift.start >= timedelta(days=14)
            and 14 <= day_of(moment) <= DAYS - 14
        ]


def steps(found: list[tuple[Figure, Event]]) -> list[tuple[tuple[str, str], int, float]]:
    """Pair, day and size of each step of the median that the events are made of."""
    first = FIRST.toordinal()
    result = []
    for figure, event in found:
        for episode in event.episodes if figure == "p50" else ():
            result.append((episode.pair, episode.first_day - first, episode.step))
            if episode.last_day is not None:
                result.append((episode.pair, episode.last_day + 1 - first, -episode.step))
    return result


SOME = tuple(code for code in CATALOGUE if CATALOGUE[code].partition == "aws")
FEW = SOME[::3]


@pytest.mark.parametrize(
    ("codes", "seed"),
    [(FEW, 0), *(pytest.param(SOME, seed, marks=pytest.mark.slow) for seed in range(10))],
)
def test_finds_what_the_planet_did(codes: tuple[str, ...], seed: int) -> None:
    daily = on_planet(codes, seed)
    truth = Truth(daily, codes, seed)
    found = changes.events(daily)
    by_pair: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for pair, day, step in steps(found):
        by_pair.setdefault(pair, []).append((day, step))

    def nearest(pair: tuple[str, str], day: float, size: float) -> float:
        off = (abs(at - round(day)) for at, step in by_pair.get(pair, []) if step * size > 0)
        return min(off, default=DAYS)

    off = np.array([nearest(*one) for one in truth.wanted()])
    is_found = off <= 3
    assert is_found.mean() >= 0.95, "shifts found"
    assert (off[is_found] <= 1).mean() >= 0.9, "right to a day"
    false = [
        (pair, day)
        for pair, day, step in steps(found)
        if not any(
            abs(day - round(at)) <= 3 and step * size > 0
            for at, size in truth.boundaries.get(pair, [])
        )
    ]
    assert len(false) <= 0.05 * len(steps(found))

    roles = {"region": "both", "source": "from", "target": "to"}
    whole = [
        shift
        for shift in truth.shifts
        if shift.kind in roles
        and 14 <= day_of(shift.start) <= DAYS - 21
        and shift.end - shift.start >= timedelta(days=14)
    ]
    one_event = [
        sum(
            figure == "p50"
            and (event.scope.role, event.scope.ends) == (roles[shift.kind], shift.regions)
            and abs(event.first_day - FIRST.toordinal() - round(day_of(shift.start))) <= 1
            for figure, event in found
        )
        == 1
        for shift in whole
    ]
    assert sum(one_event) >= 0.9 * len(one_event) - 0.1


def test_finds_nothing_on_a_quiet_planet() -> None:
    assert changes.events(on_planet(FEW, 0, activity=0.0)) == []


def cut(daily: Daily, days: int) -> Daily:
    """What was known when so many days had passed."""
    columns = slice(0, days)
    return replace(
        daily,
        p50=daily.p50[:, columns],
        p99=daily.p99[:, columns],
        lost=daily.lost[:, columns],
        attempted=daily.attempted[:, columns],
    )


def one_shift() -> Daily:
    """Three pairs to one region from the 200th day on, and an outage of a pair."""
    codes = ("eu-west-1", "us-east-1", "sa-east-1", "ap-south-1")
    daily = on_planet(codes, 0, activity=0.0)
    for row, pair in enumerate(daily.pairs):
        if pair[1] == "ap-south-1":
            daily.p50[row, 200:] += 12
            daily.p99[row, 200:] += 12
    daily.lost[0, 300] = 60
    return daily


class TestRevise:
    def stored(self, days: int) -> list[Change]:
        daily = cut(one_shift(), days)
        return changes.revise([], changes.events(daily), daily, NOW)

    def test_an_event_with_its_words(self) -> None:
        shift, outage = self.stored(365)
        assert (shift.id, shift.figure, shift.role) == (
            "2026-06-12-p50-up-to-ap-south-1",
            "p50",
            "to",
        )
        assert (shift.measured, len(shift.pairs), shift.last_day) == (3, 3, None)
        assert all(11 < pair.after - pair.before < 13 for pair in shift.pairs)
        assert (outage.figure, outage.first_day, outage.last_day) == (
            "loss",
            date(2026, 9, 20),
            date(2026, 9, 20),
        )

    def test_nothing_is_written_when_nothing_changed(self) -> None:
        daily = one_shift()
        stored = changes.revise([], changes.events(daily), daily, NOW)
        later = NOW + timedelta(days=1)
        assert changes.revise(stored, changes.events(daily), daily, later) == []

    def test_an_event_keeps_its_id_as_days_come(self) -> None:
        stored = {change.id: change for change in self.stored(215)}
        daily = one_shift()
        first_id = min(stored)
        for days in (230, 260, 365):
            part = cut(daily, days)
            for change in changes.revise(stored.values(), changes.events(part), part, NOW):
                stored[change.id] = change
        shifts = [change for change in stored.values() if change.figure == "p50"]
        assert [change.id for change in shifts] == [first_id]
        assert not shifts[0].is_withdrawn

    def test_an_event_whose_day_and_scope_are_revised_keeps_its_id(self) -> None:
        daily = one_shift()
        shift, outage = self.stored(365)
        as_first_seen = replace(
            shift,
            id="2026-06-11-p50-up-path-ap-south-1-eu-west-1",
            role="path",
            ends=("ap-south-1", "eu-west-1"),
            first_day=date(2026, 6, 11),
            pairs=shift.pairs[:1],
        )
        (revised,) = changes.revise([as_first_seen, outage], changes.events(daily), daily, NOW)
        assert revised.id == as_first_seen.id
        assert (revised.role, revised.first_day, len(revised.pairs)) == ("to", shift.first_day, 3)

    def test_an_end_is_a_revision(self) -> None:
        daily = one_shift()
        stored = changes.revise([], changes.events(daily), daily, NOW)
        for row, pair in enumerate(daily.pairs):
            if pair[1] == "ap-south-1":
                daily.p50[row, 340:] -= 12
                daily.p99[row, 340:] -= 12
        (revised,) = changes.revise(stored, changes.events(daily), daily, NOW)
        assert revised.id == "2026-06-12-p50-up-to-ap-south-1"
        assert revised.last_day == FIRST + timedelta(days=339)

    def test_what_is_not_found_again_is_withdrawn_and_can_come_back(self) -> None:
        daily = one_shift()
        stored = changes.revise([], changes.events(daily), daily, NOW)
        gone = changes.revise(stored, [], daily, NOW)
        assert [change.is_withdrawn for change in gone] == [True, True]
        assert changes.revise(gone, [], daily, NOW) == []
        back = changes.revise(gone, changes.events(daily), daily, NOW)
        assert [change.id for change in back] == [change.id for change in stored]
        assert not any(change.is_withdrawn for change in back)

    def test_what_began_before_these_days_stays_as_it_is(self) -> None:
        daily = one_shift()
        stored = changes.revise([], changes.events(daily), daily, NOW)
        later = replace(daily, first_day=daily.first_day + timedelta(days=400))
        assert changes.revise(stored, [], later, NOW) == []


PAIR = ("eu-west-1", "us-east-1")


def write_days(installed: Tables, days: int, shift_at: int) -> None:
    """Daily figures of both directions; there 10 ms more from a day on."""
    rng = np.random.default_rng(3)
    for source, target in (PAIR, PAIR[::-1]):
        installed.history.replace(
            Day(
                source,
                target,
                FIRST + timedelta(days=day),
                Figures(
                    samples=1440,
                    percentiles={
                        p: 70 + p / 50 + float(rng.normal(0, 0.1)) + 10 * (day >= shift_at)
                        for p in (50, 99)
                    },
                    methods=("kernel-1",),
                ),
                "aws",
            )
            for day in range(days)
        )


class TestSearch:
    NOW = datetime.combine(FIRST + timedelta(days=90), time(2, 3), UTC)

    def install(self, install: Installation) -> Tables:
        installed = install.tables
        for code in PAIR:
            installed.regions.put(
                RegionState(CATALOGUE[code], True, True, 300, earliest_data=BEGIN)
            )
        write_days(installed, 90, shift_at=40)
        return installed

    def search(self, installed: Tables, now: datetime = NOW) -> dict[str, int] | None:
        return changes.search(installed.history, installed.changes, installed.regions.all(), now)

    def test_finds_writes_and_says_how_far_it_has_come(self, install: Installation) -> None:
        installed = self.install(install)
        assert self.search(installed) == {"pairs": 2, "days": 90, "bad_items": 0, "written": 1}
        (change,) = installed.changes.all(2025, 2026)
        assert (change.role, change.first_day) == ("path", FIRST + timedelta(days=40))
        assert {(pair.region_from, pair.region_to) for pair in change.pairs} == {PAIR, PAIR[::-1]}
        assert installed.changes.state() == State(FIRST + timedelta(days=89), self.NOW)

    def test_once_a_day_and_the_next_day_again(self, install: Installation) -> None:
        installed = self.install(install)
        self.search(installed)
        assert self.search(installed, self.NOW + timedelta(hours=23)) is None
        again = self.search(installed, self.NOW + timedelta(days=1))
        assert again is not None
        assert again["written"] == 0

    def test_not_before_the_last_runs_of_a_day_can_be_in(self, install: Installation) -> None:
        installed = self.install(install)
        midnight = self.NOW.replace(hour=0, minute=3)
        self.search(installed, midnight)
        state = installed.changes.state()
        assert state is not None
        assert state.until == FIRST + timedelta(days=88)

    def test_killed_before_it_was_done_the_next_one_makes_the_same(
        self, install: Installation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed = self.install(install)
        with monkeypatch.context() as patch:
            patch.setattr(ChangeTable, "put_state", lambda *_: (_ for _ in ()).throw(KeyError))
            with pytest.raises(KeyError):
                self.search(installed)
        before = list(installed.changes.all(2025, 2026))
        self.search(installed)
        assert list(installed.changes.all(2025, 2026)) == before

    def test_a_broken_month_of_a_pair_costs_that_only(self, install: Installation) -> None:
        installed = self.install(install)
        key = {"pair": {"S": "us-east-1#eu-west-1"}, "month": {"S": "2026-02"}}
        install.client.put_item(TableName="cloudping_history", Item={**key, "days": {"S": "none"}})
        found = self.search(installed)
        assert found is not None
        assert found["bad_items"] == 1
        assert len(installed.changes.all(2025, 2026)) == 1

    def test_a_long_history_is_looked_through_from_its_beginning(
        self, install: Installation
    ) -> None:
        installed = self.install(install)
        write_days(installed, 800, shift_at=40)
        found = self.search(installed, self.NOW + timedelta(days=710))
        assert found is not None
        assert found["days"] > 800  # windows overlap
        (change,) = installed.changes.all(2025, 2028)
        assert change.first_day == FIRST + timedelta(days=40)
