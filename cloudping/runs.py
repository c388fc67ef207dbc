"""PingTest: what one probe run measured, its item, its table, and the view of one pair.

Pure records first, then the item schema, then the table; no other module knows the attribute
names. A run is one item, written once: HASH `region` (source), RANGE `timestamp` (scheduled time).

Item attributes:
  region, timestamp     the key: source region, scheduled time to the minute
  partition, interval_s, attempts, method, network, memory_mb, wall_ms, cpu_ms, lateness_ms,
  written_at            of the run, see `Run`
  expires_at            epoch seconds, only where a time to live is configured
  results               map of target region to
    host                only where it is not the catalogue's endpoint of that target
    ip                  addresses, in the order in which attempts took turns
    dns                 name lookup, ms
    ms                  list, one per attempt: the latency in ms, or null
    connect             list, one per attempt: user-space connect time in ms, or null
    rx                  map of attempt number to retransmitted SYNs, where there were any
    stall               map of attempt number to `stall_ms`, where the probe stood still meanwhile
    why                 map of attempt number to reason, for attempts without a latency
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from cloudping import dynamo
from cloudping.errors import ItemError
from cloudping.items import MAX_INTERVAL_S, Batch, Reader, is_number, read
from cloudping.regions import CATALOGUE, rtt_floor_ms
from cloudping.times import to_iso

# Why an attempt has no latency. A closed list, in three groups, since they count differently.
LOSS_REASONS: Final = (
    "dns_error",  # the name did not resolve
    "timeout",  # no answer in time
    "refused",  # RST or port unreachable
    "reset",  # the connection was reset while it was being set up
    "unreachable",  # ICMP host or net unreachable, prohibited, no route
    "retransmitted",  # it did connect, but a SYN was sent twice: a lost packet, no exact figure
)
NOT_MEASURED_REASONS: Final = (
    "local_error",  # the probe's own fault, e.g. no file descriptor left
    "not_tried",  # the run's deadline came first
)
FLAG_REASONS: Final = ("too_fast",)  # below what light in fibre allows; judged when read
REASONS: Final = LOSS_REASONS + NOT_MEASURED_REASONS + FLAG_REASONS

# How a run's latencies came to be; samples of different methods are never mixed unmarked.
METHOD_KERNEL: Final = "kernel-1"  # the kernel's SYN round trip (TCP_INFO), Linux
METHOD_CONNECT: Final = "connect-1"  # user-space time of connect(), where there is no TCP_INFO
METHOD_IMPORTED: Final = "original-1"  # imported from the original CloudPing, lookup included
METHODS: Final = (METHOD_KERNEL, METHOD_CONNECT, METHOD_IMPORTED)

# Where the latencies come from; the stored attribute is called `network`.
ORIGIN_AWS: Final = "aws"
ORIGIN_SIMULATED: Final = "simulated"  # `planet.py`, on a local installation
ORIGINS: Final = (ORIGIN_AWS, ORIGIN_SIMULATED)

# A run may take its deadline and its write; after a third interval without one it is silent.
SILENT_INTERVALS: Final = 3
GRACE: Final = timedelta(minutes=2)

# Far from what a probe does, near enough that no sum of it overflows.
MAX_ATTEMPTS: Final = 1000  # a target in a run
MAX_LATENCY_MS: Final = 1e6
MAX_RUN_MS: Final = 86_400_000.0


def combined_origin(origins: Iterable[str | None]) -> str | None:
    """Of what is made from several parts: simulated as soon as one is; None where there is none."""
    found = {origin for origin in origins if origin}
    if ORIGIN_SIMULATED in found:
        return ORIGIN_SIMULATED
    return ORIGIN_AWS if found else None


def is_silent(last: datetime, interval_s: int, now: datetime) -> bool:
    """Whether a source has let three intervals pass since its last run was due."""
    return now - last > SILENT_INTERVALS * timedelta(seconds=interval_s) + GRACE


@dataclass(frozen=True, slots=True)
class Attempt:
    """One TCP connect: a latency in ms, or the reason why there is none (never both).

    `connect_ms` is the user-space time beside it: also of a refusal or of a retransmitted
    connect; None when nothing came back. `stall_ms` is the longest time meanwhile in which the
    probe should have run and did not; 0 below what a loop takes for itself. It says how far the
    figure may be off, not what it is, so attempts are compared without it.
    """

    latency_ms: float | None
    connect_ms: float | None = None
    retransmits: int = 0
    reason: str | None = None
    stall_ms: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if (self.latency_ms is None) == (self.reason is None):
            raise ValueError(f"an attempt has a latency or a reason, not {self}")


@dataclass(frozen=True, slots=True)
class TargetResult:
    """All attempts of a run at one target.

    Attempt k went to `addresses[k % len(addresses)]`. `dns_ms` is None where nothing was
    looked up (an address was given).
    """

    host: str
    addresses: tuple[str, ...]
    dns_ms: float | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one source: what was measured and under which conditions.

    `timestamp` is the scheduled time, to the minute; `lateness_ms` is by how much the first
    connect came later. `interval_s` is the schedule that the run belongs to,
    `attempts_per_target` what was planned. `method` says how every latency of the run came to be.
    """

    region: str
    timestamp: datetime
    partition: str
    interval_s: int
    attempts_per_target: int
    method: str
    origin: str
    results: Mapping[str, TargetResult]
    memory_mb: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    lateness_ms: float = 0.0
    written_at: datetime | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One attempt as every reader sees it, after the sanity check: the only way into a figure."""

    region_from: str
    region_to: str
    timestamp: datetime
    attempt: int
    address: str | None
    latency_ms: float | None
    connect_ms: float | None
    retransmits: int
    reason: str | None
    method: str
    origin: str


def samples(run: Run, target: str | None = None) -> Iterator[Sample]:
    """The run's attempts, of one target or of all, with the light-speed check applied.

    A latency below `rtt_floor_ms` becomes the reason `too_fast`; the stored item keeps what was
    measured, so a corrected place corrects the figures at the next recomputation.
    """
    chosen = run.results if target is None else {target: run.results[target]}
    for code, result in chosen.items():
        floor_ms = rtt_floor_ms(run.region, code)
        for number, attempt in enumerate(result.attempts):
            latency_ms, reason = attempt.latency_ms, attempt.reason
            if latency_ms is not None and latency_ms < floor_ms:
                latency_ms, reason = None, "too_fast"
            yield Sample(
                region_from=run.region,
                region_to=code,
                timestamp=run.timestamp,
                attempt=number,
                address=result.addresses[number % len(result.addresses)]
                if result.addresses
                else None,
                latency_ms=latency_ms,
                connect_ms=attempt.connect_ms,
                retransmits=attempt.retransmits,
                reason=reason,
                method=run.method,
                origin=run.origin,
            )


def to_item(run: Run) -> dynamo.Item:
    """The PingTest item of a run; see the module's docstring."""
    item: dynamo.Item = {
        "region": run.region,
        "timestamp": to_iso(run.timestamp),
        "partition": run.partition,
        "interval_s": run.interval_s,
        "attempts": run.attempts_per_target,
        "method": run.method,
        "network": run.origin,
        "memory_mb": run.memory_mb,
        "wall_ms": dynamo.decimal(run.wall_ms, 1),
        "cpu_ms": dynamo.decimal(run.cpu_ms, 1),
        "lateness_ms": dynamo.decimal(run.lateness_ms, 1),
        "results": {target: _result_item(target, result) for target, result in run.results.items()},
    }
    if run.written_at is not None:
        item["written_at"] = to_iso(run.written_at)
    if run.expires_at is not None:
        item["expires_at"] = run.expires_at
    return item


def _result_item(target: str, result: TargetResult) -> dynamo.Item:
    item: dynamo.Item = {
        "ip": list(result.addresses),
        "ms": [_optional(attempt.latency_ms) for attempt in result.attempts],
        "connect": [_optional(attempt.connect_ms) for attempt in result.attempts],
    }
    if target not in CATALOGUE or CATALOGUE[target].endpoint != result.host:
        item["host"] = result.host
    if result.dns_ms is not None:
        item["dns"] = dynamo.decimal(result.dns_ms, 2)
    numbered = list(enumerate(result.attempts))
    if again := {str(k): a.retransmits for k, a in numbered if a.retransmits}:
        item["rx"] = again
    if stalls := {str(k): dynamo.decimal(a.stall_ms, 1) for k, a in numbered if a.stall_ms}:
        item["stall"] = stalls
    if why := {str(k): a.reason for k, a in numbered if a.reason is not None}:
        item["why"] = why
    return item


def _optional(value_ms: float | None) -> Decimal | None:
    return None if value_ms is None else dynamo.decimal(value_ms, 3)


def from_item(item: Mapping[str, Any], table: str = "PingTest") -> Run:
    """The run of a PingTest item; raises ItemError with key, attribute and value."""
    key = f"{item.get('region')}/{item.get('timestamp')}"
    get = Reader(item, table, key)
    written = item.get("written_at")
    return Run(
        region=get.text("region"),
        timestamp=get.moment("timestamp"),
        partition=get.text("partition"),
        interval_s=get.whole("interval_s", MAX_INTERVAL_S),
        attempts_per_target=get.whole("attempts", MAX_ATTEMPTS),
        method=get.text("method"),
        origin=get.one_of("network", ORIGINS),
        results={
            target: _result(Reader(content, table, f"{key} results.{target}"), target)
            for target, content in get.mapping("results").items()
        },
        memory_mb=get.whole("memory_mb"),
        wall_ms=get.number("wall_ms", MAX_RUN_MS),
        cpu_ms=get.number("cpu_ms", MAX_RUN_MS),
        lateness_ms=get.number("lateness_ms", least=-MAX_RUN_MS),
        written_at=None if written is None else get.moment("written_at"),
        expires_at=get.whole("expires_at") if "expires_at" in item else None,
    )


def to_json(run: Run) -> str:
    """The run's item on one line: what a probe logs before it writes."""
    return json.dumps(to_item(run), default=float, separators=(",", ":"))


def from_json(text: str) -> Run:
    """The inverse of `to_json`; raises ItemError, or ValueError where it is no JSON object."""
    item = json.loads(text, parse_float=Decimal)
    if not isinstance(item, dict):
        raise ValueError(f"a run is a JSON object, not {text[:80]!r}")
    return from_item(item, "log")


def _result(get: Reader, target: str) -> TargetResult:
    latencies = get.numbers("ms", MAX_LATENCY_MS)
    connects = get.numbers("connect", MAX_LATENCY_MS)
    if len(connects) != len(latencies):
        raise get.error("connect", f"as many entries as ms has ({len(latencies)})")
    again = get.mapping("rx", default={})
    why = get.mapping("why", default={})
    stalls = get.mapping("stall", default={})
    attempts = []
    for number, (latency_ms, connect_ms) in enumerate(zip(latencies, connects, strict=True)):
        reason = why.get(str(number))
        if (latency_ms is None) == (reason is None) or reason not in (None, *REASONS):
            raise get.error("why", f"a latency or a known reason for attempt {number}")
        retransmits = again.get(str(number), 0)
        if not is_number(retransmits) or not 0 <= retransmits <= MAX_ATTEMPTS:
            raise get.error("rx", "counts")
        stall_ms = stalls.get(str(number), 0)
        if not is_number(stall_ms) or not 0 <= stall_ms <= MAX_RUN_MS:
            raise get.error("stall", "milliseconds")
        attempts.append(Attempt(latency_ms, connect_ms, int(retransmits), reason, float(stall_ms)))
    host = CATALOGUE[target].endpoint if target in CATALOGUE else ""
    return TargetResult(
        host=get.text("host", default=host),
        addresses=tuple(get.texts("ip")),
        dns_ms=get.number("dns", MAX_LATENCY_MS) if get.has("dns") else None,
        attempts=tuple(attempts),
    )


@dataclass(frozen=True, slots=True)
class RunKey:
    """The key of a run in PingTest, and when it was written."""

    region: str
    timestamp: datetime
    written_at: datetime


@dataclass(slots=True)
class SamplePage:
    """Samples of a pair, oldest first; `cursor` asks for the next page, None on the last one."""

    samples: list[Sample] = field(default_factory=list)
    bad: list[ItemError] = field(default_factory=list)
    cursor: str | None = None


class RunTable:
    """PingTest: HASH `region` (source), RANGE `timestamp`; index by `region` and `written_at`."""

    NAME = "PingTest"
    WRITTEN_INDEX = "region-written_at-index"

    def __init__(self, client: Any, prefix: str = "") -> None:
        self._client = client
        self.name = prefix + self.NAME

    def put_once(self, run: Run) -> bool:
        """Writes the run unless its key is taken; False when an earlier run of the event won."""
        return dynamo.put_if(self._client, self.name, to_item(run), None)

    def between(self, region: str, start: datetime, end: datetime) -> Batch[Run]:
        """The source's runs with start <= timestamp <= end, oldest first, strongly consistent."""
        return self._query(region, start, end)

    def latest(self, region: str, before: datetime) -> Run | None:
        """The newest readable run at or before a moment (of the last ten items)."""
        epoch = before - timedelta(days=36500)
        for limit in (1, 10):  # ten cost ten times as much, and the newest is hardly ever bad
            batch = self._query(region, epoch, before, newest_first=True, limit=limit)
            if batch or not batch.bad:
                break
        return batch[0] if batch else None

    def first(self, region: str, after: datetime) -> Run | None:
        """The oldest readable run at or after a moment (of the next ten items)."""
        ahead = after + timedelta(days=36500)
        batch = self._query(region, after, ahead, limit=10)
        return batch[0] if batch else None

    def _query(
        self,
        region: str,
        start: datetime,
        end: datetime,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Batch[Run]:
        request: dict[str, Any] = {
            "KeyConditionExpression": "#region = :region AND #timestamp BETWEEN :start AND :end",
            "ExpressionAttributeNames": {"#region": "region", "#timestamp": "timestamp"},
            "ExpressionAttributeValues": {
                ":region": {"S": region},
                ":start": {"S": to_iso(start)},
                ":end": {"S": to_iso(end)},
            },
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
        }
        if limit is not None:
            request["Limit"] = limit
        found = dynamo.pages(self._client.query, self.name, **request)
        return read(islice(found, limit), lambda item: from_item(item, self.name))

    def written_since(self, region: str, moment: datetime) -> Batch[RunKey]:
        """Keys of the source's runs written at or after a moment, in the order of writing.

        Eventually consistent, as every index of its kind. A run without `written_at` is not in it.
        """
        items = dynamo.pages(
            self._client.query,
            self.name,
            IndexName=self.WRITTEN_INDEX,
            KeyConditionExpression="#region = :region AND #written_at >= :moment",
            ExpressionAttributeNames={"#region": "region", "#written_at": "written_at"},
            ExpressionAttributeValues={":region": {"S": region}, ":moment": {"S": to_iso(moment)}},
        )
        return read(items, lambda item: self._key(region, item))

    def _key(self, region: str, item: Mapping[str, Any]) -> RunKey:
        get = Reader(item, self.name, f"{region}/{item['timestamp']}")
        return RunKey(region, get.moment("timestamp"), get.moment("written_at"))

    def forget(self, region: str, before: datetime) -> int:
        """Deletes the source's runs of before a moment; returns how many there were."""
        items = dynamo.pages(
            self._client.query,
            self.name,
            KeyConditionExpression="#region = :region AND #timestamp < :before",
            ProjectionExpression="#region, #timestamp",
            ExpressionAttributeNames={"#region": "region", "#timestamp": "timestamp"},
            ExpressionAttributeValues={":region": {"S": region}, ":before": {"S": to_iso(before)}},
        )
        old = list(items)
        dynamo.write_batches(self._client, self.name, deleted=old)
        return len(old)

    def page(
        self,
        region_from: str,
        region_to: str,
        start: datetime,
        end: datetime,
        limit: int = 288,
        cursor: str | None = None,
    ) -> SamplePage:
        """The pair's samples of up to `limit` runs with start <= timestamp <= end.

        `cursor` is that of the page before. Only the pair's part of each run is transferred;
        DynamoDB charges for the whole. Eventually consistent.
        """
        of_run = ("timestamp", "partition", "interval_s", "attempts", "method", "network",
                  "memory_mb", "wall_ms", "cpu_ms", "lateness_ms")  # fmt: skip
        names = {"#region": "region", "#results": "results", "#to": region_to}
        names |= {f"#{name}": name for name in of_run}
        items = dynamo.pages(
            self._client.query,
            self.name,
            KeyConditionExpression="#region = :region AND #timestamp BETWEEN :start AND :end",
            ProjectionExpression=", ".join(["#region", "#results.#to", *(f"#{n}" for n in of_run)]),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={
                ":region": {"S": region_from},
                ":start": {"S": cursor or to_iso(start)},
                ":end": {"S": to_iso(end)},
            },
            Limit=limit + 1,
        )
        page = SamplePage()
        for count, item in enumerate(items):
            if count == limit:
                page.cursor = item["timestamp"]
                break
            if "results" not in item:  # this run did not measure the target
                continue
            try:
                page.samples.extend(samples(from_item(item, self.name), region_to))
            except ItemError as error:
                page.bad.append(error)
        return page
