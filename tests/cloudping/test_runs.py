"""Runs: record, item schema, sanity of what is read, and the PingTest table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudping import dynamo, runs
from cloudping.errors import ItemError, StoreError
from cloudping.regions import CATALOGUE, rtt_floor_ms
from cloudping.runs import Attempt, Run, RunTable, TargetResult, is_silent

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def a_run(region: str = "us-east-1", at: datetime = NOON, **changes: Any) -> Run:
    targets = {
        "eu-west-1": TargetResult(
            host="dynamodb.eu-west-1.amazonaws.com",
            addresses=("192.0.2.1", "192.0.2.2"),
            dns_ms=1.25,
            attempts=(
                Attempt(67.123, 67.201),
                Attempt(None, 1067.5, 1, "retransmitted"),
                Attempt(None, None, 0, "timeout"),
            ),
        ),
        "us-east-1": TargetResult(
            host="dynamodb.us-east-1.amazonaws.com",
            addresses=(),
            dns_ms=None,
            attempts=(Attempt(None, None, 0, "dns_error"),) * 3,
        ),
    }
    run = Run(
        region=region,
        timestamp=at,
        partition="aws",
        interval_s=300,
        attempts_per_target=3,
        method=runs.METHOD_KERNEL,
        origin=runs.ORIGIN_AWS,
        results=targets,
        memory_mb=256,
        wall_ms=2100.5,
        cpu_ms=80.1,
        lateness_ms=350.0,
        written_at=at + timedelta(seconds=3),
    )
    return replace(run, **changes)


def through_the_wire(run: Run) -> Run:
    return runs.from_item(dynamo.from_wire(dynamo.to_wire(runs.to_item(run))))


def test_item_and_back() -> None:
    assert through_the_wire(a_run()) == a_run()


attempts = st.one_of(
    st.builds(
        Attempt,
        st.integers(0, 10**7).map(lambda us: us / 1000),
        st.integers(0, 10**7).map(lambda us: us / 1000),
    ),
    st.builds(
        Attempt,
        st.none(),
        st.none() | st.integers(0, 10**7).map(lambda us: us / 1000),
        st.integers(0, 6),
        st.sampled_from(runs.REASONS),
    ),
)


@given(st.dictionaries(st.sampled_from(list(CATALOGUE)), st.lists(attempts, max_size=8)))
def test_any_run_survives_the_item(results: dict[str, list[Attempt]]) -> None:
    run = a_run(
        results={
            code: TargetResult("host.example", ("192.0.2.7",), 0.5, tuple(outcome))
            for code, outcome in results.items()
        }
    )
    assert through_the_wire(run) == run


def test_one_line_of_json_and_back() -> None:
    run = a_run()
    line = runs.to_json(run)
    assert "\n" not in line
    assert runs.from_json(line) == through_the_wire(run)


@pytest.mark.parametrize("line", ["", "[]", '"run"', "{"])
def test_what_is_no_run_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        runs.from_json(line)


def test_item_of_a_full_run_is_small() -> None:
    """DESIGN: 4 to 6 KB for 39 targets; DynamoDB counts names, values and 3 bytes a container."""
    result = TargetResult("", ("192.0.2.100",), 1.25, (Attempt(123.456, 123.519),) * 5)
    run = a_run(results={c: replace(result, host=r.endpoint) for c, r in CATALOGUE.items()})

    def size(value: Any) -> int:
        match value:
            case dict():
                return 3 + sum(1 + len(name) + size(inner) for name, inner in value.items())
            case list():
                return 3 + sum(1 + size(inner) for inner in value)
            case Decimal() | int():
                return 1 + (len(str(value).replace(".", "")) + 1) // 2
            case _:
                return len(str(value))

    assert 4000 < size(runs.to_item(run)) < 6144


@pytest.mark.parametrize(
    ("path", "value", "attribute"),
    [
        (("interval_s",), "often", "interval_s"),
        (("interval_s",), Decimal("NaN"), "interval_s"),
        (("interval_s",), Decimal(-5), "interval_s"),
        (("timestamp",), "yesterday", "timestamp"),
        (("method",), None, "method"),
        (("results",), [], "results"),
        (("results", "eu-west-1"), "fast", "results"),
        (("results", "eu-west-1", "ms"), None, "ms"),
        (("results", "eu-west-1", "ms"), [Decimal(-1), None, None], "ms"),
        (("results", "eu-west-1", "connect"), [], "connect"),
        (("results", "eu-west-1", "why"), {}, "why"),
        (("results", "eu-west-1", "why"), {"1": "bad luck", "2": "timeout"}, "why"),
        (("results", "eu-west-1", "rx"), {"1": "x"}, "rx"),
        (("results", "eu-west-1", "stall"), {"0": "long"}, "stall"),
        (("results", "eu-west-1", "stall"), {"0": Decimal(-1)}, "stall"),
        (("results", "eu-west-1", "ip"), "192.0.2.1", "ip"),
    ],
)
def test_bad_item_names_key_attribute_and_value(
    path: tuple[str, ...], value: Any, attribute: str
) -> None:
    item = runs.to_item(a_run())
    place = item
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ItemError) as caught:
        runs.from_item(item)
    assert caught.value.attribute == attribute
    assert "us-east-1/" in str(caught.value) or path == ("timestamp",)


def test_attempt_has_a_latency_or_a_reason() -> None:
    with pytest.raises(ValueError, match="latency or a reason"):
        Attempt(1.0, 1.0, 0, "timeout")
    with pytest.raises(ValueError, match="latency or a reason"):
        Attempt(None)


def test_samples_are_numbered_and_carry_address_and_method() -> None:
    seen = list(runs.samples(a_run(), "eu-west-1"))
    assert [s.address for s in seen] == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    assert [s.latency_ms for s in seen] == [67.123, None, None]
    assert [s.reason for s in seen] == [None, "retransmitted", "timeout"]
    assert {s.method for s in seen} == {runs.METHOD_KERNEL}
    assert len(list(runs.samples(a_run()))) == 6


def test_faster_than_light_is_flagged_when_read_and_kept_as_stored() -> None:
    floor_ms = rtt_floor_ms("us-east-1", "eu-west-1")
    quick = TargetResult(
        "dynamodb.eu-west-1.amazonaws.com",
        ("192.0.2.1",),
        1.0,
        (Attempt(round(floor_ms - 0.01, 3)), Attempt(round(floor_ms + 0.01, 3))),
    )
    run = through_the_wire(a_run(results={"eu-west-1": quick}))
    first, second = runs.samples(run)
    assert (first.latency_ms, first.reason) == (None, "too_fast")
    assert (second.latency_ms, second.reason) == (round(floor_ms + 0.01, 3), None)
    assert run.results["eu-west-1"].attempts[0].latency_ms == round(floor_ms - 0.01, 3)


def test_first_run_of_an_event_wins(dynamodb: Any) -> None:
    table = RunTable(dynamodb)
    assert table.put_once(a_run())
    assert not table.put_once(a_run(wall_ms=9.0))
    assert table.between("us-east-1", NOON, NOON) == [a_run()]


def test_between_is_inclusive_ordered_and_of_one_source(dynamodb: Any) -> None:
    table = RunTable(dynamodb)
    times = [NOON + timedelta(minutes=5 * k) for k in range(4)]
    for moment in reversed(times):
        table.put_once(a_run(at=moment))
        table.put_once(a_run("eu-west-1", at=moment))
    batch = table.between("us-east-1", times[1], times[2])
    assert [r.timestamp for r in batch] == times[1:3]
    assert batch.bad == []


def test_bad_items_are_reported_and_the_others_read(dynamodb: Any) -> None:
    table = RunTable(dynamodb)
    table.put_once(a_run())
    stamp = "2026-11-20T12:01:00.000Z"
    dynamodb.put_item(
        TableName="PingTest", Item={"region": {"S": "us-east-1"}, "timestamp": {"S": stamp}}
    )
    batch = table.between("us-east-1", NOON, NOON + timedelta(hours=1))
    assert len(batch) == 1
    assert [error.attribute for error in batch.bad] == ["partition"]
    assert table.latest("us-east-1", NOON + timedelta(hours=1)) == a_run()


def test_latest_of_a_silent_source_is_none(dynamodb: Any) -> None:
    assert RunTable(dynamodb).latest("us-east-1", NOON) is None


def test_written_since_finds_late_runs_by_when_they_came(dynamodb: Any) -> None:
    table = RunTable(dynamodb)
    table.put_once(a_run(at=NOON - timedelta(days=1), written_at=NOON))
    table.put_once(a_run(at=NOON, written_at=NOON - timedelta(hours=1)))
    keys = table.written_since("us-east-1", NOON - timedelta(minutes=1))
    assert [key.timestamp for key in keys] == [NOON - timedelta(days=1)]


def test_a_missing_table_is_a_store_error_with_its_name(dynamodb: Any) -> None:
    with pytest.raises(StoreError, match="put_item on table other-PingTest failed: Resource"):
        RunTable(dynamodb, "other-").put_once(a_run())


def test_a_key_that_is_no_time_is_reported_beside_the_others(dynamodb: Any) -> None:
    table = RunTable(dynamodb)
    table.put_once(a_run())
    bad = runs.to_item(a_run()) | {"timestamp": "noon"}
    dynamodb.put_item(TableName="PingTest", Item=dynamo.to_wire(bad))
    found = table.written_since("us-east-1", NOON)
    assert [key.timestamp for key in found] == [NOON]
    assert [(error.attribute, error.value) for error in found.bad] == [("timestamp", "noon")]


def test_the_samples_of_a_pair_come_in_capped_pages(dynamodb: Any) -> None:
    table = RunTable(dynamodb)
    for minute in range(0, 25, 5):
        table.put_once(a_run(at=NOON + timedelta(minutes=minute)))
    other = {"us-east-1": a_run().results["us-east-1"]}
    table.put_once(a_run(at=NOON + timedelta(minutes=25), results=other))
    bad = runs.to_item(a_run(at=NOON + timedelta(minutes=30)))
    bad["results"]["eu-west-1"]["ms"] = "fast"
    dynamodb.put_item(TableName="PingTest", Item=dynamo.to_wire(bad))

    pair = ("us-east-1", "eu-west-1", NOON + timedelta(minutes=5), NOON + timedelta(hours=1))
    first = table.page(*pair, limit=3)
    assert [s.timestamp.minute for s in first.samples] == [5] * 3 + [10] * 3 + [15] * 3
    assert [s.latency_ms for s in first.samples[:3]] == [67.123, None, None]
    rest = table.page(*pair, limit=50, cursor=first.cursor)
    assert [s.timestamp.minute for s in rest.samples] == [20] * 3
    assert [error.attribute for error in rest.bad] == ["ms"]
    assert rest.cursor is None


def test_a_stall_is_kept_where_there_was_one() -> None:
    endpoint = CATALOGUE["eu-west-1"].endpoint
    stalled = TargetResult(
        endpoint, ("192.0.2.1",), None, (Attempt(1.0, 19.5, stall_ms=17.25), FINE)
    )
    run = replace(a_run(), attempts_per_target=2, results={"eu-west-1": stalled})
    item = runs.to_item(run)
    assert item["results"]["eu-west-1"]["stall"] == {"0": Decimal("17.2")}
    read = runs.from_item(item).results["eu-west-1"].attempts
    assert [attempt.stall_ms for attempt in read] == [17.2, 0]
    assert "stall" not in runs.to_item(a_run())["results"]["eu-west-1"]


FINE = Attempt(1.0, 1.1)


@pytest.mark.parametrize("interval_s", [60, 300, 3600])
def test_a_source_is_silent_after_three_intervals_and_the_time_of_a_run(interval_s: int) -> None:
    last = NOON - timedelta(seconds=3 * interval_s + 120)
    assert not is_silent(last, interval_s, NOON)
    assert is_silent(last - timedelta(seconds=1), interval_s, NOON)
