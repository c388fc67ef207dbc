"""The bytes of a distribution: lossless, and small since most high bytes are 0; pure."""

import json
import zlib
from hashlib import blake2b
from typing import Final

import numpy as np

from cloudping.distribution import Distribution
from cloudping.runs import REASONS

VERSION: Final = 1


def encode(distribution: Distribution) -> bytes:
    """Lossless bytes: zlib over `_pack`."""
    return zlib.compress(_pack(distribution), 9)


def digest(distribution: Distribution) -> str:
    """A fingerprint of the content, whichever zlib stores it."""
    return blake2b(_pack(distribution), digest_size=8).hexdigest()


def _pack(distribution: Distribution) -> bytes:
    """The same bytes for the same content.

    A JSON header, a line feed, and all columns as one array of 32-bit numbers, stored
    byte plane by byte plane: the entries of each target, latencies (as differences within a
    target), counts less 1, failures, scheduled, first, last. Most high bytes are 0, which is what
    makes it small.
    """
    d = distribution
    entries = np.bincount(d.target, minlength=len(d.targets))
    steps = np.diff(d.units, prepend=0)
    starts = (np.cumsum(entries) - entries)[entries > 0]
    steps[starts] = d.units[starts]
    columns = np.concatenate(
        [entries, steps, d.counts - 1, d.failures.T.ravel(), d.scheduled, d.first_s, d.last_s]
    )
    header = {
        "targets": d.targets,
        "reasons": REASONS,
        "entries": len(d.units),
        "runs": d.runs,
        "scheduled_runs": d.scheduled_runs,
        "until_s": d.until_s,
    }
    planes: bytes = columns.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + planes


def decode(data: bytes) -> Distribution:
    """The inverse of `encode`; raises ValueError for anything else."""
    try:
        header, _, planes = zlib.decompress(data).partition(b"\n")
        content = json.loads(header)
        columns = np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<u4").ravel()
        targets, reasons = tuple(content["targets"]), content["reasons"]
        n, t = content["entries"], len(targets)
        lengths = [t, n, n, t * len(reasons), t, t, t]
        if sum(lengths) != len(columns):
            raise ValueError(f"{len(columns)} numbers where {sum(lengths)} belong")
        entries, steps, counts, why, scheduled, first, last = np.split(
            columns.astype(np.int64), np.cumsum(lengths)[:-1]
        )
        if entries.sum() != n:
            raise ValueError(f"{entries.sum()} entries of targets where {n} belong")
        of_source = {name: int(content[name]) for name in ("runs", "scheduled_runs", "until_s")}
        places = [REASONS.index(reason) for reason in reasons]
    except (zlib.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an encoded distribution: {error}") from error
    target = np.repeat(np.arange(t), entries)
    total = np.cumsum(steps)
    before = np.concatenate([[0], total])[np.cumsum(entries) - entries]
    failures = np.zeros((t, len(REASONS)), np.int64)
    failures[:, places] = why.reshape(len(reasons), t).T
    return Distribution(
        targets=targets,
        target=target,
        units=total - before[target],
        counts=counts + 1,
        failures=failures,
        scheduled=scheduled,
        first_s=first,
        last_s=last,
        **of_source,
    )
