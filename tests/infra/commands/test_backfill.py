import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from chalicelib import aggregate
from chalicelib.reader import RunReader
from chalicelib.tables import tables

from cloudping.errors import CloudPingError, UnknownRegionError
from cloudping.regions import CATALOGUE, RegionState
from cloudping.runs import Attempt, Run, TargetResult
from infra.commands import backfill

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


@pytest.fixture
def installed(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(backfill, "utc_now", lambda: NOW)
    made = tables(dynamodb, "")
    made.regions.put(RegionState(CATALOGUE["eu-west-1"], True, True, 3600))
    return made


def a_run(at: datetime, latency_ms: float = 70.0) -> Run:
    outcome = TargetResult("host", (), None, (Attempt(latency_ms), Attempt(latency_ms + 1)))
    return Run(
        "eu-west-1", at, "aws", 3600, 2, "kernel-1", "aws", {"us-east-1": outcome},
        written_at=at + timedelta(seconds=2),
    )  # fmt: skip


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    backfill.add_arguments(parser)
    return parser.parse_args(words)


def test_a_range_is_recomputed_with_all_that_rests_on_it(
    installed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(30):
        installed.runs.put_once(a_run(NOW - timedelta(hours=k, minutes=10)))
    assert backfill.run(options("--from", "2026-11-19", "--sources", "eu-west-1")) == 0
    said = capsys.readouterr().out
    assert "1/1 eu-west-1 2026-11-19 (1/2 days): 17 runs read, 18 buckets written" in said
    assert "done: 30 runs read, 31 buckets written" in said
    (cell,) = installed.summaries.of_source("1Y", "eu-west-1")
    assert cell.figures.samples == 60
    (day,) = installed.history.between(
        "eu-west-1", "us-east-1", NOW.date().replace(day=1), NOW.date()
    )
    assert (day.day.day, day.figures.samples) == (19, 34)
    (source,) = installed.regions.sources()
    assert source.earliest_data == NOW - timedelta(hours=29, minutes=10)

    assert backfill.run(options("--from", "2026-11-19")) == 0
    assert " 0 buckets written, " in capsys.readouterr().out.splitlines()[-1]
    # What the aggregator then makes of the same runs is the same.
    aggregate.run(installed, RunReader(installed.runs), clock=lambda: NOW)
    assert installed.summaries.of_source("1Y", "eu-west-1")[0].same_as(cell)


def test_an_older_range_leaves_the_rest(installed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    installed.runs.put_once(a_run(NOW - timedelta(hours=2)))
    installed.runs.put_once(a_run(NOW - timedelta(hours=50)))
    installed.runs.put_once(a_run(NOW - timedelta(hours=30), 60.0))
    assert backfill.run(options("--from", "2026-11-18T10", "--to", "2026-11-18T10")) == 0
    assert "done: 1 runs read, 2 buckets written" in capsys.readouterr().out
    (cell,) = installed.summaries.of_source("1W", "eu-west-1")
    assert cell.figures.samples == 2


def test_a_day_and_an_hour_are_taken_and_nothing_else() -> None:
    chosen = options("--from", "2026-11-01", "--to", "2026-11-02T06")
    assert chosen.first == (datetime(2026, 11, 1, tzinfo=UTC), False)
    assert chosen.last == (datetime(2026, 11, 2, 6, tzinfo=UTC), True)
    with pytest.raises(SystemExit):
        options("--from", "yesterday")


def test_a_wrong_call_says_what_is_wrong(installed: Any) -> None:
    with pytest.raises(CloudPingError, match="after --to"):
        backfill.run(options("--from", "2026-11-02", "--to", "2026-11-01"))
    with pytest.raises(UnknownRegionError, match="eu-west-9"):
        backfill.run(options("--from", "2026-11-02", "--sources", "eu-west-9"))
