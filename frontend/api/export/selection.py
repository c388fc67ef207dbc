"""The pairs between some regions, and what every file says of itself; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloudping.distribution import UNITS_PER_MS
from cloudping.runs import ORIGIN_SIMULATED
from cloudping.times import to_iso
from frontend.api.formats import LICENCE
from frontend.data.samples import PairSamples, WindowSamples

ROUND_TRIP: Final = "round trip"
ONE_WAY: Final = "one way (half of the round trip)"


@dataclass(frozen=True, slots=True)
class Selection:
    """Regions in their order, the window they were measured in, and where the site is."""

    regions: tuple[str, ...]
    window: WindowSamples
    url: str

    def pair(self, a: str, b: str) -> PairSamples | None:
        return self.window.pairs.get((a, b))

    def pairs(self) -> Iterator[tuple[str, str, PairSamples]]:
        """All directed pairs that were measured, a region with itself among them."""
        for a in self.regions:
            for b in self.regions:
                if (found := self.pair(a, b)) is not None:
                    yield a, b, found

    def both(self, a: str, b: str) -> PairSamples | None:
        """The samples of both directions: a round trip is the same from either end."""
        found = [s for s in (self.pair(a, b), self.pair(b, a)) if s is not None]
        if not found:
            return None
        units, at = np.unique(np.concatenate([s.units for s in found]), return_inverse=True)
        counts = np.bincount(at, np.concatenate([s.counts for s in found])).astype(np.int32)
        return PairSamples(units, counts, sum(s.lost for s in found), sum(s.runs for s in found))

    def about(self, way: str) -> dict[str, Any]:
        """What is in the file, from when, by how many samples, whose, and whether it is real."""
        samples = [found.samples for _, _, found in self.pairs()]
        simulated = self.window.origin == ORIGIN_SIMULATED
        return {
            "latency": way,
            "unit": "ms" if way == ROUND_TRIP else "as written",
            "window_start": to_iso(self.window.begin),
            "window_end": to_iso(self.window.end),
            "samples": sum(samples),
            "least_samples_of_a_pair": min(samples, default=0),
            "network": "simulated, not AWS" if simulated else "measured between AWS regions",
            "methods": " ".join(self.window.methods),
            "source": self.url or "CloudPing",
            "licence": LICENCE,
        }

    def lines(self, way: str) -> list[str]:
        """As `about`, a line each, for comments."""
        return [f"{name}: {value}" for name, value in self.about(way).items()]


def percentiles(found: PairSamples, ps: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """In ms: the smallest value that p % of the samples do not exceed."""
    share = np.cumsum(found.counts) / found.samples
    at = np.searchsorted(share, np.asarray(ps, np.float64) / 100 - 1e-12)
    values: npt.NDArray[np.float64] = (
        found.units[np.minimum(at, len(found.units) - 1)] / UNITS_PER_MS
    )
    return values


def p50(found: PairSamples) -> float:
    return float(percentiles(found, [50])[0])
