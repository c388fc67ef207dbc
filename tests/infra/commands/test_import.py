import argparse
import gzip
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudping import dynamo, runs
from cloudping.buckets import DistributionTable
from cloudping.errors import CloudPingError
from cloudping.periods import floor
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import METHOD_IMPORTED, METHOD_KERNEL, RunTable
from cloudping.summaries import HistoryTable, SummaryTable
from cloudping.times import from_iso
from infra.commands import import_
from tests.aggregator.conftest import a_run


def wire(target: str = "us-east-1", at: str = "2024-03-01T06:00:04.512Z", **changes: Any) -> Any:
    """An item as the original's ping_from_region writes it."""
    item: dict[str, Any] = {
        "avg": {"N": "76.5"},
        "min": {"N": "75.1"},
        "max": {"N": "77.9"},
        "port": {"N": "443"},
        "address": {"S": f"dynamodb.{target}.amazonaws.com"},
        "region": {"S": "eu-west-1"},
        "regionTo": {"S": target},
        "attempts": {"N": "5"},
        "attemptsSuccess": {"N": "2"},
        "results": {
            "L": [
                {"M": {"seq": {"N": "0"}, "time": {"N": "75.1"}}},
                {"M": {"seq": {"N": "3"}, "time": {"N": "77.9"}}},
            ]
        },
        "timestamp": {"S": at},
    }
    item |= changes
    return {name: value for name, value in item.items() if value is not None}


def options(what: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    import_.add_arguments(parser)
    return parser.parse_args([str(what)])


def lines(path: Path, *items: Any) -> Path:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.writelines(
            (entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in items
        )
    return path


PLAIN = {
    "region": "eu-west-1", "regionTo": "us-west-2", "timestamp": "2024-03-01T06:01:30.000Z",
    "avg": 140.25,
}  # fmt: skip


def test_a_file_becomes_runs_buckets_and_figures(
    dynamodb: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RegionTable(dynamodb).put(RegionState(CATALOGUE["eu-west-1"], True, True, 300))
    path = lines(
        tmp_path / "export.json.gz",
        wire("eu-west-2", "2024-03-01T06:02:45.000Z"),
        {"Item": wire()},
        {"Item": wire()},  # an item twice
        wire(at="2024-03-01T12:00:04.512Z"),
        PLAIN,
    )
    assert import_.run(options(path)) == 0
    said = capsys.readouterr().out
    assert "5 items read: 2 runs written, 0 were there; 1 items had only an average; 0 bad" in said

    run, _ = RunTable(dynamodb).between(
        "eu-west-1", from_iso("2024-03-01T00:00:00Z"), from_iso("2024-03-02T00:00:00Z")
    )
    assert run.timestamp == from_iso("2024-03-01T06:00:30Z")
    assert (run.method, run.interval_s, run.attempts_per_target, run.written_at) == (
        "original-1",
        21600,
        5,
        None,
    )
    found = {code: list(runs.samples(run, code)) for code in run.results}
    assert [s.latency_ms for s in found["us-east-1"]] == [75.1, 77.9, None, None, None]
    assert {s.reason for s in found["us-east-1"][2:]} == {"timeout"}
    assert [s.latency_ms for s in found["us-west-2"]] == [140.25]

    begin = floor("H", run.timestamp)
    (hour,) = DistributionTable(dynamodb).between("eu-west-1", "H", begin, begin)
    assert (hour.method, hour.distribution.runs) == ("original-1", 1)
    day = floor("D", run.timestamp).date()
    (of_day,) = HistoryTable(dynamodb).between("eu-west-1", "us-east-1", day, day)
    assert of_day.figures.methods == ("original-1",)
    assert (of_day.figures.samples, of_day.figures.loss_pct) == (4, 60)
    assert SummaryTable(dynamodb).all("1Y") == []  # too long ago
    (source,) = RegionTable(dynamodb).sources()
    assert source.earliest_data == run.timestamp

    assert import_.run(options(path)) == 0
    said = capsys.readouterr().out
    assert "0 runs written, 2 were there" in said
    assert " 0 buckets written, " in said.splitlines()[-1]


def test_a_run_of_a_probe_at_the_same_hour_and_an_imported_one_both_stay(
    dynamodb: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RegionTable(dynamodb).put(RegionState(CATALOGUE["eu-west-1"], True, True, 300))
    hour = from_iso("2024-03-01T06:00:00Z")
    own = a_run(hour, [70.0])
    RunTable(dynamodb).put_once(own)
    path = lines(tmp_path / "export.json", wire())
    for written in (1, 0):  # and a second import adds nothing
        import_.run(options(path))
        assert f"{written} runs written, {1 - written} were there" in capsys.readouterr().out
        found = RunTable(dynamodb).between("eu-west-1", hour, hour + timedelta(minutes=1))
        assert [run.method for run in found] == [METHOD_KERNEL, METHOD_IMPORTED]
        assert found[0] == own
    buckets = DistributionTable(dynamodb).between("eu-west-1", "H", hour, hour)
    assert sorted(bucket.method for bucket in buckets) == [METHOD_KERNEL, METHOD_IMPORTED]


def test_what_an_earlier_version_imported_at_the_full_hour_is_not_imported_again(
    dynamodb: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(tmp_path / "export.json", wire())
    report = import_.Report()
    (made,) = import_.as_runs(import_.originals(import_.from_lines(path, report), report, "export"))
    before = replace(made, timestamp=from_iso("2024-03-01T06:00:00Z"))
    RunTable(dynamodb).put_once(before)
    import_.run(options(path))
    assert "0 runs written, 1 were there" in capsys.readouterr().out
    day = before.timestamp + timedelta(days=1)
    assert RunTable(dynamodb).between("eu-west-1", before.timestamp, day) == [before]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (None, "eu-west-1: imported, but it is not in cloudping_regions, so no page shows it"),
        (
            RegionState(CATALOGUE["eu-west-1"], False, True),
            "eu-west-1: imported, but no active source, so the matrix has no row of it",
        ),
        (RegionState(CATALOGUE["eu-west-1"], True, True, 300), ""),
    ],
)
def test_an_import_for_a_source_that_is_not_active_is_said(
    dynamodb: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    state: RegionState | None,
    says: str,
) -> None:
    if state is not None:
        RegionTable(dynamodb).put(state)
    assert import_.run(options(lines(tmp_path / "export.json", wire()))) == 0
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == bool(says)
    assert ("`python -m infra deploy" in said) == bool(says)


def test_the_originals_table_is_read(dynamodb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    dynamodb.create_table(
        TableName="Original",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("regionTo", "timestamp")
        ],
        KeySchema=[
            {"AttributeName": "regionTo", "KeyType": "HASH"},
            {"AttributeName": "timestamp", "KeyType": "RANGE"},
        ],
    )
    for item in (wire(), wire("eu-west-2")):
        dynamodb.put_item(TableName="Original", Item=item)
    assert import_.run(options("Original")) == 0
    assert "2 items read: 1 runs written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("item", "attribute"),
    [
        (wire(region=None), "region"),
        (wire(regionTo={"N": "7"}), "regionTo"),
        (wire(at="6 o'clock"), "timestamp"),
        (wire(at="2999-01-01T00:00:00.000Z"), "timestamp"),
        (wire(results={"S": "none"}), "results"),
        (wire(results={"L": [{"M": {"time": {"N": "-5"}}}]}), "results"),
        (wire(attempts={"N": "1"}), "attempts"),
        (wire(results=None, avg={"S": "NaN"}), "avg"),
        (wire(results=None, avg=None), "avg"),
    ],
)
def test_a_bad_item_is_counted_and_left_out(item: Any, attribute: str) -> None:
    report = import_.Report()
    plain = dynamo.from_wire(item)
    assert list(import_.originals([plain, dynamo.from_wire(wire())], report, "export")) != []
    assert report.items == 2
    assert report.bad == {f"{attribute} is not as expected": 1}
    assert attribute in report.examples[0]


def test_a_line_that_is_no_object_is_counted(tmp_path: Path) -> None:
    report = import_.Report()
    path = lines(tmp_path / "export.json", "not json", "[1]", "", PLAIN)
    assert list(import_.from_lines(path, report)) == [PLAIN]
    assert report.bad == {"not a JSON object": 2}


def test_a_failed_connect_of_the_javascript_version_has_no_time() -> None:
    failed = {"M": {"seq": {"N": "1"}, "err": {"M": {}}}}
    good = {"M": {"seq": {"N": "0"}, "time": {"N": "75.1"}}}
    one = import_.parse(dynamo.from_wire(wire(results={"L": [good, failed]})), "export")
    assert (one.latencies_ms, one.failed, one.is_average) == ((75.1,), 4, False)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("PingTest", "own table"),
        ("missing.json", "no file missing.json"),
        ("Nowhere", "scan on table"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(dynamodb: Any, what: str, message: str) -> None:
    with pytest.raises(CloudPingError, match=message):
        import_.run(options(what))


def test_nothing_to_import_is_an_error(dynamodb: Any, tmp_path: Path) -> None:
    with pytest.raises(CloudPingError, match="holds no item"):
        import_.run(options(lines(tmp_path / "empty.json")))
