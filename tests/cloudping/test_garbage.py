"""Whatever stands in a stored item, parsing it gives a record or says which item is bad."""

import copy
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudping import buckets, codec, distribution, dynamo, regions, runs, summaries
from cloudping.errors import ItemError, SettingError
from cloudping.periods import HOUR
from cloudping.runs import METHOD_KERNEL
from cloudping.settings import TABLE, load

AT = datetime(2026, 11, 20, 6, tzinfo=UTC)


def a_run() -> Any:
    attempts = (runs.Attempt(68.0, 68.1), runs.Attempt(None, reason="timeout"))
    result = runs.TargetResult("a.example", ("192.0.2.1",), 1.5, attempts)
    run = runs.Run("us-east-1", AT, "aws", 300, 2, METHOD_KERNEL, "aws", {"eu-west-1": result},
                   512, 2000.0, written_at=AT)  # fmt: skip
    return runs.to_item(run)


def a_summary() -> Any:
    figures = summaries.Figures(2, mean=1.5, stddev=0.5, min=1.0, max=2.0, percentiles={50: 1.5},
                                failures={"timeout": 1}, loss_pct=33.3, coverage_pct=100.0,
                                first_sample=AT, last_sample=AT,
                                methods=(METHOD_KERNEL,))  # fmt: skip
    cell = summaries.Summary("1D", "us-east-1", "eu-west-1", figures, AT - timedelta(days=1), AT,
                             AT, "aws")  # fmt: skip
    return summaries.to_item(cell)


def a_bucket() -> Any:
    found = distribution.from_attempts(["eu-west-1"], [0, 0], [68.0, 70.5], int(AT.timestamp()))
    bucket = buckets.Bucket("us-east-1", HOUR, AT, METHOD_KERNEL, "aws", found)
    return buckets.to_item(bucket, AT)


def a_region() -> Any:
    state = regions.RegionState(regions.CATALOGUE["us-east-1"], True, True, 300, "opted-in")
    return regions._to_item(replace(state, earliest_data=AT))


PARSERS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "run": (a_run, runs.from_item),
    "summary": (a_summary, summaries.from_item),
    "bucket": (a_bucket, buckets.from_item),
    "region": (a_region, lambda item: regions._from_item(item, "cloudping_regions")),
}

# What DynamoDB can hold: numbers have up to 38 digits, below 1e126.
content = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.sampled_from([Decimal("1E+125"), Decimal("-1E-130"), Decimal("0.5")])
    | st.text(max_size=12)
    | st.sampled_from(["2026-02-30T00:00:00.000Z", "9999-12-31T23:59:59.999-23:59", "H#x", "nan"])
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(item: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every value inside."""
    inner = item.items() if isinstance(item, dict) else enumerate(item)
    found = []
    for name, value in inner:
        found.append((*before, name))
        if isinstance(value, dict | list):
            found += places(value, (*before, name))
    return found


@pytest.mark.parametrize("name", PARSERS)
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_any_item_is_a_record_or_an_item_error(name: str, data: st.DataObject) -> None:
    make, parse = PARSERS[name]
    item = copy.deepcopy(make())
    parse(item)  # it is good before
    for path in data.draw(st.lists(st.sampled_from(places(item)), min_size=1, max_size=3)):
        *way, last = path
        inside = item
        try:
            for step in way:
                inside = inside[step]
            if data.draw(st.booleans()) and isinstance(inside, dict):
                del inside[last]
            else:
                inside[last] = data.draw(content)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the way there
    try:
        parse(item)
    except ItemError as error:
        assert len(str(error)) < 2000


def days_of(item: Any) -> list[summaries.Day]:
    """What the history's reader makes of an item that DynamoDB gives it."""

    def query(**_: object) -> Any:
        return {"Items": [dynamo.to_wire(item)]}

    table = summaries.HistoryTable(SimpleNamespace(query=query))
    return table.between("us-east-1", "eu-west-1", AT.date(), AT.date())


A_DAY = {
    "samples": 2, "latency": 1.5, "p_50": 1.5, "min": 1.0, "max": 2.0, "loss_pct": 33.3,
    "failures": {"timeout": 1}, "methods": [METHOD_KERNEL], "first_sample": "00:00",
    "last_sample": "06:00", "network": "aws",
}  # fmt: skip

json_content = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    changed=st.dictionaries(st.sampled_from([*A_DAY]), json_content, max_size=3),
    missing=st.sets(st.sampled_from([*A_DAY]), max_size=2),
)
def test_any_day_of_history_is_a_day_or_an_item_error(
    changed: dict[str, Any], missing: set[str]
) -> None:
    good = {"pair": "us-east-1#eu-west-1", "month": "2026-11"}
    assert len(days_of({**good, "days": {"20": json.dumps(A_DAY)}})) == 1
    text = json.dumps({n: v for n, v in (A_DAY | changed).items() if n not in missing})
    try:
        days_of({**good, "days": {"20": text}})
    except ItemError as error:
        assert "us-east-1#eu-west-1/2026-11" in str(error)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    month=st.text(max_size=8) | st.just("2026-11"),
    days=st.none()
    | st.text(max_size=5)
    | st.dictionaries(st.text(min_size=1, max_size=3) | st.just("20"), st.none() | st.text()),
)
def test_any_month_of_history_is_its_days_or_an_item_error(month: str, days: Any) -> None:
    try:
        days_of({"pair": "us-east-1#eu-west-1", "month": month, "days": days})
    except ItemError as error:
        assert "us-east-1#eu-west-1" in str(error)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    name=st.sampled_from([setting.env for setting in TABLE]),
    value=st.text(max_size=20) | st.integers().map(str) | st.floats().map(str),
)
def test_any_setting_is_a_setting_or_a_setting_error(name: str, value: str) -> None:
    try:
        load({name: value})
    except SettingError as error:
        assert name in str(error) or "PROBE_" in str(error)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_bytes_are_a_distribution_or_a_value_error(data: st.DataObject) -> None:
    """Also those with a right checksum, which a broken writer would make."""
    header, _, planes = zlib.decompress(bytes(a_bucket()["data"])).partition(b"\n")
    fields = json.loads(header)
    changed = data.draw(st.sampled_from([*fields, "nothing"]))
    fields[changed] = data.draw(
        st.none() | st.integers(-5, 10) | st.floats(0, 5) | st.text(max_size=5)
        | st.lists(st.text(max_size=5), max_size=3)
    )  # fmt: skip
    numbers = bytearray(planes)
    for at in data.draw(st.lists(st.integers(0, len(numbers) - 1), max_size=4)):
        numbers[at] = data.draw(st.integers(0, 255))
    raw = json.dumps(fields).encode() + b"\n" + bytes(numbers)
    try:
        found = codec.decode(zlib.compress(raw))
    except ValueError:
        return
    assert len(found.units) == len(found.counts) == len(found.target)


def test_a_target_of_four_thousand_million_entries_takes_no_memory() -> None:
    header, _, planes = zlib.decompress(bytes(a_bucket()["data"])).partition(b"\n")
    numbers = bytearray(planes)
    numbers[len(numbers) // 4 * 3] = 255  # the highest byte of the first number
    with pytest.raises(ValueError, match="entries of targets where 2 belong"):
        codec.decode(zlib.compress(header + b"\n" + bytes(numbers)))
