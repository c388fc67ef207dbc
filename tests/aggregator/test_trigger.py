"""From an event of EventBridge to a run, and the line that it logs."""

import json
from importlib import import_module
from typing import Any

import pytest
from chalicelib import trigger
from chalicelib.aggregate import UnfinishedError

from cloudping.errors import CloudPingError
from cloudping.settings import load
from tests.aggregator.conftest import SOURCE, START, Installation, a_run

# By its full name: the probes have an app.py as well.
aggregate = import_module("aggregator.app").aggregate


def event(detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0", "account": "123456789012", "region": "us-east-2", "detail": detail,
        "detail-type": "Scheduled Event", "source": "aws.events", "id": "1",
        "time": "2026-11-18T23:03:00Z", "resources": [],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _cold() -> None:
    trigger._installed.cache_clear()


def test_an_event_makes_a_run_and_one_line_of_json(
    install: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    install.add(a_run(START))
    report = aggregate(event({"sources": [SOURCE]}), None)
    assert report["sources"] == 1
    assert install.cells("1Y")["us-east-1"].figures.samples == 2
    logged = json.loads(capsys.readouterr().out.splitlines()[0])
    assert logged["event"] == "aggregated"
    assert (logged["runs_read"], logged["bad_items"], logged["failed"]) == (1, 0, {})


def test_a_source_that_failed_fails_the_invocation_after_the_others(
    install: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    install.add(a_run(START))
    broken = {"region": {"S": SOURCE}, "bucket": {"S": "H#2026-11-18T22"}, "version": {"N": "9"}}
    install.client.put_item(TableName="cloudping_distributions", Item=broken)
    with pytest.raises(UnfinishedError, match=SOURCE):
        trigger.handle({}, load({}))
    logged = json.loads(capsys.readouterr().out.splitlines()[0])
    assert logged["failed"].keys() == {SOURCE}


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        ({"sources": "us-east-1"}, "sources='us-east-1' is not usable"),
        ({"now": "2026-11-18T23:03:00.000Z"}, "now is not usable: .* figures always end now"),
        ({"source": "us-east-1"}, "source is not usable: an event's detail may have `sources`"),
    ],
)
def test_a_wrong_detail_says_what_is_wrong(detail: dict[str, Any], message: str) -> None:
    with pytest.raises(CloudPingError, match=message):
        trigger.handle(detail, load({}))


def test_changes_that_cannot_be_looked_for_cost_no_figure(
    install: Installation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such luck")

    install.add(a_run(START))
    monkeypatch.setattr("chalicelib.changes.search", fail)
    with pytest.raises(UnfinishedError, match="changes: RuntimeError: no such luck"):
        trigger.handle({}, load({}))
    assert install.cells("1Y")["us-east-1"].figures.samples == 2
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert logged[0]["event"] == "aggregated"
    assert "_aws" in logged[1]  # the health line


def test_changes_are_looked_for_only_where_there_is_time(install: Installation) -> None:
    assert trigger.once_a_day(install.tables, trigger.SEARCH_S - 1) == {}
    assert install.tables.changes.state() is None
    assert trigger.once_a_day(install.tables, trigger.SEARCH_S) == {}
    assert install.tables.changes.state() is not None


def test_rows_of_a_region_that_was_deleted_go_and_come_back_with_it(install: Installation) -> None:
    install.add(a_run(START))
    trigger.handle({}, load({}))  # before the region is gone, nothing is
    assert install.cells("1Y")["us-east-1"].figures.samples == 2
    state = next(s for s in install.tables.regions.all() if s.region.code == SOURCE)
    install.client.delete_item(TableName="cloudping_regions", Key={"region": {"S": SOURCE}})
    install.tables.changes.forget_state()
    assert trigger.once_a_day(install.tables, trigger.SEARCH_S) == {}
    assert install.cells("1Y") == {}
    install.tables.regions.put(state)
    trigger._installed.cache_clear()
    trigger.handle({"sources": [SOURCE]}, load({}))
    assert install.cells("1Y")["us-east-1"].figures.samples == 2


def test_no_region_at_all_is_taken_for_a_table_that_is_being_restored(
    install: Installation,
) -> None:
    install.add(a_run(START))
    trigger.handle({}, load({}))
    for state in install.tables.regions.all():
        key = {"region": {"S": state.region.code}}
        install.client.delete_item(TableName="cloudping_regions", Key=key)
    install.tables.changes.forget_state()
    trigger.once_a_day(install.tables, trigger.SEARCH_S)
    assert install.cells("1Y")["us-east-1"].figures.samples == 2
