"""The simulated network: deterministic, like ours, the same on numbers and on arrays."""

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import combinations, product

import numpy as np
import pytest

from cloudping import planet
from cloudping.errors import UnknownRegionError
from cloudping.planet import events, links, noise
from cloudping.planet.events import Shift
from cloudping.regions import CATALOGUE, rtt_floor_ms

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOON_MINUTE = int(NOON.timestamp()) // 60
YEAR = NOON_MINUTE - np.arange(0, 365 * 1440, 360)
A_YEAR_AGO = NOON - timedelta(days=365)
FEW = ("ap-southeast-1", "cn-north-1", "eu-central-1", "eu-west-1", "sa-east-1", "us-east-1")
OCEAN = ("ap-southeast-1", "eu-south-1")
PAIRS = [("us-east-1", "us-east-1"), ("us-east-1", "eu-west-1"), ("cn-north-1", "ap-south-2")]


def minute_of(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def test_same_question_same_answer_and_another_seed_another() -> None:
    asked = ("us-east-1", "eu-west-1", NOON, 5)
    assert planet.connects(*asked) == planet.connects(*asked)
    assert planet.connects(*asked) != planet.connects(*asked, seed=1)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("activity", [0.0, 1.0, 10.0])
def test_numbers_and_arrays_agree_to_the_last_bit(
    source: str, target: str, activity: float
) -> None:
    minutes = YEAR[::5]
    array = planet.latencies_ms(source, target, minutes, 5, 3, activity)
    for row, minute in zip(array, minutes, strict=True):
        moment = datetime.fromtimestamp(int(minute) * 60, UTC)
        singles = planet.connects(source, target, moment, 5, 3, activity)
        expected = [np.nan if a.latency_ms is None else a.latency_ms for a in singles]
        np.testing.assert_array_equal(row, expected)


def test_the_figures_of_a_seed_are_these_on_every_platform() -> None:
    """A change of this digest is a new planet: meant, or a platform that computes otherwise."""
    digest = hashlib.sha256()
    for source, target in product(FEW, FEW):
        array = planet.latencies_ms(source, target, YEAR, 5)
        digest.update(np.nan_to_num(array * 1000).round().astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "7b6e1d621ca2439a"


def test_no_time_no_figures() -> None:
    assert planet.latencies_ms("us-east-1", "eu-west-1", np.array([], int), 5).shape == (0, 5)


def test_never_faster_than_light_and_rarely_lost() -> None:
    lost = total = 0
    for source in list(CATALOGUE)[::5]:
        for target in CATALOGUE:
            array = planet.latencies_ms(source, target, YEAR, 5)
            assert np.nanmin(array) > rtt_floor_ms(source, target)
            lost += int(np.isnan(array).sum())
            total += array.size
    assert 0.0002 < lost / total < 0.01


class TestMap:
    def test_every_region_of_the_catalogue_is_linked_with_every_other(self) -> None:
        for code in CATALOGUE:
            assert links.base_ms("us-east-1", code) > 0

    def test_a_region_without_a_link_is_named(self) -> None:
        for pair in (("us-east-1", "us-east-9"), ("us-east-9", "us-east-1")):
            with pytest.raises(UnknownRegionError, match="us-east-9"):
                links.base_ms(*pair)
            with pytest.raises(UnknownRegionError, match="us-east-9"):
                planet.connects(*pair, NOON, 1)

    def test_the_shortest_path_is_the_same_both_ways_and_its_links_are_the_map_s(self) -> None:
        for a, b in combinations(CATALOGUE, 2):
            path = links.links_between(a, b)
            assert path == links.links_between(b, a)
            for (one, other), length_ms in path.items():
                listed = links.LINKS.get(one, {}).get(other) or links.LINKS[other][one]
                assert length_ms == listed
        across = links.links_between("ap-southeast-2", "eu-central-1")
        assert ("ap-southeast-1", "eu-south-1") in across

    def test_links_and_detours_join_regions_of_the_catalogue_once(self) -> None:
        listed = [frozenset((a, b)) for a, ends in links.LINKS.items() for b in ends]
        assert len(listed) == len(set(listed))
        assert set().union(*listed) == set(CATALOGUE)
        assert set(links.LONGER_FROM_MS) <= set(CATALOGUE)
        for here, places, _ in links.DETOURS:
            assert here in CATALOGUE
            for place in places:
                assert any(code.startswith(place) for code in CATALOGUE), place

    def test_no_link_is_faster_than_light_in_fibre(self) -> None:
        """To within what is not known of where the two regions stand."""
        for a, ends in links.LINKS.items():
            for b, length_ms in ends.items():
                assert length_ms + 2 * links.BORDER_MS > rtt_floor_ms(a, b) / 0.8

    def test_directions_differ_by_their_ends_only(self) -> None:
        for a, b in combinations(CATALOGUE, 2):
            differ = links.LONGER_FROM_MS.get(a, 0.0) - links.LONGER_FROM_MS.get(b, 0.0)
            assert links.base_ms(a, b) - links.base_ms(b, a) == pytest.approx(differ, abs=1e-9)

    def test_what_everybody_in_the_field_knows(self) -> None:
        """Medians of a year, in ms, as published for years by several sources."""
        for source, target, low, high in (
            ("us-east-1", "eu-west-1", 64, 72),
            ("us-east-1", "us-west-2", 55, 68),
            ("ap-southeast-1", "ap-northeast-1", 64, 74),
            ("ap-southeast-1", "eu-central-1", 150, 166),
            ("sa-east-1", "us-east-1", 108, 118),
            ("eu-west-1", "eu-west-2", 9, 14),
            ("us-west-2", "ap-northeast-1", 88, 102),
            ("us-east-1", "us-east-1", 0.5, 2),
        ):
            median = np.nanmedian(planet.latencies_ms(source, target, YEAR, 5))
            assert low <= median <= high, (source, target, median)


class TestNoise:
    def test_the_long_tail_is_where_it_says(self) -> None:
        draws = noise.tail(noise.mix(np.arange(200_000, dtype=np.uint64)), np.sqrt)
        found = np.percentile(draws, (50, 90, 99, 99.9))
        np.testing.assert_allclose(found, (0.189, 0.778, 2.16, 4.62), rtol=0.03)
        assert draws.min() >= 0

    def test_a_level_wanders_without_jumps_and_forgets(self) -> None:
        """Latency is autocorrelated: from one day to the next, not from month to month."""
        minutes = np.arange(0, 20 * 365 * 1440, 1440, dtype=np.uint64)
        days = noise.wander(7, minutes, 3 * 1440)
        assert 0 <= days.min() < days.max() < 1
        assert np.abs(np.diff(days)).max() <= 1 / 3 + 1e-9
        assert 0.6 < np.corrcoef(days[1:], days[:-1])[0, 1] < 0.95
        assert abs(np.corrcoef(days[30:], days[:-30])[0, 1]) < 0.05

    def test_a_busy_afternoon_is_slower_than_the_night(self) -> None:
        hours = NOON_MINUTE + 60 * np.arange(24 * 364)
        quiet = planet.latencies_ms("us-east-1", "us-west-2", hours, 5, activity=0)
        by_hour = np.nanmedian(quiet.reshape(364, 24, 5), axis=(0, 2))
        swing = by_hour.max() - by_hour.min()
        assert 0.2 < swing < 0.02 * by_hour.min() + 1
        assert 17 <= (12 + int(by_hour.argmax())) % 24 <= 24  # in UTC


class TestShifts:
    def test_a_year_has_as_many_as_reality_may(self) -> None:
        """A pair sees one to three in a year, most for weeks, some for years."""
        found = planet.shifts(A_YEAR_AGO, NOON)
        of_kind = {kind: [s for s in found if s.kind == kind] for kind in events._SHIFTS}
        assert all(len(shifts) >= 5 for shifts in of_kind.values())
        touched = sum(len(shift.change_ms) for shift in found)
        assert 1 < touched / (len(CATALOGUE) * (len(CATALOGUE) - 1)) < 3
        days = np.array([(shift.end - shift.start).days for shift in found])
        assert days.min() >= 5
        assert 14 < np.median(days) < 60
        assert sum(days > 300) >= 20
        faster = [s for s in found if max(s.change_ms.values()) < 0]
        assert 0.05 < len(faster) / len(found) < 0.4

    @pytest.mark.parametrize("seed", [0, 1])
    def test_the_truth_is_the_whole_difference_to_a_quiet_planet(self, seed: int) -> None:
        """Every latency less its shifts is what the same planet without any would have given."""
        found = planet.shifts(A_YEAR_AGO, NOON, FEW, seed, 4.0)
        assert {shift.kind for shift in found} == set(events._SHIFTS)
        for source in FEW:
            for target in FEW:
                with_ = planet.latencies_ms(source, target, YEAR, 1, seed, 4.0)[:, 0]
                without = planet.latencies_ms(source, target, YEAR, 1, seed, 0)[:, 0]
                expected = np.zeros(len(YEAR))
                for shift in found:
                    during = (minute_of(shift.start) <= YEAR) & (minute_of(shift.end) > YEAR)
                    expected[during] += shift.change_ms.get((source, target), 0.0)
                both = ~np.isnan(with_) & ~np.isnan(without)
                assert both.mean() > 0.8
                np.testing.assert_allclose((with_ - without)[both], expected[both], atol=0.0011)

    def test_each_kind_moves_its_pairs_and_no_other(self) -> None:
        found = planet.shifts(A_YEAR_AGO, NOON, FEW, activity=6.0)
        for shift in found:
            if shift.kind == "link":
                continue
            a = shift.regions[0]
            others = [code for code in FEW if code != a]
            expected = {
                "pair": {shift.regions, shift.regions[::-1]},
                "source": {(a, b) for b in others},
                "target": {(b, a) for b in others},
                "region": {(a, b) for b in others} | {(b, a) for b in others},
            }[shift.kind]
            assert set(shift.change_ms) == expected
            signs = {change > 0 for change in shift.change_ms.values()}
            assert len(signs) == 1

    def test_a_link_moves_all_pairs_whose_path_has_it_by_the_same(self) -> None:
        """A cable that is cut: regions at neither end of it share the event."""
        found = planet.shifts(A_YEAR_AGO, NOON, activity=10.0)
        ocean = next(s for s in found if (s.kind, s.regions) == ("link", OCEAN))
        assert ("ap-southeast-2", "eu-central-1") in ocean.change_ms
        assert ("eu-central-1", "ap-southeast-2") in ocean.change_ms
        assert ("us-east-1", "eu-central-1") not in ocean.change_ms
        assert len(set(ocean.change_ms.values())) == 1

    def test_one_that_begins_or_ends_inside_is_named_with_its_own_times(self) -> None:
        shift = max(planet.shifts(A_YEAR_AGO, NOON, FEW), key=lambda s: s.end - s.start)
        assert shift.end - shift.start > timedelta(days=300)

        def at(start: datetime, end: datetime) -> list[Shift]:
            return planet.shifts(start, end, FEW)

        minute = timedelta(minutes=1)
        assert shift in at(shift.start, shift.start + minute)
        assert shift in at(shift.end - minute, shift.end)
        assert shift not in at(shift.start - minute, shift.start)
        assert shift not in at(shift.end, shift.end + minute)

    def test_a_planet_can_be_quiet_or_dense(self) -> None:
        assert planet.shifts(A_YEAR_AGO, NOON, FEW, activity=0) == []
        assert planet.outages(A_YEAR_AGO, NOON, FEW, activity=0) == []
        usual, dense = (len(planet.shifts(A_YEAR_AGO, NOON, activity=a)) for a in (1.0, 3.0))
        assert 2 < dense / usual < 4


class TestOutages:
    def test_they_are_where_the_truth_says(self) -> None:
        found = planet.outages(A_YEAR_AGO, NOON, FEW)
        assert {outage.kind for outage in found} == {"pair", "region"}
        for outage in found:
            assert timedelta(minutes=5) <= outage.end - outage.start <= timedelta(hours=12)
            a = outage.regions[0]
            b = outage.regions[1] if outage.kind == "pair" else next(c for c in FEW if c != a)
            during = np.arange(minute_of(outage.start), minute_of(outage.end))
            for pair in ((a, b), (b, a)):
                # Another outage or the usual loss may come on top.
                lost = np.isnan(planet.latencies_ms(*pair, during, 20)).mean()
                assert outage.loss - 0.1 < lost
                before = planet.latencies_ms(*pair, during - 15 * 1440, 20)
                assert np.isnan(before).mean() < 0.1 or lost > outage.loss

    def test_nothing_is_out_but_what_the_truth_names(self) -> None:
        found = planet.outages(NOON - timedelta(days=90), NOON, FEW)
        minutes = np.arange(NOON_MINUTE - 90 * 1440, NOON_MINUTE, 10)
        lost = np.isnan(planet.latencies_ms("us-east-1", "eu-west-1", minutes, 5)).sum(axis=1)
        for minute in minutes[lost >= 3]:
            moment = datetime.fromtimestamp(int(minute) * 60, UTC)
            assert any(
                outage.start <= moment < outage.end
                and set(outage.regions) <= {"us-east-1", "eu-west-1"}
                for outage in found
            ), moment

    def test_the_failures_say_why(self) -> None:
        outage = max(planet.outages(A_YEAR_AGO, NOON, FEW), key=lambda o: o.loss)
        a, b = outage.regions if outage.kind == "pair" else (outage.regions[0], "ca-central-1")
        reasons = [
            attempt.reason
            for minute in range(minute_of(outage.start), minute_of(outage.end))
            for attempt in planet.connects(a, b, datetime.fromtimestamp(minute * 60, UTC), 5)
        ]
        assert {"timeout", "retransmitted"} <= set(reasons) <= {None, "timeout", "retransmitted"}

    def test_a_region_reaches_itself_when_its_border_is_out(self) -> None:
        outage = next(o for o in planet.outages(A_YEAR_AGO, NOON) if o.kind == "region")
        during = np.arange(minute_of(outage.start), minute_of(outage.end))
        (code,) = outage.regions
        assert np.isnan(planet.latencies_ms(code, code, during, 5)).mean() < 0.05


def test_addresses_are_distinct_and_of_the_documentation_range() -> None:
    addresses = {planet.address(code) for code in CATALOGUE}
    assert len(addresses) == len(CATALOGUE)
    assert all(address.startswith("203.0.113.") for address in addresses)
