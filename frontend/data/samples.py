"""Every latency of every pair over whole days: what plans and files are made from; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from frontend.data.snapshot import Pair

Ints32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class PairSamples:
    """What was seen of one pair.

    units   N, latencies in units of 0.01 ms, ascending, each once
    counts  N, how often each was seen
    lost    attempts that the network lost
    runs    of the source; the attempts of one run lie within seconds
    """

    units: Ints32
    counts: Ints32
    lost: int
    runs: int

    @property
    def samples(self) -> int:
        """n: the latencies."""
        return int(self.counts.sum())

    @property
    def loss_pct(self) -> float:
        """Share of lost attempts, in %; 0 where there was none."""
        return 100 * self.lost / max(1, self.lost + self.samples)


@dataclass(frozen=True, slots=True, eq=False)
class WindowSamples:
    """All pairs from `begin` to before `end`; `origin` and `methods` of everything in it."""

    timeframe: str
    begin: datetime
    end: datetime
    origin: str | None = None
    methods: tuple[str, ...] = ()
    pairs: Mapping[Pair, PairSamples] = field(default_factory=dict)
