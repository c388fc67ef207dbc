"""Finding regions and pairs: by code, by words, by name; pure."""

from typing import Final

from cloudping.errors import UnknownRegionError
from cloudping.regions import Region, suggest
from cloudping.summaries import Summary
from frontend.data.snapshot import Snapshot
from frontend.views.figures import FRAMES, METRICS

PARTITION_NAMES: Final = {
    "aws": "Commercial",
    "aws-cn": "China",
    "aws-us-gov": "GovCloud",
    "aws-eusc": "European Sovereign Cloud",
}


def offered(snapshot: Snapshot) -> dict[str, frozenset[str]]:
    """By timeframe, the names of the figures that any pair has; all while there is no pair yet."""
    found = {}
    for frame in FRAMES:
        cells = snapshot.cells.get(frame, {}).values()
        found[frame] = frozenset(
            name
            for name, metric in METRICS.items()
            if not cells or any(metric.value(cell.figures) is not None for cell in cells)
        )
    return found


def known(snapshot: Snapshot, code: str) -> Region:
    """The region; UnknownRegionError, with suggestions, is answered as 404."""
    regions = snapshot.regions
    if code not in regions:
        raise UnknownRegionError(code, suggest(code))
    return regions[code]


def pair_cells(snapshot: Snapshot, source: str, target: str) -> list[Summary]:
    """The pair's summaries, from now to 1Y, as far as there are."""
    found = (snapshot.cells.get(frame, {}).get((source, target)) for frame in FRAMES)
    return [cell for cell in found if cell is not None]


def short_name(region: Region) -> str:
    """`N. Virginia` for "US East (N. Virginia)"; longer where that alone says too little."""
    head, _, inner = region.name.rstrip(")").partition(" (")
    if not inner:
        return region.name
    if inner == "Central":
        return f"{head} {inner}"
    head = head.removeprefix("AWS ").replace("European Sovereign Cloud", "EUSC")
    return f"{head} {inner}" if region.partition in ("aws-us-gov", "aws-eusc") else inner


def matches(region: Region, text: str) -> bool:
    """True when one of the comma-separated words is part of the region's code, name or group.

    A word that is exactly a code, geography or partition means just that.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    exact = {
        region.code,
        region.partition,
        region.geography.lower(),
        PARTITION_NAMES.get(region.partition, "").lower(),
    }
    inside = f"{region.code} {region.name} {region.place}".lower()
    return not words or any(
        word in exact or (word not in _GROUP_WORDS and word in inside) for word in words
    )


_GROUP_WORDS: Final = frozenset({*PARTITION_NAMES, *map(str.lower, PARTITION_NAMES.values())})
