"""What runs say of the times in which a probe stood still: whether the kernel did as well.

docs/method.md has two bounds for the error of a latency, according to that; this tells which of
them the runs of an installation support.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloudping.runs import METHOD_KERNEL, Attempt, Run

# So many marked connects before anything is said of them; and by how much their latency may lie
# above the others', at P90, for the kernel to count as undisturbed: a network's jitter is in both.
ENOUGH: Final = 30
KEPT_TIME_MS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Stalls:
    """Connects with a latency, `marked` of which met a stall; the rest is None below `ENOUGH`.

    `late_ms` is the median by which the program saw a marked connect later than the kernel did.
    `raised_ms` is by how much a latency lies above the median of its pair's unmarked ones in the
    same run, at P90, of marked connects; `usual_ms` the same of unmarked ones.
    """

    connects: int
    marked: int
    late_ms: float | None = None
    raised_ms: float | None = None
    usual_ms: float | None = None

    @property
    def kernel_kept_time(self) -> bool | None:
        """None while too few connects have met a stall to tell."""
        if self.raised_ms is None or self.usual_ms is None:
            return None
        return self.raised_ms - self.usual_ms < KEPT_TIME_MS

    def __str__(self) -> str:
        share = f"{100 * self.marked / self.connects:.2g} %" if self.connects else "none"
        said = f"stalls: {self.marked:,} of {self.connects:,} connects met one ({share})"
        if self.kernel_kept_time is None:
            return f"{said}; too few to tell which error bound holds"
        holds = (
            "the kernel kept its time: the narrow bound of docs/method.md holds"
            if self.kernel_kept_time
            else "the kernel stood still as well: the wide bound of docs/method.md holds"
        )
        return (
            f"{said}; seen {self.late_ms:.1f} ms late (median), latency raised by "
            f"{self.raised_ms:.2f} ms at P90 ({self.usual_ms:.2f} without): {holds}"
        )


def of(runs: Iterable[Run]) -> Stalls:
    """What the runs say; only those whose latency is the kernel's can say anything."""
    connects = 0
    late: list[float] = []
    raised: list[float] = []
    usual: list[float] = []
    for run in runs:
        for result in run.results.values() if run.method == METHOD_KERNEL else ():
            timed = [a for a in result.attempts if a.latency_ms is not None]
            connects += len(timed)
            undisturbed = [a.latency_ms for a in timed if not a.stall_ms]
            late += [_late_ms(a) for a in timed if a.stall_ms]
            if len(undisturbed) < 2:  # one compared with itself would be usual by construction
                continue
            middle = float(np.median(np.array(undisturbed, dtype=float)))
            for a in timed:
                assert a.latency_ms is not None  # noqa: S101 - for mypy: `timed` has no others
                (raised if a.stall_ms else usual).append(a.latency_ms - middle)
    if len(raised) < ENOUGH:
        return Stalls(connects, len(late))
    return Stalls(
        connects,
        len(late),
        late_ms=round(float(np.median(late)), 3),
        raised_ms=round(float(np.percentile(raised, 90)), 3),
        usual_ms=round(float(np.percentile(usual, 90)), 3),
    )


def _late_ms(attempt: Attempt) -> float:
    return (attempt.connect_ms or 0.0) - (attempt.latency_ms or 0.0)
