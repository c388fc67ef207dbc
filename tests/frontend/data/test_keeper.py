from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from cloudping import dynamo
from cloudping.buckets import Checkpoint, DistributionTable
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import RunTable
from cloudping.settings import load
from cloudping.summaries import TIMEFRAMES, SummaryTable
from frontend import create_app
from frontend.data.keeper import MAX_REGIONS, ROWS_EVERY, Keeper
from tests.frontend.conftest import fill, run, runs, site_of, states, summaries, this_minute


def test_the_site_is_up_before_any_table_exists() -> None:
    nowhere = dynamo.client("us-east-2", "http://127.0.0.1:9")  # discard: nothing listens
    app = create_app(load({}), nowhere, background=False)
    web = app.test_client()
    assert web.get("/").status_code == 200
    assert web.get("/healthz").json == {"status": "ok"}
    assert web.get("/readyz").status_code == 503


def test_ready_once_the_tables_have_been_read(app: Flask) -> None:
    assert app.test_client().get("/readyz").status_code == 503
    site_of(app).keeper.refresh()
    assert app.test_client().get("/readyz").status_code == 200


def test_tables_that_do_not_exist_are_named_as_the_reason(dynamodb: Any) -> None:
    keeper = Keeper(lambda: dynamodb, "other-", 60)
    keeper.refresh()
    assert keeper.snapshot.taken_at is None
    assert keeper.snapshot.missing == [
        "The tables do not exist yet; they are being created, or the prefix is wrong."
    ]


def test_the_last_snapshot_is_kept_and_says_its_age_when_dynamodb_fails(dynamodb: Any) -> None:
    fill(dynamodb)
    working = [True]

    class Flaky:
        """moto's client until it is told to fail."""

        def __getattr__(self, name: str) -> Any:
            if not working[0]:
                raise ConnectionError("Could not connect to the endpoint URL")
            return getattr(dynamodb, name)

    app = create_app(load({}), Flaky(), background=False)
    site_of(app).keeper.refresh()
    before = site_of(app).keeper.snapshot
    working[0] = False
    site_of(app).keeper.refresh()
    after = site_of(app).keeper.snapshot
    assert after.cells == before.cells
    assert after.taken_at == before.taken_at
    assert after.failure is not None
    page = app.test_client().get("/").text
    assert "DynamoDB cannot be reached." in page
    assert "Old data." in page
    working[0] = True
    site_of(app).keeper.refresh()
    assert site_of(app).keeper.snapshot.failure is None


def test_a_refresh_reads_only_newer_runs(dynamodb: Any) -> None:
    fill(dynamodb)
    keeper = Keeper(lambda: dynamodb, "", 60)
    keeper.refresh()
    first = keeper.snapshot
    newest = this_minute() + timedelta(minutes=5)
    RunTable(dynamodb).put_once(run("us-east-1", newest))
    keeper._clock = lambda: newest + timedelta(seconds=5)
    keeper.refresh()
    assert keeper.snapshot.runs["us-east-1"].timestamp == newest
    assert keeper.snapshot.runs["eu-west-1"] is first.runs["eu-west-1"]
    assert len(keeper.snapshot.seen["us-east-1"]) == 4
    assert len(keeper.snapshot.seen["eu-west-1"]) == 3


def test_figures_are_read_anew_where_the_aggregator_marks_a_change(dynamodb: Any) -> None:
    fill(dynamodb)
    now = this_minute()
    buckets = DistributionTable(dynamodb)
    first = Checkpoint("us-east-1", now, now, written=dict.fromkeys(TIMEFRAMES, "a"))
    assert buckets.move(first, None, now)
    keeper = Keeper(lambda: dynamodb, "", 60)
    keeper.refresh()
    pair = ("us-east-1", "eu-west-1")
    changed = [
        replace(cell, figures=replace(cell.figures, samples=7))
        for cell in summaries()
        if (cell.region_from, cell.region_to) == pair
    ]
    SummaryTable(dynamodb).write(changed)
    keeper.refresh()
    assert keeper.snapshot.cells["1D"][pair].figures.samples == 1438
    stored = buckets.checkpoint("us-east-1")
    assert stored is not None
    assert buckets.move(replace(stored, written={**stored.written, "1D": "b"}), stored, now)
    keeper.refresh()
    assert keeper.snapshot.cells["1D"][pair].figures.samples == 7
    assert keeper.snapshot.cells["1W"][pair].figures.samples == 1438


def test_every_row_is_read_anew_in_its_turn(dynamodb: Any) -> None:
    fill(dynamodb)
    now = this_minute()
    buckets = DistributionTable(dynamodb)
    for source in ("us-east-1", "eu-west-1", "ap-northeast-1"):
        assert buckets.move(
            Checkpoint(source, now, now, written=dict.fromkeys(TIMEFRAMES, "a")), None, now
        )
    keeper = Keeper(lambda: dynamodb, "", 60)
    clock = [now]
    keeper._clock = lambda: clock[0]
    keeper.refresh()
    SummaryTable(dynamodb).write(
        replace(cell, figures=replace(cell.figures, samples=7)) for cell in summaries()
    )

    def renewed() -> int:
        """In how many of the 12 rows all cells are the new ones."""
        rows: dict[tuple[str, str], set[int]] = {}
        for timeframe in TIMEFRAMES:
            for (source, _), cell in keeper.snapshot.cells[timeframe].items():
                rows.setdefault((timeframe, source), set()).add(cell.figures.samples)
        return sum(found == {7} for found in rows.values())

    found = []
    for minute in range(11):
        clock[0] = now + timedelta(minutes=minute)
        keeper.refresh()
        found.append(renewed())
    assert found == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12]


def test_an_item_that_makes_no_sense_costs_its_cell_and_no_more(dynamodb: Any) -> None:
    fill(dynamodb)
    dynamodb.put_item(
        TableName="cloudping_stored_avgs",
        Item={"timeframe": {"S": "1D"}, "index": {"S": "us-east-1_eu-west-1_1D"}},
    )
    keeper = Keeper(lambda: dynamodb, "", 60)
    keeper.refresh()
    assert keeper.snapshot.failure is None
    assert keeper.snapshot.cells["1W"].keys() - keeper.snapshot.cells["1D"].keys() == {
        ("us-east-1", "eu-west-1")
    }
    assert len(keeper.snapshot.cells["1W"]) == 12


def test_a_region_whose_item_is_broken_costs_itself_and_no_more(
    dynamodb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fill(dynamodb)
    dynamodb.put_item(TableName="cloudping_regions", Item={"region": {"S": "eu-west-9"}})
    keeper = Keeper(lambda: dynamodb, "", 60)
    keeper.refresh()
    assert keeper.snapshot.failure is None
    assert len(keeper.snapshot.states) == len(states())
    assert "cloudping_regions item eu-west-9: region_name is None" in caplog.text
    dynamodb.put_item(TableName="cloudping_regions", Item={"region": {"S": "us-east-1"}})
    keeper.refresh()
    assert list(keeper.snapshot.states) == states()


@pytest.mark.parametrize("code", ["eu-west-1", "cn-north-1"])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_region_whose_item_was_deleted_is_shown_no_more(
    dynamodb: Any, code: str, restarted: bool
) -> None:
    """Its rows are in the table still: nothing renews or deletes them."""
    fill(dynamodb)
    keeper = Keeper(lambda: dynamodb, "", 60, this_minute)
    keeper.refresh()
    assert all(any(code in pair for pair in keeper.snapshot.cells[f]) for f in TIMEFRAMES)
    before = keeper.snapshot.cells
    dynamodb.delete_item(TableName="cloudping_regions", Key={"region": {"S": code}})
    if restarted:
        keeper = Keeper(lambda: dynamodb, "", 60, this_minute)
    keeper.refresh()
    for frame, cells in keeper.snapshot.cells.items():
        assert cells == {pair: c for pair, c in before[frame].items() if code not in pair}


def test_the_rows_of_a_region_that_measures_no_more_are_read_on(dynamodb: Any) -> None:
    """The aggregator goes on with its windows until they are empty."""
    fill(dynamodb)
    keeper = Keeper(lambda: dynamodb, "", 60, this_minute)
    keeper.refresh()
    RegionTable(dynamodb).note_source("eu-west-1", 0)
    keeper.refresh()
    assert ("eu-west-1", "us-east-1") in keeper.snapshot.cells["1D"]
    gone = SummaryTable(dynamodb).of_source("1D", "eu-west-1")
    SummaryTable(dynamodb).delete(gone)
    keeper.refresh()
    assert not any(source == "eu-west-1" for source, _ in keeper.snapshot.cells["1D"])


def test_what_is_missing_is_said_in_the_order_in_which_it_comes(dynamodb: Any) -> None:
    keeper = Keeper(lambda: dynamodb, "", 60)

    def missing() -> list[str]:
        keeper.refresh()
        return keeper.snapshot.missing

    assert "no region has been put into the catalogue" in missing()[0]
    for state in states():
        RegionTable(dynamodb).put(state)
    assert missing()[0].startswith("0 of 3 sources have run")
    RunTable(dynamodb).put_once(run("us-east-1", this_minute()))
    assert missing() == [
        "1 of 3 sources have run; waiting for ap-northeast-1, eu-west-1",
        "The aggregator has written no figures for 1D, 1W, 1M, 1Y yet; "
        "“now” shows each source's last run.",
    ]
    fill(dynamodb)
    assert missing() == []


def test_how_far_the_figures_have_come_is_said_of_each_timeframe(dynamodb: Any) -> None:
    """As a first start fills them: the last day of every source, then the longer timeframes."""
    for state in states():
        RegionTable(dynamodb).put(state)
    for one in runs():
        RunTable(dynamodb).put_once(one)
    first = {"1D": ("us-east-1", "eu-west-1"), "1W": ("us-east-1",)}
    table = SummaryTable(dynamodb)
    table.write(s for s in summaries() if s.region_from in first.get(s.timeframe, ()))
    keeper = Keeper(lambda: dynamodb, "", 60)
    keeper.refresh()
    assert keeper.snapshot.missing[-1] == "Of 3 sources, figures are there of 2 for 1D, 1 for 1W."
    table.write(summaries())
    again = Keeper(lambda: dynamodb, "", 60)
    again.refresh()
    assert again.snapshot.missing == []


def test_a_denser_schedule_is_seen_at_once(dynamodb: Any) -> None:
    """The last run says every hour, the catalogue every minute: the next run shows at once."""
    now = this_minute()
    state = replace(states()[0], is_source=True, interval_s=60)
    RegionTable(dynamodb).put(state)
    code = state.region.code
    runs = RunTable(dynamodb)
    runs.put_once(run(code, now - timedelta(minutes=3), interval_s=3600))
    keeper = Keeper(lambda: dynamodb, "", 60, clock=lambda: now)
    keeper.refresh()
    runs.put_once(run(code, now - timedelta(minutes=1), interval_s=60))
    keeper.refresh()
    assert keeper.snapshot.runs[code].timestamp == now - timedelta(minutes=1)


def test_a_region_that_is_no_source_any_more_goes_as_in_a_fresh_process(
    app: Flask, dynamodb: Any
) -> None:
    fill(dynamodb)
    clock = [this_minute()]
    old = Keeper(lambda: dynamodb, "", 60, lambda: clock[0])
    old.refresh()
    RegionTable(dynamodb).note_source("eu-west-1", 0)
    SummaryTable(dynamodb).delete(s for s in summaries() if s.region_from == "eu-west-1")
    clock[0] += ROWS_EVERY
    old.refresh()
    fresh = Keeper(lambda: dynamodb, "", 60, lambda: clock[0])
    fresh.refresh()
    assert old.snapshot.cells == fresh.snapshot.cells
    assert not any(a == "eu-west-1" for cells in old.snapshot.cells.values() for a, _ in cells)


def test_of_very_many_regions_those_of_aws_are_shown(
    app: Flask, dynamodb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fill(dynamodb)
    table = RegionTable(dynamodb)
    for k in range(MAX_REGIONS + 20):
        place = replace(CATALOGUE["eu-west-1"], code=f"aa-{'ab'[k // 100]}east-{k % 100}")
        table.put(RegionState(place, True, True, 300, "ENABLED"))
    keeper = site_of(app).keeper
    keeper.refresh()
    assert len(keeper.snapshot.states) == MAX_REGIONS
    assert {state.region.code for state in states()} <= {
        state.region.code for state in keeper.snapshot.states
    }
