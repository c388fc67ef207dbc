"""Stored distributions: one bucket a source, period, method and origin; item schema and table.

`cloudping_distributions`: HASH `region` (source), RANGE `bucket`:
  bucket                level and start: `H#2026-11-20T06`, `D#2026-11-20`, `M#2026-11`; then
                        `#METHOD` unless it is `kernel-1`, and `#ORIGIN` unless it is `aws`, e.g.
                        `H#2026-11-20T06#original-1`: a bucket holds one method and one origin.
                        All buckets from A to B lie between `A` and `B~`
  version               of the codec of `data`
  method, network       of every sample in it
  runs, scheduled_runs  of the source: made, and due by the schedule
  data                  binary: `encode`
  digest                of the content; a writer names the one that it means to replace
  updated_at

and one item a source with the bucket `state`: how far the aggregator has come (`Checkpoint`).
  watermark, rolled_until, earliest, written, revision, resume, refused, refused_runs, updated_at
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from cloudping import dynamo
from cloudping.codec import VERSION, decode, digest, encode
from cloudping.distribution import Distribution
from cloudping.errors import NewerError
from cloudping.items import Batch, Reader, read
from cloudping.periods import START_FORMAT, following
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, ORIGINS, combined_origin
from cloudping.times import to_iso


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """What one source saw in one hour, UTC day or UTC month, by one method, of one origin.

    `stored_digest` is that of the item that it was read from.
    """

    region: str
    level: str
    start: datetime
    method: str
    origin: str
    distribution: Distribution
    stored_digest: str = ""

    @property
    def end(self) -> datetime:
        return following(self.level, self.start)


def origin_of(buckets: Iterable[Bucket]) -> str:
    """Of what is made from the buckets; see `runs.combined_origin`."""
    return combined_origin(bucket.origin for bucket in buckets) or ORIGIN_AWS


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A pass that was cut off: it `began`, and its work up to and with the hour `done` is done."""

    began: datetime
    done: datetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the aggregator has come with a source.

    Runs written until `ingested_until` are in the buckets (stored as `watermark`), and all that was
    due by `rolled_until` was rolled up and summed. `seen` are the last of these runs, timestamp to
    `written_at`: they are found again where the last minutes are asked for again. `earliest` is the
    start of its oldest bucket. `written` fingerprints what was last written of each timeframe.
    `unfinished` says where a pass over much work goes on (stored as `resume`). `refused` holds the
    last runs that were refused, by key, with the reason; `refused_runs` counts all. `revision`
    counts the writes; a writer names the one that it has read. `updated_at` is when it was written.
    """

    region: str
    ingested_until: datetime
    rolled_until: datetime
    earliest: datetime | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    unfinished: Unfinished | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    refused_runs: int = 0
    seen: Mapping[str, str] = field(default_factory=dict)
    updated_at: datetime | None = None


STATE_BUCKET: Final = "state"  # sorts after every level, so that no range of buckets meets it


def key(level: str, start: datetime, method: str, origin: str) -> str:
    """The RANGE key of a bucket; see the module's docstring."""
    parts = [level, start.strftime(START_FORMAT[level])]
    parts += [method] if method != METHOD_KERNEL else []
    parts += [origin] if origin != ORIGIN_AWS else []
    return "#".join(parts)


def to_item(bucket: Bucket, updated_at: datetime) -> dynamo.Item:
    return {
        "region": bucket.region,
        "bucket": key(bucket.level, bucket.start, bucket.method, bucket.origin),
        "version": VERSION,
        "method": bucket.method,
        "network": bucket.origin,
        "runs": bucket.distribution.runs,
        "scheduled_runs": bucket.distribution.scheduled_runs,
        "data": encode(bucket.distribution),
        "digest": digest(bucket.distribution),
        "updated_at": to_iso(updated_at),
    }


def from_item(item: Mapping[str, Any], table: str = "cloudping_distributions") -> Bucket:
    """The bucket of an item; raises NewerError, or ItemError with key, attribute and value."""
    name = f"{item.get('region')}/{item.get('bucket')}"
    get = Reader(item, table, name)
    version = get.whole("version")
    if version > VERSION:
        expected = f"version {VERSION}; a newer CloudPing wrote it"
        raise NewerError(table, name, "version", version, expected)
    try:
        level, start = get.text("bucket").split("#")[:2]
        moment = datetime.strptime(start, START_FORMAT[level]).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        raise get.error("bucket", "a level and a start, e.g. H#2026-11-20T06") from None
    try:
        distribution = decode(bytes(item.get("data") or b""))
    except (TypeError, ValueError) as error:
        raise get.error("data", "bytes as codec.py writes them") from error
    return Bucket(
        region=get.text("region"),
        level=level,
        start=moment,
        method=get.text("method"),
        origin=get.one_of("network", ORIGINS),
        distribution=distribution,
        stored_digest=get.text("digest"),
    )


def checkpoint_from_item(
    item: Mapping[str, Any], table: str = "cloudping_distributions"
) -> Checkpoint:
    """The checkpoint of an item; raises ItemError."""
    region = item.get("region")
    get = Reader(item, table, f"{region}/{STATE_BUCKET}")
    unfinished = None
    if get.has("resume"):
        part = Reader(item["resume"], table, f"{region}/{STATE_BUCKET} resume")
        unfinished = Unfinished(part.moment("began"), part.moment("done"))
    return Checkpoint(
        region=get.text("region"),
        ingested_until=get.moment("watermark"),
        rolled_until=get.moment("rolled_until"),
        earliest=get.moment_or_none("earliest"),
        written=get.words("written"),
        revision=get.whole("revision"),
        unfinished=unfinished,
        refused=get.words("refused") if get.has("refused") else {},
        refused_runs=get.whole("refused_runs") if get.has("refused_runs") else 0,
        seen=get.words("seen") if get.has("seen") else {},
        updated_at=get.moment_or_none("updated_at"),
    )


def checkpoint_to_item(checkpoint: Checkpoint, updated_at: datetime) -> dynamo.Item:
    """The inverse of `checkpoint_from_item`, with the next revision."""
    item: dynamo.Item = {
        "region": checkpoint.region,
        "bucket": STATE_BUCKET,
        "watermark": to_iso(checkpoint.ingested_until),
        "rolled_until": to_iso(checkpoint.rolled_until),
        "written": dict(checkpoint.written),
        "revision": checkpoint.revision + 1,
        "refused": dict(checkpoint.refused),
        "refused_runs": checkpoint.refused_runs,
        "seen": dict(checkpoint.seen),
        "updated_at": to_iso(updated_at),
    }
    if checkpoint.earliest is not None:
        item["earliest"] = to_iso(checkpoint.earliest)
    if checkpoint.unfinished is not None:
        at = checkpoint.unfinished
        item["resume"] = {"began": to_iso(at.began), "done": to_iso(at.done)}
    return item


class DistributionTable:
    """`cloudping_distributions`: HASH `region`, RANGE `bucket`."""

    NAME = "cloudping_distributions"

    def __init__(self, client: Any, prefix: str = "") -> None:
        self._client = client
        self.name = prefix + self.NAME

    def between(
        self, region: str, level: str, first: datetime, last: datetime, *, consistent: bool = False
    ) -> Batch[Bucket]:
        """The source's buckets of a level whose start is from `first` to `last`, oldest first."""
        low, high = (moment.strftime(START_FORMAT[level]) for moment in (first, last))
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
        return read(items, lambda item: from_item(item, self.name))

    def replace(self, bucket: Bucket, stored: Bucket | None, updated_at: datetime) -> bool:
        """Writes a bucket in place of the one that was read; False if it has changed since.

        So a slow writer cannot put an older count over a newer one.
        """
        expected = None if stored is None else {"digest": stored.stored_digest}
        return dynamo.put_if(self._client, self.name, to_item(bucket, updated_at), expected)

    def overwrite(self, bucket: Bucket, updated_at: datetime) -> None:
        """Writes a bucket in place of one that cannot be read."""
        dynamo.put(self._client, self.name, to_item(bucket, updated_at))

    def write(self, buckets: Iterable[Bucket], updated_at: datetime) -> None:
        """Writes buckets in batches, without a look at what is there: for a new table."""
        dynamo.write_batches(
            self._client, self.name, (to_item(bucket, updated_at) for bucket in buckets)
        )

    def forget(self, region: str, level: str, before: datetime) -> int:
        """Deletes the source's buckets of a level that begin before a moment; returns how many."""
        end = f"{level}#{before.strftime(START_FORMAT[level])}"
        items = dynamo.pages(
            self._client.query,
            self.name,
            KeyConditionExpression="#region = :region AND #bucket BETWEEN :level AND :end",
            ProjectionExpression="#region, #bucket",
            ExpressionAttributeNames={"#region": "region", "#bucket": "bucket"},
            ExpressionAttributeValues={
                ":region": {"S": region},
                ":level": {"S": f"{level}#"},
                ":end": {"S": end},
            },
        )
        old = [item for item in items if item["bucket"] != end]
        dynamo.write_batches(self._client, self.name, deleted=old)
        return len(old)

    def checkpoint(self, region: str) -> Checkpoint | None:
        """How far the aggregator has come with a source; raises ItemError where it is broken."""
        with dynamo.translated(self.name, "get_item"):
            answer = self._client.get_item(
                TableName=self.name,
                Key={"region": {"S": region}, "bucket": {"S": STATE_BUCKET}},
                ConsistentRead=True,
            )
        if "Item" not in answer:
            return None
        return checkpoint_from_item(dynamo.from_wire(answer["Item"]), self.name)

    def move(
        self, checkpoint: Checkpoint, stored: Checkpoint | None, updated_at: datetime
    ) -> Checkpoint | None:
        """Writes the checkpoint in place of the one that was read, and returns it as it is then.

        None if it has changed since.
        """
        revision = 0 if stored is None else stored.revision
        item = checkpoint_to_item(replace(checkpoint, revision=revision), updated_at)
        expected = None if stored is None else {"revision": revision}
        if not dynamo.put_if(self._client, self.name, item, expected):
            return None
        return replace(checkpoint, revision=revision + 1, updated_at=updated_at)

    def begin_anew(self, checkpoint: Checkpoint, updated_at: datetime) -> Checkpoint:
        """Writes a checkpoint in place of one that cannot be read."""
        dynamo.put(self._client, self.name, checkpoint_to_item(checkpoint, updated_at))
        return replace(checkpoint, revision=checkpoint.revision + 1, updated_at=updated_at)
