"""Events: what began together and shares an end is one, and a lone pair is a path."""

from chalicelib.events import Episode, Event, episodes, group
from chalicelib.level_shifts import Shift

EUROPE = ("dublin", "london", "paris", "milan")
ASIA = ("tokyo", "seoul", "mumbai", "taipei")
REGIONS = (*EUROPE, *ASIA)
GROUPS = {region: "Europe" if region in EUROPE else "Asia" for region in REGIONS}
MEASURED = [(a, b) for a in REGIONS for b in REGIONS if a != b]


def slower(
    source: str, target: str, day: int, step: float = 8.0, last: int | None = None
) -> Episode:
    return Episode((source, target), day, last, 100.0, 100.0 + step, 9.0)


def to(region: str, day: int, **kwargs: float) -> list[Episode]:
    return [slower(a, b, day, **kwargs) for a, b in MEASURED if b == region]  # type: ignore[arg-type]


def of(region: str, day: int) -> list[Episode]:
    return [slower(a, b, day) for a, b in MEASURED if region in (a, b)]


def named(events: list[Event]) -> list[tuple[str, tuple[str, ...], int, int]]:
    return [(e.scope.role, e.scope.ends, e.first_day, len(e.episodes)) for e in events]


def test_a_region_as_target_as_source_and_as_both() -> None:
    outward = [slower(a, b, 300) for a, b in MEASURED if a == "paris"]
    found = group([*to("mumbai", 100), *of("seoul", 200), *outward], MEASURED, GROUPS)
    assert named(found) == [
        ("to", ("mumbai",), 100, 7),
        ("both", ("seoul",), 200, 14),
        ("from", ("paris",), 300, 7),
    ]
    assert [event.measured for event in found] == [7, 14, 7]


def test_a_cable_between_two_groups_is_one_event() -> None:
    cable = [slower(a, b, 50) for a, b in MEASURED if GROUPS[a] != GROUPS[b]]
    assert named(group(cable, MEASURED, GROUPS)) == [("between", ("Asia", "Europe"), 50, 32)]


def test_a_path_is_both_its_directions_when_they_begin_together() -> None:
    found = group(
        [slower("paris", "tokyo", 50), slower("tokyo", "paris", 51), slower("paris", "tokyo", 90)],
        MEASURED,
        GROUPS,
    )
    assert named(found) == [
        ("path", ("paris", "tokyo"), 50, 2),
        ("path", ("paris", "tokyo"), 90, 1),
    ]


def test_a_day_of_difference_is_together_and_a_week_is_not() -> None:
    early, late = to("mumbai", 100)[:4], to("mumbai", 107)[4:]
    blurred = [slower(e.pair[0], e.pair[1], 100 + k % 3 - 1) for k, e in enumerate(to("mumbai", 0))]
    assert named(group(blurred, MEASURED, GROUPS)) == [("to", ("mumbai",), 99, 7)]
    assert named(group([*early, *late], MEASURED, GROUPS)) == [
        ("to", ("mumbai",), 100, 4),
        ("to", ("mumbai",), 107, 3),
    ]


def test_faster_and_slower_are_two_events() -> None:
    found = group([*to("mumbai", 100), *to("milan", 100, step=-8.0)], MEASURED, GROUPS)
    assert named(found) == [("to", ("milan",), 100, 7), ("to", ("mumbai",), 100, 7)]


def test_two_of_many_pairs_are_paths_and_not_their_region() -> None:
    found = group(to("mumbai", 100)[:2], MEASURED, GROUPS)
    assert [event.scope.role for event in found] == ["path", "path"]


def test_every_episode_is_in_exactly_one_event() -> None:
    everything = [
        *of("seoul", 10),
        *to("mumbai", 10),
        slower("paris", "milan", 11),
        *of("milan", 30),
    ]
    found = group(set(everything), MEASURED, GROUPS)
    members = [episode for event in found for episode in event.episodes]
    assert len(members) == len(set(members)) == len(set(everything))


def test_the_order_of_the_episodes_does_not_matter() -> None:
    everything = [*of("seoul", 10), *to("mumbai", 10), *to("milan", 11)]
    assert group(everything, MEASURED, GROUPS) == group(everything[::-1], MEASURED, GROUPS)


def test_an_event_is_over_when_most_of_its_pairs_are_back() -> None:
    back = to("mumbai", 100, last=120)
    lasts = to("mumbai", 100)
    (over,) = group([*back[:5], *lasts[5:]], MEASURED, GROUPS)
    (goes_on,) = group([*back[:3], *lasts[3:]], MEASURED, GROUPS)
    assert (over.last_day, goes_on.last_day) == (120, None)


def test_a_step_and_its_return_are_one_episode() -> None:
    shifts = [
        Shift(0, 20, 35, 80, 90, 9),
        Shift(0, 35, 60, 90, 80.5, 9),
        Shift(0, 60, 99, 80.5, 70, 9),
    ]
    (episode, other) = episodes(("a", "b"), shifts, first_day=1000)
    assert (episode.first_day, episode.last_day, episode.step) == (1020, 1034, 10)
    assert (other.first_day, other.last_day, other.step) == (1060, None, -10.5)


def test_a_step_to_a_third_level_does_not_end_the_first() -> None:
    shifts = [Shift(0, 20, 35, 80, 90, 9), Shift(0, 35, 60, 90, 120, 9)]
    assert [e.last_day for e in episodes(("a", "b"), shifts, first_day=0)] == [None, None]


def test_nothing_is_no_event() -> None:
    assert group([], MEASURED, GROUPS) == []
