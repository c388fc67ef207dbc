"""The order of regions: by name, code or proximity, in groups that stay together; pure."""

from collections.abc import Mapping
from typing import Final

from cloudping.regions import Region, fibre_rtt_ms
from cloudping.summaries import Summary
from frontend.data.snapshot import Pair
from frontend.views.lookup import PARTITION_NAMES, short_name

ORDERS: Final = ("name", "code", "proximity")
GROUPS: Final = ("geography", "partition", "none")
TYPICAL_STRETCH: Final = 1.5  # of a path against the great circle; used only to order regions
MAX_SWEEPS: Final = 30  # of 2-opt; 34 regions need some ten


def ordered(
    regions: list[Region], order: str, group: str, cells: Mapping[Pair, Summary]
) -> list[Region]:
    """The regions in one of `ORDERS`, those of a group together."""
    rank = _ranking(regions, order, group, cells)
    return sorted(regions, key=lambda region: rank[region.code])


def group_of(region: Region, grouping: str) -> str:
    if grouping == "geography":
        return region.geography
    if grouping == "partition":
        return PARTITION_NAMES.get(region.partition, region.partition)
    return ""


def _ranking(
    known: list[Region], order: str, group: str, cells: Mapping[Pair, Summary]
) -> dict[str, tuple[str, int]]:
    match order:
        case "proximity":
            ordered = by_proximity(known, cells)
        case "name":
            ordered = sorted(known, key=lambda region: (short_name(region).lower(), region.code))
        case _:
            ordered = sorted(known, key=lambda region: region.code)
    if order == "proximity":
        # Groups follow each other as their first regions do, so that neighbours stay together.
        first: dict[str, str] = {}
        for position, region in enumerate(ordered):
            first.setdefault(group_of(region, group), f"{position:04d}")
        return {
            region.code: (first[group_of(region, group)], position)
            for position, region in enumerate(ordered)
        }
    return {
        region.code: (group_of(region, group), position) for position, region in enumerate(ordered)
    }


def by_proximity(regions: list[Region], cells: Mapping[Pair, Summary]) -> list[Region]:
    """The regions along a short path through their round trips, so that near ones stand together.

    The round trip of two is the mean of both directions' p50; where there is none, light
    in fibre times a typical stretch. Nearest neighbour first, then 2-opt until nothing improves or
    `MAX_SWEEPS` are done, since others wait meanwhile.
    """
    if len(regions) < 3:
        return list(regions)

    def apart_ms(a: Region, b: Region) -> float:
        found = [
            cells[pair].figures.percentiles[50]
            for pair in ((a.code, b.code), (b.code, a.code))
            if pair in cells and 50 in cells[pair].figures.percentiles
        ]
        return sum(found) / len(found) if found else TYPICAL_STRETCH * fibre_rtt_ms(a, b)

    apart = [[apart_ms(a, b) if a is not b else 0.0 for b in regions] for a in regions]
    # Start at the region that is farthest from all others: a path should begin at an end.
    path = [max(range(len(regions)), key=lambda i: sum(apart[i]))]
    rest = set(range(len(regions))) - set(path)
    while rest:
        path.append(min(rest, key=lambda i: (apart[path[-1]][i], i)))
        rest.remove(path[-1])
    for _ in range(MAX_SWEEPS):
        improved = False
        for i in range(1, len(path) - 1):
            for j in range(i + 1, len(path)):
                before = apart[path[i - 1]][path[i]]
                after = apart[path[i - 1]][path[j]]
                if j + 1 < len(path):
                    before += apart[path[j]][path[j + 1]]
                    after += apart[path[i]][path[j + 1]]
                if after < before - 1e-9:
                    path[i : j + 1] = path[i : j + 1][::-1]
                    improved = True
        if not improved:
            break
    return [regions[i] for i in path]
