"""The planet's map: links between regions with the round trip over each, and what comes on top.

It is a model of what was measured: the medians of 1,056 pairs over the year to 17 July 2025 that
cloudping.co published (in commonwarexyz/monorepo, examples/estimator, MIT or Apache-2.0), less
3.2 ms, by which they exceed ICMP. A sparse network explains them: these are the links of a greedy
spanner (Althöfer et al. 1993) of stretch 1.1, pruned, and their lengths fitted to the medians.
The planet's median over a year is within 2 % of the measured one for half of the pairs
and within 7 % for nine in ten; bench/planet.py holds one against the other. Regions that were not
measured have links by where they stand: Auckland, the two of China, the sovereign cloud, GovCloud.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

from cloudping.errors import UnknownRegionError
from cloudping.planet.noise import mix, pair_key, uniform
from cloudping.regions import suggest

# The round trip over each link, in ms; each is listed once, under the first of its ends.
LINKS: Final[Mapping[str, Mapping[str, float]]] = {
    "af-south-1": {"ap-east-2": 251, "eu-south-2": 125},
    "ap-east-1": {"ap-east-2": 12, "ap-northeast-2": 34, "ap-southeast-1": 32, "cn-north-1": 44},
    "ap-east-2": {"ap-northeast-1": 31, "ap-northeast-3": 28},
    "ap-northeast-1": {
        "ap-northeast-3": 4.5,
        "ap-southeast-1": 65,
        "ap-southeast-2": 103,
        "cn-north-1": 66,
        "us-east-2": 127,
        "us-west-2": 90,
    },
    "ap-northeast-2": {"ap-northeast-3": 20},
    "ap-south-1": {"ap-south-2": 16, "eu-west-3": 101, "me-central-1": 23},
    "ap-south-2": {"ap-southeast-1": 42},
    "ap-southeast-1": {
        "ap-southeast-2": 88,
        "ap-southeast-3": 13,
        "ap-southeast-5": 3.5,
        "eu-south-1": 144,
    },
    "ap-southeast-2": {
        "ap-southeast-4": 7.5,
        "ap-southeast-6": 23,
        "us-west-1": 131,
        "us-west-2": 134,
    },
    "ap-southeast-5": {"ap-southeast-7": 20},
    "ap-southeast-6": {"us-west-1": 121},
    "ca-central-1": {"ca-west-1": 37, "eu-west-1": 63, "us-east-1": 11},
    "ca-west-1": {"us-east-2": 32, "us-west-2": 14},
    "cn-north-1": {"cn-northwest-1": 18, "us-west-1": 148},
    "cn-northwest-1": {"eu-central-1": 165},
    "eu-central-1": {
        "eu-central-2": 4,
        "eu-north-1": 19,
        "eu-west-3": 6.5,
        "eusc-de-east-1": 7,
        "me-south-1": 70,
    },
    "eu-central-2": {"eu-south-1": 2.5, "eu-west-3": 7, "il-central-1": 36},
    "eu-north-1": {"eu-west-2": 25},
    "eu-south-1": {"eu-south-2": 20},
    "eu-south-2": {"eu-west-1": 24, "eu-west-3": 17, "il-central-1": 50, "me-south-1": 81},
    "eu-west-1": {"eu-west-2": 9, "us-east-1": 63},
    "eu-west-2": {"eu-west-3": 5.5},
    "me-central-1": {"me-south-1": 9},
    "mx-central-1": {"us-east-2": 42, "us-west-1": 66},
    "sa-east-1": {"us-east-1": 108},
    "us-east-1": {"us-east-2": 9.5},
    "us-east-2": {"us-gov-east-1": 1, "us-west-1": 48},
    "us-gov-west-1": {"us-west-2": 1},
    "us-west-1": {"us-west-2": 15},
}

# What a round trip takes beyond the shortest path, in ms: where AWS routes the long way round,
# and a third region would be a faster relay. Places are codes or their beginnings.
DETOURS: Final = (
    ("af-south-1", ("ap-east-1", "ap-northeast-"), 71),
    ("af-south-1", ("me-central-1", "il-central-1"), 39),
    ("af-south-1", ("me-south-1", "eu-south-1"), 32),
    ("af-south-1", ("ap-south-",), 20),
    ("ap-east-2", ("ap-northeast-2", "ap-southeast-2", "ap-southeast-4"), 11),
    ("ap-south-1", ("eu-central-1", "eu-north-1"), 17),
    ("ca-west-1", ("eu-",), 27),
    ("ca-west-1", ("il-central-1", "sa-east-1"), 33),
    ("ca-west-1", ("me-",), 51),
    ("eu-south-1", ("eu-west-",), 6),
    ("eu-south-2", ("us-", "ca-central-1", "mx-", "sa-"), 11),
    ("eu-west-1", ("ap-east-1",), 31),
    ("eu-west-2", ("ap-east-2",), 27),
    ("eu-west-3", ("ap-southeast-2", "ap-southeast-4"), 26),
    ("il-central-1", ("ap-east-", "ap-northeast-", "ap-southeast-"), 10),
    ("il-central-1", ("eu-central-1", "eu-north-1", "me-central-1"), 16),
    ("me-central-1", ("eu-",), 20),
    ("me-central-1", ("us-", "ca-central-1", "mx-", "sa-"), 20),
    ("me-south-1", ("eu-south-1",), 28),
)

# How far a pair may be off the shortest path without a reason, as a share of it.
OWN_DETOUR: Final = 0.03

# From a region's machines to its border and back, in ms: once at each end.
BORDER_MS: Final = 1.0

# What a connect takes longer from a region than to it (positive) or to it than from it (negative),
# in ms: the way out and the endpoint are at one end each, the round trip between them is the same
# both ways. Fitted, to 0.5 ms; regions that are not named differ by less.
LONGER_FROM_MS: Final[Mapping[str, float]] = {
    "af-south-1": -1.5,
    "ap-east-2": 1.5,
    "ap-south-1": -1.0,
    "ap-south-2": -4.0,
    "ap-southeast-3": 3.0,
    "ap-southeast-4": 1.5,
    "ap-southeast-5": 1.5,
    "ap-southeast-7": 3.0,
    "ca-west-1": 3.0,
    "eu-south-2": 1.5,
    "il-central-1": 8.5,
    "me-central-1": 1.5,
    "mx-central-1": 2.5,
    "us-east-2": 1.5,
}


@cache
def base_ms(source: str, target: str, seed: int = 0) -> float:
    """The pair's round trip when the network is quiet.

    Raises UnknownRegionError for a region that has no link.
    """
    endpoint_ms = max(0.0, -LONGER_FROM_MS.get(target, 0.0))
    path_ms, _ = _between(source, target)
    if source == target:  # stays within the border
        return BORDER_MS + endpoint_ms
    path_ms += sum(
        extra_ms for here, places, extra_ms in DETOURS if _joins(source, target, here, places)
    )
    # A detour of its own: hardly any for most pairs, close to OWN_DETOUR for some.
    own: float = uniform(mix(pair_key(source, target, seed) ^ 3))
    path_ms += path_ms * OWN_DETOUR * own * own * own * own
    return path_ms + 2 * BORDER_MS + max(0.0, LONGER_FROM_MS.get(source, 0.0)) + endpoint_ms


def links_between(source: str, target: str) -> Mapping[tuple[str, str], float]:
    """The links of the shortest path, the same both ways: their ends in order, their ms."""
    _, path = _between(*sorted((source, target)))
    links = _links()
    return {(min(ends), max(ends)): dict(links[ends[0]])[ends[1]] for ends in pairwise(path)}


def _between(source: str, target: str) -> tuple[float, tuple[str, ...]]:
    paths = _shortest(source)
    if target not in paths:
        raise UnknownRegionError(target, suggest(target))
    return paths[target]


def _joins(source: str, target: str, here: str, places: tuple[str, ...]) -> bool:
    return (source == here and target.startswith(places)) or (
        target == here and source.startswith(places)
    )


@cache
def _shortest(source: str) -> Mapping[str, tuple[float, tuple[str, ...]]]:
    """The shortest path from a region to every one (Dijkstra): its length in ms, its regions.

    Lengths are multiples of 0.5 ms, so sums are exact, and of equal paths the first by name wins.
    """
    links = _links()
    if source not in links:
        raise UnknownRegionError(source, suggest(source))
    found: dict[str, tuple[float, tuple[str, ...]]] = {}
    ahead: list[tuple[float, tuple[str, ...]]] = [(0.0, (source,))]
    while ahead:
        length_ms, path = heappop(ahead)
        here = path[-1]
        if here not in found:
            found[here] = (length_ms, path)
            for there, link_ms in links[here]:
                heappush(ahead, (length_ms + link_ms, (*path, there)))
    return found


@cache
def _links() -> Mapping[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for a, b, length_ms in _both_ways():
        found.setdefault(a, []).append((b, length_ms))
    return found


def _both_ways() -> Iterator[tuple[str, str, float]]:
    for a, ends in LINKS.items():
        for b, length_ms in ends.items():
            yield a, b, length_ms
            yield b, a, length_ms
