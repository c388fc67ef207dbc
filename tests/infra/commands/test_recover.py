"""`recover`: runs come back from the logs of the probes, each event once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloudping import runs
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import Run, RunTable
from cloudping.times import floor_minute, to_iso, utc_now
from infra.__main__ import main
from infra.aws.installation import PROBES, Installation
from tests.aggregator.conftest import SOURCE, a_run

NOW = floor_minute(utc_now())
MINUTE = timedelta(minutes=1)

Log = Callable[..., None]


def run_line(run: Run) -> str:
    return f'{{"event":"run","run":{runs.to_json(run)}}}'


def discarded_line(run: Run) -> str:
    item = runs.to_item(run)
    identity = ", ".join(f'"{n}": "{item[n]}"' for n in ("region", "timestamp", "written_at"))
    return f'{{"event": "discarded", {identity}, "why": "an earlier run won"}}\n'


@pytest.fixture
def table(dynamodb: Any) -> RunTable:
    regions = RegionTable(dynamodb)
    regions.put(RegionState(CATALOGUE[SOURCE], True, True, 300))
    regions.put(RegionState(CATALOGUE["us-east-1"], False, True))
    regions.put(RegionState(CATALOGUE["cn-north-1"], True, True, 300))  # an account of its own
    return RunTable(dynamodb)


@pytest.fixture
def log(table: RunTable) -> Log:
    def write(*lines: str, region: str = SOURCE, age: timedelta = MINUTE) -> None:
        client = boto3.client("logs", region_name=region)
        group = Installation().log_group(PROBES, region)
        if not client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            client.create_log_group(logGroupName=group)
            client.create_log_stream(logGroupName=group, logStreamName="a")
        stamp = int((utc_now() - age).timestamp() * 1000)
        client.put_log_events(
            logGroupName=group,
            logStreamName="a",
            logEvents=[{"timestamp": stamp + k, "message": line} for k, line in enumerate(lines)],
        )

    return write


def recover(*words: str, code: int = 0) -> None:
    assert main(["recover", *(words or ("--since", "1h"))]) == code


def stored(table: RunTable) -> Sequence[Run]:
    batch = table.between(SOURCE, NOW - timedelta(days=400), NOW)
    assert not batch.bad
    return batch


def test_only_what_the_table_lacks_is_put_back_and_only_once(
    table: RunTable, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [a_run(NOW - 5 * k * MINUTE, [70 + k, "timeout"]) for k in range(4)]
    assert table.put_once(made[1])
    log("START RequestId: 1", *map(run_line, made), "REPORT RequestId: 1")
    recover()
    assert "eu-west-1: 4 runs logged, 3 put back, 1 stored before\n" in capsys.readouterr().out
    first = stored(table)
    assert [replace(run, written_at=None) for run in first] == [
        replace(run, written_at=None) for run in reversed(made)
    ]
    recover()
    assert "4 runs logged, 0 put back, 4 stored before\n" in capsys.readouterr().out
    assert stored(table) == first


def test_what_came_back_is_stamped_so_that_the_aggregator_finds_it(
    table: RunTable, log: Log
) -> None:
    log(run_line(a_run(NOW - 50 * MINUTE)))
    recover()
    (key,) = table.written_since(SOURCE, NOW)
    assert key.timestamp == NOW - 50 * MINUTE


def test_a_run_that_lost_stays_discarded(table: RunTable, log: Log) -> None:
    winner, loser = a_run(NOW, [70.0]), a_run(NOW, [99.0], written_at=NOW + 9 * MINUTE / 60)
    table.put_once(winner)
    log(run_line(loser), discarded_line(loser))
    recover()
    assert stored(table) == [winner]


def test_a_run_that_lost_stays_discarded_when_the_table_was_emptied(
    table: RunTable, log: Log
) -> None:
    winner, loser = a_run(NOW, [70.0]), a_run(NOW, [99.0], written_at=NOW + 9 * MINUTE / 60)
    log(run_line(loser), run_line(winner), discarded_line(loser))
    recover()
    (kept,) = stored(table)
    assert kept.results == winner.results


def test_a_run_whose_own_write_was_taken_for_another_is_not_lost(table: RunTable, log: Log) -> None:
    """Its answer was lost, botocore wrote again, and the condition met its own first write."""
    only = a_run(NOW, [70.0])
    log(run_line(only), discarded_line(only))
    recover()
    assert [run.results for run in stored(table)] == [only.results]


def test_what_has_expired_does_not_come_back(
    table: RunTable, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    past = int((NOW - MINUTE).timestamp())
    log(run_line(a_run(NOW, expires_at=past)), run_line(a_run(NOW - MINUTE, expires_at=past + 999)))
    recover()
    assert [run.timestamp for run in stored(table)] == [NOW - MINUTE]
    assert "1 put back, 0 stored before, 1 expired\n" in capsys.readouterr().out


UNREADABLE = (
    '{"event":"run","run":{"region":"eu-we',  # cut off
    '{"event":"run","run":7}',
    '{"event":"run"}',
    '{"event":"run","run":{"region":"eu-west-1","timestamp":"yesterday"}}',
    '{"event":"run","run":{"region":["eu-west-1"],"timestamp":"2026-11-20T06:05:00.000Z"}}',
    '{"event":"discarded"}',
)


def test_lines_that_do_not_parse_are_counted_and_the_others_are_read(
    table: RunTable, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log(*UNREADABLE, run_line(a_run(NOW)), '{"event":"dns_error","error":"gone"}')
    recover()
    assert len(stored(table)) == 1
    assert "1 put back, 0 stored before, 6 lines unreadable\n" in capsys.readouterr().out


def test_only_what_was_logged_since_then_is_read(table: RunTable, log: Log) -> None:
    log(run_line(a_run(NOW - 3 * 60 * MINUTE)), age=timedelta(hours=3))
    recover()
    assert stored(table) == []
    recover("--since", to_iso(NOW - timedelta(hours=4)))
    assert len(stored(table)) == 1


def test_retention_bounds_it_and_it_says_so(
    table: RunTable, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log(run_line(a_run(NOW)))
    recover("--since", "15d")
    assert "logs are kept for 14 days: nothing older can come back" in capsys.readouterr().out


def test_a_region_that_cannot_be_read_is_named_and_the_others_are_done(
    table: RunTable, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log(run_line(a_run(NOW)))
    recover("--since", "1h", "--regions", "eu-west-1,eu-west-2", code=1)
    said = capsys.readouterr()
    assert "eu-west-2: no log /aws/lambda/cloudping-probes-eu-west-2-probe" in said.out
    assert "1 region could not be done" in said.err
    assert len(stored(table)) == 1


def test_a_log_in_a_file(
    table: RunTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a pair, of another partition, or one that was kept for longer."""
    old = a_run(NOW - timedelta(days=300))
    file = tmp_path / "log"
    file.write_text(f"a line of something else\n{run_line(old)}\n{run_line(old)}\n")
    recover("--file", str(file))
    assert len(stored(table)) == 1
    assert capsys.readouterr().out == "2 runs logged, 1 put back, 1 stored before\n"


@pytest.mark.parametrize("text", ["yesterday", "2026-11-20T06:00", "3w", "99999999999d", ""])
def test_a_time_that_is_none_is_explained(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recover", "--since", text])
    assert f"{text!r} is no time: write 2026-11-20T06:00:00Z" in capsys.readouterr().err


def test_another_partition_is_told_the_way(
    table: RunTable, capsys: pytest.CaptureFixture[str]
) -> None:
    recover("--since", "1h", "--regions", "cn-north-1", code=1)
    assert "save the log and read it at home with --file" in capsys.readouterr().err
