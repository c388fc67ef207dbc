"""The comparison with a measured matrix, and that the planet passes it."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import planet as comparison
from bench.planet import MatrixError, compared, error, matrix, read, shape, simulated, spread
from cloudping.regions import CATALOGUE, fibre_rtt_ms

MEASURED = (
    Path(__file__).resolve().parents[3] / "shared/reference/measured/aws-1y-2025-07.csv"
)  # beside the project, not in it
OVERHEAD_MS = 3.2
HEADER = "source,target,p50_ms,p90_ms\n"


@pytest.mark.skipif(not MEASURED.exists(), reason=f"no measured matrix at {MEASURED}")
@pytest.mark.parametrize(
    ("seed", "end"),
    [
        (0, datetime(2026, 6, 1, tzinfo=UTC)),
        (0, datetime(2026, 11, 24, tzinfo=UTC)),
        (0, datetime(2027, 9, 1, tzinfo=UTC)),
        (1, datetime(2026, 11, 24, tzinfo=UTC)),
        (2, datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_the_planet_is_like_what_was_measured(seed: int, end: datetime) -> None:
    measured = read(MEASURED, OVERHEAD_MS)
    made = simulated(measured.index, end, seed, hours=8)
    found = error(made, measured)
    assert found.median <= 0.04
    assert found.p90 <= 0.15
    of_file, ours = shape(read(MEASURED, 0.0)), shape(made)
    assert ours.pairs == of_file.pairs == 1056
    assert 230 <= ours.relays <= 350
    assert 80 <= ours.relays_over_10_ms <= 150
    assert ours.fibre_ratio_p10 == pytest.approx(of_file.fibre_ratio_p10, rel=0.1)
    assert ours.fibre_ratio_p50 == pytest.approx(of_file.fibre_ratio_p50, rel=0.1)
    assert ours.fibre_ratio_p90 == pytest.approx(of_file.fibre_ratio_p90, rel=0.1)
    assert ours.directions_over_5_ms <= 65
    assert 1.03 <= ours.p90_over_p50 <= 1.05
    assert ours.below_floor == 0


def test_the_shape_of_a_matrix_that_one_can_work_out_by_hand() -> None:
    # A relay in Ohio would save 15 ms from Dublin to Ashburn, and 7 the other way.
    p50 = {
        ("eu-west-1", "us-east-1"): 105.0,
        ("us-east-1", "eu-west-1"): 97.0,
        ("eu-west-1", "us-east-2"): 80.0,
        ("us-east-2", "eu-west-1"): 80.0,
        ("us-east-1", "us-east-2"): 10.0,
        ("us-east-2", "us-east-1"): 10.0,
    }
    found = shape(matrix({pair: (value, 1.1 * value) for pair, value in p50.items()}))
    assert (found.pairs, found.relays, found.relays_over_10_ms) == (6, 2, 1)
    assert found.directions_over_5_ms == 1
    assert found.p90_over_p50 == pytest.approx(1.1)
    assert found.below_floor == 0
    assert shape(matrix({("eu-west-1", "us-east-1"): (1.0, 2.0)})).below_floor == 1
    ratios = sorted(
        value / fibre_rtt_ms(CATALOGUE[a], CATALOGUE[b]) for (a, b), value in p50.items()
    )
    assert found.fibre_ratio_p50 == pytest.approx((ratios[2] + ratios[3]) / 2)


def test_the_error_is_a_share_of_what_was_measured() -> None:
    measured = matrix(
        {
            ("eu-west-1", "us-east-1"): (100.0, 101.0),
            ("us-east-1", "eu-west-1"): (50.0, 51.0),
            ("us-east-1", "us-east-1"): (1.0, 1.0),  # to itself: is not compared
        }
    )
    # In another order, and with a pair that was not measured.
    ours = matrix(
        {
            ("us-east-1", "us-east-1"): (9.0, 9.0),
            ("us-east-1", "eu-west-1"): (40.0, 0.0),
            ("eu-west-1", "us-east-1"): (110.0, 0.0),
            ("eu-west-1", "us-east-2"): (1.0, 0.0),
        }
    )
    found = error(ours, measured)
    assert found.median == pytest.approx(0.15)
    assert found.bias == pytest.approx(-0.05)
    furthest, nearest = compared(ours, measured).itertuples()
    assert furthest.Index == ("us-east-1", "eu-west-1")
    assert (furthest.measured, furthest.made, furthest.off) == (50, 40, pytest.approx(-0.2))
    assert nearest.off == pytest.approx(0.1)


def test_tails_are_told_by_the_bands_of_the_median() -> None:
    figures = matrix(
        {
            ("eu-west-1", "eu-west-1"): (1.0, 9.0),  # to itself: in no band
            ("eu-west-1", "us-east-1"): (50.0, 51.0),  # in the band that begins there
            ("us-east-1", "eu-west-1"): (99.0, 102.0),
            ("us-east-1", "us-east-2"): (10.0, 17.0),
        }
    )
    found = spread(figures)
    assert {
        (band.left, band.right): (tails["size"], tails["median"])
        for band, tails in found.iterrows()
    } == {(0, 20): (1, 7.0), (50, 100): (2, 2.0)}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("source,target,p50_ms\n", "no column p90_ms"),
        ("", "No columns to parse"),
        (HEADER, "no pairs"),
        (HEADER + "eu-west-1,mars-1,1,2\n", ":2: no region 'mars-1'"),
        (HEADER + "eu-west-1,us-east-1,seventy,80\n", ":2: P50 seventy"),
        (HEADER + "eu-west-1,us-east-1,80\n", ":2: P50 80 and P90 nan ms"),
        (HEADER + "eu-west-1,us-east-1,80,85\n,us-east-1,80,90\n", ":3: no region nan"),
        (HEADER + "\neu-west-1,us-east-1,80,70\n", ":3: P50 80 and P90 70 ms, less 3.2"),
        (HEADER + "eu-west-1,us-east-1,3,70\n", "P50 3 and"),
        (HEADER + "eu-west-1,us-east-1,nan,70\n", "P50 nan"),
        (HEADER + "eu-west-1,us-east-1,80,90\n" * 2, ":3: eu-west-1 to us-east-1 for a second"),
        (HEADER + "eu-west-1,us-east-1,80,90\n" + "a,b,c,d,e\n", "line 3"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "measured.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MatrixError, match=complaint):
        read(path, OVERHEAD_MS)
    with pytest.raises(MatrixError, match="No such file"):
        read(tmp_path / "nothing.csv", OVERHEAD_MS)


def test_the_command_prints_the_comparison(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    path.write_text(
        HEADER + "eu-west-1,us-east-1,69.7,72\nus-east-1,eu-west-1,69.6,72\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "bench.planet", str(path), "--until", "2026-11-24"]
    root = Path(comparison.__file__).parents[1]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    assert "error of P50: median" in done.stdout
    assert "p90_over_p50" in done.stdout
    path.write_text("nonsense\n", encoding="utf-8")
    failed = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
