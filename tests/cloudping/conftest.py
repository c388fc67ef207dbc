"""Attempts, and the distributions and buckets made of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from hypothesis import strategies as st

from cloudping.buckets import Bucket
from cloudping.distribution import Distribution, from_attempts
from cloudping.periods import HOUR
from cloudping.runs import REASONS

SIX = datetime(2026, 11, 20, 6, tzinfo=UTC)
TARGETS = ("eu-west-1", "us-east-1", "us-west-2")

# One attempt: index of target, latency in ms or None, reason, time; 429496.72 s in units is < 2^32.
attempts = st.tuples(
    st.integers(0, 2),
    st.one_of(st.none(), st.floats(0, 40_000_000, allow_nan=False)),
    st.integers(0, len(REASONS) - 1),
    st.integers(1, 2**32 - 1),
)
Attempts = list[tuple[int, float | None, int, int]]


def made(rows: Attempts, targets: Sequence[str] = TARGETS) -> Distribution:
    return from_attempts(
        targets,
        [row[0] for row in rows],
        [np.nan if row[1] is None else row[1] for row in rows],
        [row[3] for row in rows],
        reason=[row[2] for row in rows],
        runs=len(rows),
    )


def bucket(
    distribution: Distribution,
    start: datetime = SIX,
    level: str = HOUR,
    method: str = "kernel-1",
    origin: str = "aws",
) -> Bucket:
    return Bucket("eu-west-1", level, start, method, origin, distribution)
