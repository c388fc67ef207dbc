"""Distributions of latencies: exact counts that merge by adding, their codec, figures and table.

A `Distribution` holds, for each target of one source and one stretch of time, how often each
latency was seen at 0.01 ms, and what there was instead of a latency. Percentiles of merged
distributions are those of all their samples, so hours make days, days make months, and any of
them make a window. Pure computing first, then the item schema, then the table.

`cloudping_distributions`: HASH `region` (source), RANGE `bucket`:
  bucket                level and start: `H#2026-11-20T06`, `D#2026-11-20`, `M#2026-11`; then
                        `#METHOD` unless it is `kernel-1`, and `#NETWORK` unless it is `aws`, e.g.
                        `H#2026-11-20T06#original-1`: a bucket holds one method and one network.
                        All buckets from A to B lie between `A` and `B~`
  version               of the codec of `data`
  method, network       of every sample in it
  runs, scheduled_runs  of the source: made, and due by the schedule
  data                  binary: `encode`
  digest                of the content; a writer names the one that it means to replace
  updated_at

and one item a source with the bucket `state`: how far the aggregator has come (`State`).
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloudping import dynamo
from cloudping.errors import ItemError, StoreError
from cloudping.runs import (
    FLAG_REASONS,
    LOSS_REASONS,
    METHOD_KERNEL,
    NETWORK_AWS,
    REASONS,
)
from cloudping.summaries import PERCENTILES, Figures
from cloudping.times import from_iso, to_iso

UNITS_PER_MS: Final = 100  # the resolution at which latencies are counted: 0.01 ms
VERSION: Final = 1

Ints = npt.NDArray[np.int64]

_LOST: Final = [REASONS.index(reason) for reason in LOSS_REASONS]
_FLAGGED: Final = [REASONS.index(reason) for reason in FLAG_REASONS]


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Counts by latency for T targets: columns of N entries, sorted by target, then latency.

    targets         T region codes, ascending
    target          N, index into `targets`
    units           N, latency in units of 0.01 ms, each once per target
    counts          N, how often it was seen, at least 1
    failures        T x len(REASONS), attempts without a latency
    scheduled       T, attempts that the schedule asked for
    first_s, last_s T, scheduled time (epoch seconds) of the oldest and newest run with a latency;
                    0 where there is none
    runs, scheduled_runs
                    of the source: made, and due by the schedule
    until_s         the newest scheduled time, epoch seconds, that it accounts for: of a run that
                    was made, or of one that was due and did not come; 0 where there is none
    """

    targets: tuple[str, ...]
    target: Ints
    units: Ints
    counts: Ints
    failures: Ints
    scheduled: Ints
    first_s: Ints
    last_s: Ints
    runs: int = 0
    scheduled_runs: int = 0
    until_s: int = 0

    def samples(self) -> Ints:
        """n of each target, T."""
        return _per_target(self.target, self.counts, len(self.targets))

    def only(self, target: str) -> "Distribution":
        """The part of one target; without any target when this one is not in it."""
        if target not in self.targets:
            return merge([])
        at = self.targets.index(target)
        entries = slice(*np.searchsorted(self.target, [at, at + 1]))
        return Distribution(
            targets=(target,),
            target=np.zeros_like(self.target[entries]),
            units=self.units[entries],
            counts=self.counts[entries],
            failures=self.failures[at : at + 1],
            scheduled=self.scheduled[at : at + 1],
            first_s=self.first_s[at : at + 1],
            last_s=self.last_s[at : at + 1],
            runs=self.runs,
            scheduled_runs=self.scheduled_runs,
            until_s=self.until_s,
        )


def _per_target(target: Ints, weights: Ints, number: int) -> Ints:
    """Exact integer sums by target."""
    sums = np.zeros(number, np.int64)
    np.add.at(sums, target, weights)
    return sums


def from_attempts(
    targets: Sequence[str],
    target: npt.ArrayLike,
    latency_ms: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    reason: npt.ArrayLike | None = None,
    scheduled: npt.ArrayLike | None = None,
    runs: int = 0,
    scheduled_runs: int | None = None,
    until_s: int | None = None,
) -> Distribution:
    """A distribution from one row per attempt, in any order.

    targets         T region codes, in any order
    target          N, index into `targets`
    latency_ms      N, NaN where there is none; rounded to 0.01 ms
    time_s          N (or one for all), the run's scheduled time in epoch seconds
    reason          N, index into `runs.REASONS` where there is no latency; else, or where it is
                    left out, a lost attempt is a `timeout`
    scheduled       T, attempts that were due; left out: as many as were made
    runs, scheduled_runs
                    made by the source, and due (left out: as many as were made)
    until_s         see `Distribution`; left out: the newest of `time_s`
    """
    order = np.argsort(np.asarray(targets, dtype=str), kind="stable")
    rank = np.empty(len(targets), np.int64)
    rank[order] = np.arange(len(targets))
    number = len(targets)
    at = rank[np.asarray(target, np.int64)]
    latency = np.asarray(latency_ms, np.float64)
    times = np.broadcast_to(np.asarray(time_s, np.int64), at.shape)
    known = ~np.isnan(latency)

    units = np.rint(latency[known] * UNITS_PER_MS).astype(np.int64)
    keys, counts = np.unique(at[known] << 32 | units, return_counts=True)

    why = (
        np.full(at.shape, REASONS.index("timeout"))
        if reason is None
        else np.asarray(reason, np.int64)
    )[~known]
    failures = np.zeros((number, len(REASONS)), np.int64)
    np.add.at(failures, (at[~known], why), 1)

    never = np.iinfo(np.int64).max
    first = np.full(number, never)
    np.minimum.at(first, at[known], times[known])
    last = np.zeros(number, np.int64)
    np.maximum.at(last, at[known], times[known])

    due = np.bincount(at, minlength=number) if scheduled is None else np.asarray(scheduled)[order]
    return Distribution(
        targets=tuple(targets[k] for k in order),
        target=keys >> 32,
        units=keys & 0xFFFFFFFF,
        counts=counts.astype(np.int64),
        failures=failures,
        scheduled=due.astype(np.int64),
        first_s=np.where(first == never, 0, first),
        last_s=last,
        runs=runs,
        scheduled_runs=runs if scheduled_runs is None else scheduled_runs,
        until_s=int(times.max(initial=0)) if until_s is None else until_s,
    )


def merge(parts: Iterable[Distribution]) -> Distribution:
    """The distribution of all samples of the parts; the order of the parts does not matter."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    targets = tuple(sorted({code for part in parts for code in part.targets}))
    rank = {code: k for k, code in enumerate(targets)}
    number = len(targets)
    failures = np.zeros((number, len(REASONS)), np.int64)
    scheduled, first, last = (np.zeros(number, np.int64) for _ in range(3))
    keys: list[Ints] = [np.empty(0, np.int64)]
    counts: list[Ints] = [np.empty(0, np.int64)]
    for part in parts:
        at = np.array([rank[code] for code in part.targets], np.int64)
        keys.append(at[part.target] << 32 | part.units)
        counts.append(part.counts)
        failures[at] += part.failures
        scheduled[at] += part.scheduled
        last[at] = np.maximum(last[at], part.last_s)
        # 0 means none, so it must not win the minimum.
        both = np.minimum(first[at], part.first_s)
        first[at] = np.where(both == 0, np.maximum(first[at], part.first_s), both)
    joined, joined_counts = np.concatenate(keys), np.concatenate(counts)
    order = np.argsort(joined, kind="stable")
    joined, joined_counts = joined[order], joined_counts[order]
    starts = np.flatnonzero(np.diff(joined, prepend=-1))
    unique = joined[starts]
    return Distribution(
        targets=targets,
        target=unique >> 32,
        units=unique & 0xFFFFFFFF,
        counts=np.add.reduceat(joined_counts, starts) if len(starts) else joined_counts,
        failures=failures,
        scheduled=scheduled,
        first_s=first,
        last_s=last,
        runs=sum(part.runs for part in parts),
        scheduled_runs=sum(part.scheduled_runs for part in parts),
        until_s=max((part.until_s for part in parts), default=0),
    )


def encode(distribution: Distribution) -> bytes:
    """Lossless bytes: zlib over `_pack`."""
    return zlib.compress(_pack(distribution), 9)


def digest(distribution: Distribution) -> str:
    """A fingerprint of the content, whichever zlib stores it."""
    return blake2b(_pack(distribution), digest_size=8).hexdigest()


def _pack(distribution: Distribution) -> bytes:
    """The same bytes for the same content.

    A JSON header, a line feed, and all columns as one array of 32-bit numbers, stored
    byte plane by byte plane: the entries of each target, latencies (as differences within a
    target), counts less 1, failures, scheduled, first, last. Most high bytes are 0, which is what
    makes it small.
    """
    d = distribution
    entries = np.bincount(d.target, minlength=len(d.targets))
    steps = np.diff(d.units, prepend=0)
    starts = (np.cumsum(entries) - entries)[entries > 0]
    steps[starts] = d.units[starts]
    columns = np.concatenate(
        [entries, steps, d.counts - 1, d.failures.T.ravel(), d.scheduled, d.first_s, d.last_s]
    )
    header = {
        "targets": d.targets,
        "reasons": REASONS,
        "entries": len(d.units),
        "runs": d.runs,
        "scheduled_runs": d.scheduled_runs,
        "until_s": d.until_s,
    }
    planes: bytes = columns.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + planes


def decode(data: bytes) -> Distribution:
    """The inverse of `encode`; raises ValueError for anything else."""
    try:
        header, _, planes = zlib.decompress(data).partition(b"\n")
        content = json.loads(header)
        columns = np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<u4").ravel()
        targets, reasons = tuple(content["targets"]), content["reasons"]
        n, t = content["entries"], len(targets)
        lengths = [t, n, n, t * len(reasons), t, t, t]
        if sum(lengths) != len(columns):
            raise ValueError(f"{len(columns)} numbers where {sum(lengths)} belong")
        entries, steps, counts, why, scheduled, first, last = np.split(
            columns.astype(np.int64), np.cumsum(lengths)[:-1]
        )
        if entries.sum() != n:
            raise ValueError(f"{entries.sum()} entries of targets where {n} belong")
        of_source = {name: int(content[name]) for name in ("runs", "scheduled_runs", "until_s")}
        places = [REASONS.index(reason) for reason in reasons]
    except (zlib.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an encoded distribution: {error}") from error
    target = np.repeat(np.arange(t), entries)
    total = np.cumsum(steps)
    before = np.concatenate([[0], total])[np.cumsum(entries) - entries]
    failures = np.zeros((t, len(REASONS)), np.int64)
    failures[:, places] = why.reshape(len(reasons), t).T
    return Distribution(
        targets=targets,
        target=target,
        units=total - before[target],
        counts=counts + 1,
        failures=failures,
        scheduled=scheduled,
        first_s=first,
        last_s=last,
        **of_source,
    )


def minimum_samples(p: float) -> int:
    """How many samples the p-th percentile needs: as many as leave one, on average, beyond it.

    With fewer, the figure is made of nothing but the extreme value: P99 needs 100, P95 20, P90 10,
    P75 4, the median 2. See docs/method.md.
    """
    return round(100 / min(p, 100 - p))


def percentiles(distribution: Distribution, ps: Sequence[float]) -> npt.NDArray[np.float64]:
    """T x len(ps), in ms: what `numpy.percentile` gives for the samples of each target.

    Bit for bit, without expanding the counts; NaN where a target has no sample.
    """
    n = distribution.samples()[:, None]
    result: npt.NDArray[np.float64] = np.full((len(n), len(ps)), np.nan)
    if not len(distribution.counts):
        return result
    # numpy's default, "linear" (type 7 of Hyndman and Fan, 1996): between the two samples around
    # the rank (n - 1) p / 100.
    rank = np.maximum(n - 1, 0) * (np.asarray(ps, np.float64) / 100)
    below = np.floor(rank).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(n - 1, 0))
    cumulative = np.cumsum(distribution.counts)
    start = np.cumsum(n, axis=0) - n
    last = len(cumulative) - 1
    values = distribution.units / UNITS_PER_MS

    def sample(position: Ints) -> npt.NDArray[np.float64]:
        found = np.searchsorted(cumulative, start + position, "right")
        return np.take(values, np.minimum(found, last))

    a, b, t = sample(below), sample(above), rank - below
    # The two forms of the same line that numpy takes turns with, so that rounding agrees too.
    line = np.where(t >= 0.5, b - (b - a) * (1 - t), a + (b - a) * t)
    result[:] = np.where(n > 0, line, np.nan)
    return result


def figures(buckets: Sequence["Bucket"]) -> dict[str, Figures]:
    """The figures of every target over all samples of the buckets; formulas in docs/method.md."""
    whole = merge(bucket.distribution for bucket in buckets)
    methods = defaultdict(set)
    for bucket in buckets:
        for at in np.unique(bucket.distribution.target):
            methods[bucket.distribution.targets[at]].add(bucket.method)
    n = whole.samples()
    values = whole.units / UNITS_PER_MS
    number = len(whole.targets)
    some = np.maximum(n, 1)
    # Exact sums of whole units, so that the order of merging cannot matter.
    mean = _per_target(whole.target, whole.units * whole.counts, number) / some / UNITS_PER_MS
    squares = np.zeros(number)
    np.add.at(squares, whole.target, whole.counts * (values - mean[whole.target]) ** 2)
    stddev = np.sqrt(squares / some)
    starts = np.searchsorted(whole.target, np.arange(number))
    ends = np.searchsorted(whole.target, np.arange(number), "right") - 1
    at_p = percentiles(whole, PERCENTILES)
    lost = whole.failures[:, _LOST].sum(axis=1)
    attempted = n + lost + whole.failures[:, _FLAGGED].sum(axis=1)
    result = {}
    for k, code in enumerate(whole.targets):
        count = int(n[k])
        result[code] = Figures(
            samples=count,
            mean=float(mean[k]) if count else None,
            stddev=float(stddev[k]) if count > 1 else None,
            min=float(values[starts[k]]) if count else None,
            max=float(values[ends[k]]) if count else None,
            percentiles={
                p: float(at_p[k, j])
                for j, p in enumerate(PERCENTILES)
                if count >= minimum_samples(p)
            },
            failures={
                reason: int(many)
                for reason, many in zip(REASONS, whole.failures[k], strict=True)
                if many
            },
            loss_pct=float(100 * lost[k] / (count + lost[k])) if count + lost[k] else None,
            coverage_pct=float(100 * attempted[k] / whole.scheduled[k])
            if whole.scheduled[k]
            else None,
            first_sample=_moment(whole.first_s[k]),
            last_sample=_moment(whole.last_s[k]),
            methods=tuple(sorted(methods[code])),
        )
    return result


def _moment(seconds: np.int64) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


# Levels, from fine to coarse, with how the start is written in a bucket's key.
HOUR: Final = "H"
DAY: Final = "D"
MONTH: Final = "M"
_START_FORMAT: Final = {HOUR: "%Y-%m-%dT%H", DAY: "%Y-%m-%d", MONTH: "%Y-%m"}


def floor(level: str, moment: datetime) -> datetime:
    """The start of the hour, UTC day or UTC month that a moment is in."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if level == HOUR:
        return start
    return start.replace(hour=0) if level == DAY else start.replace(hour=0, day=1)


def following(level: str, start: datetime) -> datetime:
    """The start of the next hour, day or month."""
    if level == MONTH:
        return floor(MONTH, start + timedelta(days=31))
    return start + (timedelta(hours=1) if level == HOUR else timedelta(days=1))


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """What one source saw in one hour, UTC day or UTC month, by one method on one network.

    `stored_digest` is that of the item that it was read from.
    """

    region: str
    level: str
    start: datetime
    method: str
    network: str
    distribution: Distribution
    stored_digest: str = ""

    @property
    def end(self) -> datetime:
        return following(self.level, self.start)


def networks(buckets: Iterable[Bucket]) -> str:
    """`simulated` as soon as anything in it is, so that it is marked wherever it is shown."""
    return max((bucket.network for bucket in buckets), default=NETWORK_AWS)


def series(buckets: Iterable[Bucket], target: str) -> list[tuple[datetime, Figures]]:
    """The figures of one target for each start, oldest first; where it was not due, nothing."""
    by_start = defaultdict(list)
    for bucket in buckets:
        part = bucket.distribution.only(target)
        by_start[bucket.start].append(
            Bucket(bucket.region, bucket.level, bucket.start, bucket.method, bucket.network, part)
        )
    return [
        (start, found[target])
        for start, group in sorted(by_start.items())
        if target in (found := figures(group))
    ]


@dataclass(frozen=True, slots=True)
class State:
    """How far the aggregator has come with a source.

    Runs written until `watermark` are in the buckets, and all that was due by `rolled_until` was
    rolled up and summed. `earliest` is the start of its oldest bucket. `written` fingerprints what
    was last written of each timeframe. `revision` counts the writes; a writer names the one that
    it has read.
    """

    region: str
    watermark: datetime
    rolled_until: datetime
    earliest: datetime | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0


STATE_BUCKET: Final = "state"  # sorts after every level, so that no range of buckets meets it


def key(level: str, start: datetime, method: str, network: str) -> str:
    """The RANGE key of a bucket; see the module's docstring."""
    parts = [level, start.strftime(_START_FORMAT[level])]
    parts += [method] if method != METHOD_KERNEL else []
    parts += [network] if network != NETWORK_AWS else []
    return "#".join(parts)


def to_item(bucket: Bucket, updated_at: datetime) -> dynamo.Item:
    return {
        "region": bucket.region,
        "bucket": key(bucket.level, bucket.start, bucket.method, bucket.network),
        "version": VERSION,
        "method": bucket.method,
        "network": bucket.network,
        "runs": bucket.distribution.runs,
        "scheduled_runs": bucket.distribution.scheduled_runs,
        "data": encode(bucket.distribution),
        "digest": digest(bucket.distribution),
        "updated_at": to_iso(updated_at),
    }


def from_item(item: Mapping[str, Any], table: str = "cloudping_distributions") -> Bucket:
    """The bucket of an item; raises ItemError with key, attribute and value."""
    attribute = "bucket"
    expected = "a value as distributions.py writes it"
    try:
        level, start = item["bucket"].split("#")[:2]
        moment = datetime.strptime(start, _START_FORMAT[level]).replace(tzinfo=UTC)
        if item[attribute := "version"] != VERSION:
            expected = f"version {VERSION}; a newer CloudPing wrote it"
            raise ValueError
        return Bucket(
            region=item[attribute := "region"],
            level=level,
            start=moment,
            method=item[attribute := "method"],
            network=item[attribute := "network"],
            distribution=decode(bytes(item[attribute := "data"])),
            stored_digest=item[attribute := "digest"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ItemError(
            table,
            f"{item.get('region')}/{item.get('bucket')}",
            attribute,
            item.get(attribute),
            expected,
        ) from error


class DistributionTable:
    """`cloudping_distributions`: HASH `region`, RANGE `bucket`."""

    NAME = "cloudping_distributions"

    def __init__(self, client: Any, prefix: str = "") -> None:
        self._client = client
        self.name = prefix + self.NAME

    def between(
        self, region: str, level: str, first: datetime, last: datetime, *, consistent: bool = False
    ) -> list[Bucket]:
        """The source's buckets of a level whose start is from `first` to `last`, oldest first."""
        low, high = (moment.strftime(_START_FORMAT[level]) for moment in (first, last))
        items = dynamo.pages(
            self._client.query,
            self.name,
            KeyConditionExpression="#region = :region AND #bucket BETWEEN :first AND :last",
            ExpressionAttributeNames={"#region": "region", "#bucket": "bucket"},
            ExpressionAttributeValues={
                ":region": {"S": region},
                ":first": {"S": f"{level}#{low}"},
                ":last": {"S": f"{level}#{high}~"},
            },
            ConsistentRead=consistent,
        )
        return [from_item(item, self.name) for item in items]

    def replace(self, bucket: Bucket, read: Bucket | None, updated_at: datetime) -> bool:
        """Writes a bucket in place of the one that was read; False if it has changed since.

        So a slow writer cannot put an older count over a newer one.
        """
        condition, names, values = "attribute_not_exists(#region)", {"#region": "region"}, {}
        if read is not None:
            condition, names = "#digest = :read", {"#digest": "digest"}
            values = {":read": {"S": read.stored_digest}}
        return self._put(to_item(bucket, updated_at), condition, names, values)

    def write(self, buckets: Iterable[Bucket], updated_at: datetime) -> None:
        """Writes buckets in batches, without a look at what is there: for a new table."""
        dynamo.write_batches(
            self._client, self.name, (to_item(bucket, updated_at) for bucket in buckets)
        )

    def state(self, region: str) -> State | None:
        with dynamo.translated(self.name, "get_item"):
            answer = self._client.get_item(
                TableName=self.name,
                Key={"region": {"S": region}, "bucket": {"S": STATE_BUCKET}},
                ConsistentRead=True,
            )
        if "Item" not in answer:
            return None
        item = dynamo.from_wire(answer["Item"])
        return State(
            region=region,
            watermark=from_iso(item["watermark"]),
            rolled_until=from_iso(item["rolled_until"]),
            earliest=from_iso(item["earliest"]) if "earliest" in item else None,
            written=item["written"],
            revision=int(item["revision"]),
        )

    def put_state(self, state: State, read: State | None) -> bool:
        """Writes the state in place of the one that was read; False if it has changed since."""
        item: dynamo.Item = {
            "region": state.region,
            "bucket": STATE_BUCKET,
            "watermark": to_iso(state.watermark),
            "rolled_until": to_iso(state.rolled_until),
            "written": dict(state.written),
            "revision": 1 if read is None else read.revision + 1,
        }
        if state.earliest is not None:
            item["earliest"] = to_iso(state.earliest)
        condition, names, values = "attribute_not_exists(#region)", {"#region": "region"}, {}
        if read is not None:
            condition, names = "#revision = :read", {"#revision": "revision"}
            values = {":read": {"N": str(read.revision)}}
        return self._put(item, condition, names, values)

    def _put(
        self,
        item: dynamo.Item,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> bool:
        request: dict[str, Any] = {
            "TableName": self.name,
            "Item": dynamo.to_wire(item),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names,
        }
        if values:
            request["ExpressionAttributeValues"] = values
        try:
            with dynamo.translated(self.name, "put_item"):
                self._client.put_item(**request)
        except StoreError as error:
            if dynamo.is_condition_failure(error):
                return False
            raise
        return True
