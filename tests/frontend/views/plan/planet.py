"""A window of all pairs between a few regions, from the simulated planet."""

from datetime import UTC, datetime, timedelta

import numpy as np

from cloudping import planet
from frontend.data.samples import PairSamples, WindowSamples

REGIONS = ("ap-northeast-1", "ap-south-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2",
           "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-2")  # fmt: skip
END = datetime(2026, 11, 20, tzinfo=UTC)


def window(days: int = 30, regions: tuple[str, ...] = REGIONS) -> WindowSamples:
    """Five connects an hour, as probes at an hourly cadence would have left them."""
    begin = END - timedelta(days=days)
    minutes = np.arange(0, days * 1440, 60) + int(begin.timestamp()) // 60
    pairs = {}
    for a in regions:
        for b in regions:
            found = np.asarray(planet.latencies_ms(a, b, minutes, 5, activity=0.0)).ravel()
            known = found[~np.isnan(found)]
            units, counts = np.unique(np.rint(known * 100).astype(np.int32), return_counts=True)
            lost = len(found) - len(known)
            pairs[a, b] = PairSamples(units, counts.astype(np.int32), lost, len(minutes))
    return WindowSamples("1M", begin, END, "simulated", ("kernel-1",), pairs)
