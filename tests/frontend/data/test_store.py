import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from cloudping import windows
from cloudping.buckets import Bucket, DistributionTable
from cloudping.distribution import from_attempts
from cloudping.periods import DAY, HOUR, MONTH, following
from cloudping.runs import METHOD_KERNEL
from cloudping.summaries import Day, Summary
from frontend.data.reading import READS
from frontend.data.store import BusyError, Store
from tests.frontend.conftest import figures, fill, site_of

NOW = datetime(2026, 11, 20, 12, 3, tzinfo=UTC)


LEVELS = {  # from when on there are buckets, and the one latency in each
    HOUR: (datetime(2026, 11, 18, tzinfo=UTC), 10.0),
    DAY: (datetime(2025, 11, 1, tzinfo=UTC), 20.0),
    MONTH: (datetime(2025, 11, 1, tzinfo=UTC), 30.0),
}


def put_buckets(client: Any) -> None:
    """All that are over at NOW, and the hour that is not, as the aggregator leaves them."""
    buckets = []
    for level, (first, latency_ms) in LEVELS.items():
        start = first
        while start <= NOW and (level == HOUR or following(level, start) <= NOW):
            found = from_attempts(["eu-west-1"], [0], [latency_ms], int(start.timestamp()))
            buckets.append(Bucket("us-east-1", level, start, METHOD_KERNEL, "aws", found))
            start = following(level, start)
    DistributionTable(client).write(buckets, NOW)


def summary(timeframe: str, at: datetime) -> Summary:
    begin = windows.start(timeframe, at)
    return Summary(timeframe, "us-east-1", "eu-west-1", figures(68.0, 1, at), begin, at, at, "aws")


def test_a_distribution_is_of_the_fewest_buckets_of_the_cells_window(dynamodb: Any) -> None:
    put_buckets(dynamodb)
    asked: list[str] = []
    dynamodb.meta.events.register(
        "before-call.dynamodb", lambda model, **_: asked.append(model.name)
    )
    store = Store(lambda: dynamodb, "")
    for timeframe, counts, queries in (
        ("1D", {10.0: 25}, 1),
        ("1W", {10.0: 13, 20.0: 7}, 2),
        ("1M", {10.0: 13, 20.0: 30}, 2),
        ("1Y", {10.0: 13, 20.0: 30, 30.0: 11}, 4),
    ):
        asked.clear()
        for _ in range(2):  # the second time from memory
            found = store.histogram(summary(timeframe, NOW))
            assert {u / 100: n for u, n in zip(found.units, found.counts, strict=True)} == counts
        assert asked == ["Query"] * queries
        assert found.origin == "aws"


def test_what_is_over_but_not_summed_yet_is_counted_by_its_hours(dynamodb: Any) -> None:
    """From midnight to the aggregator's next run there is no bucket of the day that has ended."""
    put_buckets(dynamodb)
    late = summary("1W", NOW.replace(hour=23, minute=58))
    found = Store(lambda: dynamodb, "").histogram(late)
    assert dict(zip(found.units, found.counts, strict=True)) == {1000: 13, 2000: 7}


def test_who_waits_for_an_answer_that_does_not_come_is_turned_away(app: Flask) -> None:
    """Also the one who asks for the same: only the first waits as long as DynamoDB takes."""
    asked, answer = threading.Event(), threading.Event()

    def hangs(*_: Any) -> list[Day]:
        asked.set()
        answer.wait(30)
        return []

    store = site_of(app).store
    first = threading.Thread(target=store._once, args=("same", hangs))
    first.start()
    asked.wait(30)
    with pytest.raises(BusyError):
        store._once("same", hangs)
    answer.set()
    first.join()
    assert store._once("same", hangs) == []


def test_what_visitors_read_is_charged_and_refused_when_it_is_too_much(
    app: Flask, dynamodb: Any
) -> None:
    fill(dynamodb)
    site_of(app).keeper.refresh()
    web, charged = app.test_client(), []

    class Limit:
        wait = 0.0

        def wait_s(self) -> float:
            return self.wait

        def charge(self, units: float) -> None:
            charged.append(units)

    def ask(path: str) -> TestResponse:
        return web.get(path, environ_overrides={READS: limit})

    app.wsgi_app = app.wsgi_app._app._app  # type: ignore[attr-defined,method-assign]  # in Limits
    limit, pair = Limit(), "/api/v1/pairs/us-east-1/eu-west-1"
    assert ask("/api/v1/matrix").status_code == 200
    site_of(app).keeper.refresh()
    assert charged == []  # of the snapshot, and what the site reads for itself
    assert ask(f"{pair}/samples").status_code == 200
    assert sum(charged) > 0
    before, download = sum(charged), ask("/api/v1/daily.zip")
    assert download.data[:2] == b"PK"
    assert sum(charged) > before
    limit.wait = 12.3
    refused = ask(f"{pair}/history")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "13")
    assert ask("/api/v1/daily.zip?start=2026-01-01&end=2026-01-02").status_code == 503
    assert ask(f"{pair}/samples").status_code == 200  # which is kept
    assert ask("/").status_code == 200
