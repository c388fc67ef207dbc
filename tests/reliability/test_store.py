"""Tables that throttle, fail, answer in part or not at all: nothing measured is lost."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from chalicelib import probe_run

from cloudping import dynamo
from cloudping.errors import StoreError
from cloudping.regions import RegionTable
from cloudping.runs import RunTable
from cloudping.settings import PROBE_STORE_S
from cloudping.summaries import PERCENTILES
from cloudping.times import floor_hour, to_iso, utc_now
from infra.aws.installation import PROBES
from infra.commands.recover import put_missing
from tests.conftest import HOME_REGION
from tests.reliability import verify
from tests.reliability.conftest import (
    SOURCE,
    TARGETS,
    Answer,
    Fault,
    Pipeline,
    answered,
    failing,
    garbage,
    settings_of,
    throttled,
    unreachable,
)

MINUTE = timedelta(minutes=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# Long over, so that nothing here depends on the time of day.
WHEN = floor_hour(utc_now()) - timedelta(hours=30)


def first(times: int, fault: Fault) -> Fault:
    """The fault, so many times."""
    left = [times]

    def only_first(request: Any) -> Answer:
        left[0] -= 1
        return fault(request) if left[0] >= 0 else None

    return only_first


def recover(pipeline: Pipeline) -> int:
    """What `infra recover` does with the probes' log; how many runs it put back."""
    return put_missing(RunTable(pipeline.wire.client), pipeline.log, LONG_AGO, utc_now()).put


def compare(pipeline: Pipeline) -> verify.Report:
    """All tables against the log."""
    return verify.compare(pipeline.wire.client, verify.logged_runs(pipeline.log))


def test_a_write_that_fails_twice_is_tried_a_third_time(pipeline: Pipeline) -> None:
    for k, fault in enumerate((throttled, failing, unreachable)):
        moment = WHEN + 5 * k * MINUTE
        pipeline.wire.faults["PutItem"] = first(2, fault)
        pipeline.wire.met.clear()
        assert pipeline.probe(moment)["written"]
        assert pipeline.wire.met["PutItem"] == 3
        assert len(pipeline.runs(moment, moment)) == 1


def test_a_write_that_fails_for_good_is_raised_and_its_run_recovered(pipeline: Pipeline) -> None:
    for k, fault in enumerate((throttled, failing, unreachable)):
        moment = WHEN + 5 * k * MINUTE
        pipeline.wire.faults["PutItem"] = fault
        with pytest.raises(StoreError, match="put_item on table PingTest failed"):
            pipeline.probe(moment)  # so that Lambda tries again and counts an error
        pipeline.wire.faults.clear()
        assert pipeline.runs(moment, moment) == []
        assert [recover(pipeline), recover(pipeline)] == [1, 0]
        (run,) = pipeline.runs(moment, moment)
        (logged,) = verify.logged_runs(pipeline.log)[run.region, moment]
        assert run.results == logged.results


def test_a_write_whose_answer_is_lost_is_there_once(pipeline: Pipeline) -> None:
    """botocore writes again, and the condition meets the first write."""
    other = dynamo.client(HOME_REGION)

    def done_but_lost(request: Any) -> Answer:
        pipeline.wire.faults.clear()
        other.put_item(TableName="PingTest", Item=json.loads(request.body)["Item"])
        raise ReadTimeoutError(endpoint_url=request.url)

    pipeline.wire.faults["PutItem"] = done_but_lost
    pipeline.probe(WHEN)
    assert pipeline.said == ["run", "discarded"]
    assert recover(pipeline) == 0
    pipeline.aggregate(utc_now())
    report = compare(pipeline)
    assert report.is_clean, report


@pytest.mark.parametrize(
    ("lasting", "runs"),
    [("a run", 1), ("an hour", 12), pytest.param("a day", 288, marks=pytest.mark.slow)],
)
def test_home_is_unreachable_for(pipeline: Pipeline, lasting: str, runs: int) -> None:
    """The probes go on measuring; what they could not write comes back with its figures."""
    began = utc_now()
    for k in range(2):
        pipeline.probe(WHEN + 5 * k * MINUTE)
    pipeline.aggregate(began)
    pipeline.wire.faults[""] = unreachable
    for k in range(2, runs + 2):
        with pytest.raises(StoreError, match="Connect timeout"):
            pipeline.probe(WHEN + 5 * k * MINUTE)
    with pytest.raises(StoreError):
        pipeline.aggregate(began + MINUTE)
    pipeline.wire.faults.clear()
    before = compare(pipeline)
    assert len([what for what in before.lost if what.startswith("run of")]) == runs
    assert recover(pipeline) == runs
    assert recover(pipeline) == 0
    pipeline.aggregate(utc_now())
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.events == runs + 2


def test_batches_that_are_partly_unprocessed_give_the_same_tables(pipeline: Pipeline) -> None:
    """Half of each batch is left by DynamoDB, five times out of six."""
    met = []
    other = dynamo.client(HOME_REGION)

    def in_part(request: Any) -> Answer:
        met.append(request)
        if len(met) % 6 == 0:
            return None
        asked = json.loads(request.body)["RequestItems"]
        ((table, requests),) = asked.items()
        half = len(requests) // 2
        if half:
            other.batch_write_item(RequestItems={table: requests[:half]})
        left = json.dumps({"UnprocessedItems": {table: requests[half:]}})
        return answered(200, left)

    for k in range(30):
        pipeline.probe(WHEN + 5 * k * MINUTE)
    pipeline.wire.faults["BatchWriteItem"] = in_part
    assert not pipeline.aggregate(utc_now())["failed"]
    assert len(met) > 10
    report = compare(pipeline)
    assert report.is_clean, report
    assert report.percentiles == len(("1W", "1M", "1Y")) * len(TARGETS) * len(PERCENTILES)


def test_an_aggregator_that_cannot_read_says_so_and_the_next_is_right(pipeline: Pipeline) -> None:
    for k in range(12):
        pipeline.probe(WHEN + 5 * k * MINUTE)
    began = utc_now()
    for fault in (throttled, failing, unreachable, garbage):
        pipeline.wire.faults["Query"] = fault
        report = pipeline.aggregate(began)
        assert "PingTest" in report["failed"][SOURCE]
    pipeline.wire.faults.clear()
    assert not pipeline.aggregate(began + MINUTE)["failed"]
    found = compare(pipeline)
    assert found.is_clean, found


def test_an_answer_that_is_none_of_dynamodbs_is_no_empty_table(pipeline: Pipeline) -> None:
    pipeline.wire.faults["Query"] = garbage
    with pytest.raises(StoreError, match="the answer is none of DynamoDB's"):
        RegionTable(pipeline.wire.client).targets()


def test_the_patience_with_home_leaves_time_to_measure_and_to_log() -> None:
    """Twice all attempts and the pauses between them, and the measuring, within Lambda's time."""
    settings = settings_of()
    config = probe_run.client.__wrapped__(settings).meta.config

    def longest_s(attempts: int, timeout_s: float) -> float:
        # botocore's standard mode pauses for up to 1, 2, 4, … s (botocore.retries.standard).
        return attempts * timeout_s + sum(2.0**k for k in range(attempts - 1))

    once_s = longest_s(
        config.retries["total_max_attempts"], max(config.connect_timeout, config.read_timeout)
    )
    secret_s = longest_s(probe_run.SECRET_ATTEMPTS, probe_run.SECRET_TIMEOUT_S)
    assert 2 * once_s + secret_s < PROBE_STORE_S
    assert settings.probe_deadline_s + PROBE_STORE_S <= PROBES.timeout_s


@pytest.fixture
def mute() -> Iterator[str]:
    """A home that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as sock:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.slow
def test_a_home_that_never_answers_costs_the_writing_only(
    mute: str, capsys: pytest.CaptureFixture[str]
) -> None:
    probe_run.client.cache_clear()
    began = monotonic()
    with pytest.raises(StoreError, match="put_item on table PingTest failed: Read timeout"):
        probe_run.run(to_iso(WHEN), settings_of(AWS_ENDPOINT_URL=mute))
    assert monotonic() - began < PROBES.timeout_s - settings_of().probe_deadline_s
    assert len(verify.logged_runs(capsys.readouterr().out.splitlines())) == 1
