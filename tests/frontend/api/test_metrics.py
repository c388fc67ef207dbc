import re
import shutil
import subprocess

import pytest
from flask.testing import FlaskClient

from tests.frontend.conftest import show
from tests.frontend.pages.test_pages import mixed


def test_metrics_are_clean_and_in_base_units(web: FlaskClient) -> None:
    text = web.get("/metrics").text
    pair = 'region_from="us-east-1",region_to="eu-west-1"'
    assert f"cloudping_last_run_round_trip_seconds{{{pair}}} 0.07" in text
    p99 = re.search(rf'cloudping_day_round_trip_seconds{{percentile="99",{pair}}} (.+)', text)
    assert p99 is not None
    assert float(p99[1]) == pytest.approx(0.06899)
    assert (
        'cloudping_last_run_loss_ratio{region_from="eu-west-1",region_to="cn-north-1"} 1.0' in text
    )
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_mixed_day_says_so(web: FlaskClient) -> None:
    pair = '{region_from="us-east-1",region_to="eu-west-1"}'
    assert f"cloudping_day_mixed{pair} 1.0" in show(mixed()).get("/metrics").text
    assert "cloudping_day_mixed{" not in web.get("/metrics").text
