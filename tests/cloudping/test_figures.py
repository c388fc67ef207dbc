from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cloudping.buckets import origin_of
from cloudping.distribution import from_attempts, minimum_samples
from cloudping.figures import figures, series
from cloudping.runs import REASONS
from tests.cloudping.conftest import SIX, TARGETS, Attempts, bucket, made


def test_figures_count_losses_and_coverage_apart() -> None:
    rows: Attempts = [(0, float(ms), 0, 1_700_000_000 + ms) for ms in range(100)]
    rows += [(0, None, REASONS.index(reason), 60) for reason in REASONS]
    one = from_attempts(
        TARGETS,
        [row[0] for row in rows],
        [np.nan if row[1] is None else row[1] for row in rows],
        [row[3] for row in rows],
        reason=[row[2] for row in rows],
        scheduled=[214, 5, 0],
    )
    found = figures([bucket(one)])
    f = found["eu-west-1"]
    assert f.samples == 100
    assert f.mean == 49.5
    assert f.stddev == pytest.approx(np.std(np.arange(100)))
    assert (f.min, f.max) == (0.0, 99.0)
    assert f.percentiles[99] == np.percentile(np.arange(100), 99)
    assert f.failures == dict.fromkeys(REASONS, 1)
    assert f.loss_pct == 100 * 6 / 106  # six reasons are losses
    assert f.coverage_pct == 100 * 107 / 214  # too_fast was tried, local_error and not_tried not
    assert f.first_sample == datetime.fromtimestamp(1_700_000_000, UTC)
    assert f.last_sample == datetime.fromtimestamp(1_700_000_099, UTC)
    assert f.methods == ("kernel-1",)
    silent = found["us-east-1"]
    assert (silent.samples, silent.mean, silent.loss_pct, silent.coverage_pct) == (0, None, None, 0)
    assert silent.first_sample is None
    assert found["us-west-2"].coverage_pct is None


@pytest.mark.parametrize(
    ("p", "n"), [(10, 10), (25, 4), (50, 2), (75, 4), (90, 10), (95, 20), (98, 50), (99, 100)]
)
def test_a_percentile_needs_a_sample_beyond_it(p: int, n: int) -> None:
    assert minimum_samples(p) == n
    one_short = figures([bucket(made([(0, 5.0, 0, 60)] * (n - 1)))])["eu-west-1"]
    enough = figures([bucket(made([(0, 5.0, 0, 60)] * n))])["eu-west-1"]
    assert p not in one_short.percentiles
    assert enough.percentiles[p] == 5.0


def test_figures_name_every_method_of_their_samples_and_a_simulation_is_marked() -> None:
    own = bucket(made([(0, 5.0, 0, 60), (1, 6.0, 0, 60)]), origin="simulated")
    imported = bucket(made([(0, 7.0, 0, 60), (1, None, 1, 60)]), method="original-1")
    found = figures([own, imported])
    assert found["eu-west-1"].methods == ("kernel-1", "original-1")
    assert found["eu-west-1"].mean == 6.0
    assert found["us-east-1"].methods == ("kernel-1",)
    assert origin_of([own, imported]) == "simulated"
    assert origin_of([imported]) == "aws"


def test_the_series_of_a_target_has_a_point_for_each_start() -> None:
    hours = [SIX, SIX + timedelta(hours=1)]
    buckets = [
        bucket(made([(1, 2.0, 0, 60)]), hours[1]),
        bucket(made([(1, 4.0, 0, 60)]), hours[0]),
        bucket(made([(1, 6.0, 0, 60)]), hours[0], method="original-1"),
    ]
    points = series(buckets, "us-east-1")
    assert [(start, f.samples, f.mean) for start, f in points] == [
        (hours[0], 2, 5),
        (hours[1], 1, 2),
    ]
    assert series(buckets, "not-a-target") == []
