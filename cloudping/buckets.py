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

and one item a source with the bucket `state`: how far the aggregator has come (`State`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cloudping import dynamo
from cloudping.codec import VERSION, decode, digest, encode
from cloudping.distribution import Distribution
from cloudping.errors import ItemError, StoreError
from cloudping.items import Reader
from cloudping.periods import START_FORMAT, following
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, combined_origin
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
    """The bucket of an item; raises ItemError with key, attribute and value."""
    attribute = "bucket"
    expected = "a value as buckets.py writes it"
    try:
        level, start = item["bucket"].split("#")[:2]
        moment = datetime.strptime(start, START_FORMAT[level]).replace(tzinfo=UTC)
        if item[attribute := "version"] != VERSION:
            expected = f"version {VERSION}; a newer CloudPing wrote it"
            raise ValueError
        return Bucket(
            region=item[attribute := "region"],
            level=level,
            start=moment,
            method=item[attribute := "method"],
            origin=item[attribute := "network"],
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
        read = Reader(item, self.name, f"{region}/{STATE_BUCKET}")
        return State(
            region=region,
            watermark=read.moment("watermark"),
            rolled_until=read.moment("rolled_until"),
            earliest=read.moment("earliest") if read.has("earliest") else None,
            written=read.mapping("written"),
            revision=read.whole("revision"),
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
