"""The site with a pair's history, hours and samples in moto's tables."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cloudping.buckets import Bucket, DistributionTable
from cloudping.distribution import from_attempts
from cloudping.periods import HOUR, floor
from cloudping.runs import METHOD_KERNEL
from cloudping.summaries import Day, HistoryTable
from tests.frontend.conftest import figures, fill, site_of, this_minute

PAIR = "/api/v1/pairs/us-east-1/eu-west-1"


@pytest.fixture
def stored(app: Flask, dynamodb: Any) -> FlaskClient:
    """A client of the site with a history, hours and samples of us-east-1 to eu-west-1."""
    fill(dynamodb)
    now = this_minute()
    today = now.date()
    HistoryTable(dynamodb).replace(
        Day("us-east-1", "eu-west-1", today - timedelta(days=k), figures(68.0 + k, 100, now), "aws")
        for k in range(3)
    )
    hour = floor(HOUR, now)
    found = from_attempts(["eu-west-1"], [0, 0, 0], [68.0, 68.0, 70.5], int(hour.timestamp()))
    bucket = Bucket("us-east-1", HOUR, hour, METHOD_KERNEL, "aws", found)
    DistributionTable(dynamodb).write([bucket], now)
    site_of(app).keeper.refresh()
    return app.test_client()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))
