"""The region catalogue, how far apart regions are, and the `cloudping_regions` table.

Codes, names, partitions and endpoint hosts are botocore's (endpoints.json; a test holds the two
against each other), for every partition that answers on the public internet. AWS does not publish
where its data centres stand: `place` is the city or area that AWS names in the region's
announcement, and the coordinates are that place's in GeoNames (geonames.org, CC BY 4.0), rounded
to 0.01 degrees. They are good to some 100 km, which is all that `rtt_floor_ms` asks of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from math import asin, cos, radians, sin, sqrt
from typing import Any

from cloudping import dynamo
from cloudping.errors import UnknownRegionError
from cloudping.items import MAX_INTERVAL_S, Batch, Reader, read
from cloudping.times import to_iso, utc_now

EARTH_RADIUS_KM = 6371.0088  # mean radius R1, IUGG
# Light in a vacuum over the group index of standard single-mode fibre at 1550 nm (1.4682,
# Corning SMF-28 data sheet), in km per ms.
FIBRE_KM_PER_MS = 299.792458 / 1.4682
PLACE_UNCERTAINTY_KM = 100.0  # at each end: places are approximate
# Of AWS, as us-east-1, or the name that a monitor's two servers were given.
_CODE = re.compile(r"[A-Za-z0-9-]{1,40}")
FLOOR_MARGIN = 0.8  # never call a real figure impossible because of rounding


@dataclass(frozen=True, slots=True)
class Region:
    """A region as the catalogue knows it; coordinates in degrees, north and east positive."""

    code: str
    name: str
    partition: str
    endpoint: str
    geography: str
    place: str
    latitude: float
    longitude: float


_DNS_SUFFIX = {
    "aws": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-us-gov": "amazonaws.com",
    "aws-eusc": "amazonaws.eu",
}

# fmt: off
_ROWS = (
    ("af-south-1", "Africa (Cape Town)", "aws", "Africa", "Cape Town", -33.93, 18.42),
    ("ap-east-1", "Asia Pacific (Hong Kong)", "aws", "Asia Pacific", "Hong Kong", 22.28, 114.17),
    ("ap-east-2", "Asia Pacific (Taipei)", "aws", "Asia Pacific", "Taipei", 25.05, 121.53),
    ("ap-northeast-1", "Asia Pacific (Tokyo)", "aws", "Asia Pacific", "Tokyo", 35.69, 139.69),
    ("ap-northeast-2", "Asia Pacific (Seoul)", "aws", "Asia Pacific", "Seoul", 37.57, 126.98),
    ("ap-northeast-3", "Asia Pacific (Osaka)", "aws", "Asia Pacific", "Osaka", 34.69, 135.50),
    ("ap-south-1", "Asia Pacific (Mumbai)", "aws", "Asia Pacific", "Mumbai", 19.07, 72.88),
    ("ap-south-2", "Asia Pacific (Hyderabad)", "aws", "Asia Pacific", "Hyderabad", 17.38, 78.46),
    ("ap-southeast-1", "Asia Pacific (Singapore)", "aws", "Asia Pacific", "Singapore", 1.29, 103.85),
    ("ap-southeast-2", "Asia Pacific (Sydney)", "aws", "Asia Pacific", "Sydney", -33.87, 151.21),
    ("ap-southeast-3", "Asia Pacific (Jakarta)", "aws", "Asia Pacific", "Jakarta", -6.21, 106.85),
    ("ap-southeast-4", "Asia Pacific (Melbourne)", "aws", "Asia Pacific", "Melbourne", -37.81, 144.96),
    ("ap-southeast-5", "Asia Pacific (Malaysia)", "aws", "Asia Pacific", "Kuala Lumpur", 3.14, 101.69),
    ("ap-southeast-6", "Asia Pacific (New Zealand)", "aws", "Asia Pacific", "Auckland", -36.85, 174.76),
    ("ap-southeast-7", "Asia Pacific (Thailand)", "aws", "Asia Pacific", "Bangkok", 13.75, 100.50),
    ("ca-central-1", "Canada (Central)", "aws", "North America", "Montreal", 45.51, -73.59),
    ("ca-west-1", "Canada West (Calgary)", "aws", "North America", "Calgary", 51.05, -114.09),
    ("cn-north-1", "China (Beijing)", "aws-cn", "China", "Beijing", 39.91, 116.40),
    ("cn-northwest-1", "China (Ningxia)", "aws-cn", "China", "Zhongwei", 37.51, 105.19),
    ("eu-central-1", "Europe (Frankfurt)", "aws", "Europe", "Frankfurt am Main", 50.12, 8.68),
    ("eu-central-2", "Europe (Zurich)", "aws", "Europe", "Zurich", 47.37, 8.55),
    ("eu-north-1", "Europe (Stockholm)", "aws", "Europe", "Stockholm", 59.33, 18.07),
    ("eu-south-1", "Europe (Milan)", "aws", "Europe", "Milan", 45.46, 9.19),
    ("eu-south-2", "Europe (Spain)", "aws", "Europe", "Zaragoza", 41.66, -0.88),
    ("eu-west-1", "Europe (Ireland)", "aws", "Europe", "Dublin", 53.33, -6.25),
    ("eu-west-2", "Europe (London)", "aws", "Europe", "London", 51.51, -0.13),
    ("eu-west-3", "Europe (Paris)", "aws", "Europe", "Paris", 48.85, 2.35),
    ("eusc-de-east-1", "AWS European Sovereign Cloud (Germany)", "aws-eusc", "Europe", "Potsdam", 52.40, 13.07),
    ("il-central-1", "Israel (Tel Aviv)", "aws", "Middle East", "Tel Aviv", 32.08, 34.78),
    ("me-central-1", "Middle East (UAE)", "aws", "Middle East", "Dubai", 25.07, 55.17),
    ("me-south-1", "Middle East (Bahrain)", "aws", "Middle East", "Manama", 26.23, 50.59),
    ("mx-central-1", "Mexico (Central)", "aws", "North America", "Santiago de Querétaro", 20.59, -100.39),
    ("sa-east-1", "South America (Sao Paulo)", "aws", "South America", "São Paulo", -23.55, -46.64),
    ("us-east-1", "US East (N. Virginia)", "aws", "North America", "Ashburn", 39.04, -77.49),
    ("us-east-2", "US East (Ohio)", "aws", "North America", "Columbus", 39.96, -83.00),
    ("us-gov-east-1", "AWS GovCloud (US-East)", "aws-us-gov", "North America", "Columbus", 39.96, -83.00),
    ("us-gov-west-1", "AWS GovCloud (US-West)", "aws-us-gov", "North America", "Boardman", 45.84, -119.70),
    ("us-west-1", "US West (N. California)", "aws", "North America", "San Jose", 37.34, -121.89),
    ("us-west-2", "US West (Oregon)", "aws", "North America", "Boardman", 45.84, -119.70),
)
# fmt: on

CATALOGUE: Mapping[str, Region] = {
    code: Region(
        code,
        name,
        partition,
        f"dynamodb.{code}.{_DNS_SUFFIX[partition]}",
        geography,
        place,
        lat,
        lon,
    )
    for code, name, partition, geography, place, lat, lon in _ROWS
}


_PARTITION = {"cn": "aws-cn", "eusc": "aws-eusc"}


def partition_of(code: str) -> str:
    """The partition that a region's code belongs to, also of one that is not in the catalogue."""
    return (
        "aws-us-gov"
        if code.startswith("us-gov-")
        else _PARTITION.get(code.partition("-")[0], "aws")
    )


def provisional(code: str, name: str) -> Region:
    """A region that AWS has opened and the catalogue does not have yet.

    Where it stands is not known, so `place` says so, and it is put amid the regions whose code
    begins as its own does. It has no `rtt_floor_ms` until the catalogue has it.
    """
    begin = code[: code.index("-") + 1] if "-" in code else code
    near = [r for r in CATALOGUE.values() if r.code.startswith(begin)]
    partition = partition_of(code)
    return Region(
        code=code,
        name=name,
        partition=partition,
        endpoint=f"dynamodb.{code}.{_DNS_SUFFIX[partition]}",
        geography=near[0].geography if near else "unknown",
        place="not known yet",
        latitude=round(sum(r.latitude for r in near) / len(near), 2) if near else 0.0,
        longitude=round(sum(r.longitude for r in near) / len(near), 2) if near else 0.0,
    )


def region(code: str) -> Region:
    """The catalogue's entry; raises UnknownRegionError with up to three near codes."""
    try:
        return CATALOGUE[code]
    except KeyError:
        raise UnknownRegionError(code, suggest(code)) from None


def suggest(text: str) -> tuple[str, ...]:
    """Up to three region codes that `text` may have meant, by code, name or place."""
    wanted = text.strip().lower()
    by_word = [
        r.code for r in CATALOGUE.values() if wanted and wanted in f"{r.name} {r.place}".lower()
    ]
    near = get_close_matches(wanted, CATALOGUE, n=3, cutoff=0.6)
    return tuple(dict.fromkeys([*by_word, *near]))[:3]


def distance_km(a: Region, b: Region) -> float:
    """Great-circle distance (haversine on the mean sphere)."""
    phi_a, phi_b = radians(a.latitude), radians(b.latitude)
    half_phi = (phi_b - phi_a) / 2
    half_lambda = radians(b.longitude - a.longitude) / 2
    h = sin(half_phi) ** 2 + cos(phi_a) * cos(phi_b) * sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(h)))


def fibre_rtt_ms(a: Region, b: Region) -> float:
    """The round trip of light in fibre laid along the great circle."""
    return 2 * distance_km(a, b) / FIBRE_KM_PER_MS


def rtt_floor_ms(source: str, target: str) -> float:
    """The round trip below which a figure for this pair cannot be true.

    0.8 x the round trip in fibre over the great circle shortened by 100 km at each end; 0.0 when
    a region is not in the catalogue or the two are close together.
    """
    a, b = CATALOGUE.get(source), CATALOGUE.get(target)
    if a is None or b is None:
        return 0.0
    sure_km = max(0.0, distance_km(a, b) - 2 * PLACE_UNCERTAINTY_KM)
    return FLOOR_MARGIN * 2 * sure_km / FIBRE_KM_PER_MS


@dataclass(frozen=True, slots=True)
class RegionState:
    """A region as an installation knows it: one item of `cloudping_regions`.

    `is_source`: a probe runs there. `is_target`: probes measure it. `interval_s` is the source's
    schedule (0 when it is no source), `source_since` when it got it (None: before this was noted);
    the two data timestamps are None before the first run.
    `is_announced` is False until the operator has been told of a region that was found.
    """

    region: Region
    is_source: bool
    is_target: bool
    interval_s: int = 0
    opt_in_status: str = "unknown"
    earliest_data: datetime | None = None
    latest_data: datetime | None = None
    is_announced: bool = True
    source_since: datetime | None = None


class RegionTable:
    """`cloudping_regions`: HASH `region`; two indexes by what the region is used for."""

    NAME = "cloudping_regions"
    SOURCE_INDEX = "active_from-region-index"
    TARGET_INDEX = "active_to-region-index"

    def __init__(self, client: Any, prefix: str = "") -> None:
        self._client = client
        self.name = prefix + self.NAME

    def put(self, state: RegionState) -> None:
        dynamo.put(self._client, self.name, _to_item(state))

    def add(self, state: RegionState) -> bool:
        """Writes a region that is not there yet; False where it is, whatever its item is like."""
        return dynamo.put_if(self._client, self.name, _to_item(state), None)

    def note_data(self, code: str, earliest: datetime, latest: datetime) -> None:
        """Sets from when to when there are data of a source; the rest of the item stays."""
        self._set(code, {"earliest_data": to_iso(earliest), "latest_data": to_iso(latest)})

    def note_source(self, code: str, interval_s: int) -> None:
        """Sets a source's schedule, from now on; 0 where no probe runs any more."""
        since = to_iso(utc_now())
        schedule = {"active_from": str(interval_s > 0), "interval_s": interval_s}
        self._set(code, {**schedule, "source_since": since})

    def note_target(self, code: str, is_target: bool) -> None:
        """Sets whether probes measure the region; the rest of the item stays."""
        self._set(code, {"active_to": str(is_target)})

    def note_announced(self, code: str) -> None:
        """Notes that the operator has been told of the region; the rest of the item stays."""
        self._set(code, {"announced": "True"})

    def note_opt_in(self, code: str, status: str) -> None:
        """Sets what the account says of the region; the rest of the item stays."""
        self._set(code, {"opt_in_status": status})

    def _set(self, code: str, values: dynamo.Item) -> None:
        """Raises StoreError for a region that is not there: half an item would stop its readers."""
        with dynamo.translated(self.name, "update_item"):
            self._client.update_item(
                TableName=self.name,
                Key={"region": {"S": code}},
                UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in values),
                ConditionExpression="attribute_exists(#region)",
                ExpressionAttributeNames={"#region": "region"},
                ExpressionAttributeValues={
                    f":{name}": value for name, value in dynamo.to_wire(values).items()
                },
            )

    def all(self) -> Batch[RegionState]:
        """Every region of the installation, in the order of their codes."""
        batch = self._read(dynamo.pages(self._client.scan, self.name))
        batch.sort(key=lambda state: state.region.code)
        return batch

    def sources(self) -> Batch[RegionState]:
        return self._active(self.SOURCE_INDEX, "active_from")

    def targets(self) -> Batch[RegionState]:
        return self._active(self.TARGET_INDEX, "active_to")

    def _active(self, index: str, attribute: str) -> Batch[RegionState]:
        items = dynamo.pages(
            self._client.query,
            self.name,
            IndexName=index,
            KeyConditionExpression="#active = :true",
            ExpressionAttributeNames={"#active": attribute},
            ExpressionAttributeValues={":true": {"S": "True"}},
        )
        return self._read(items)

    def _read(self, items: Iterable[dynamo.Item]) -> Batch[RegionState]:
        return read(items, lambda item: _from_item(item, self.name))


def _to_item(state: RegionState) -> dynamo.Item:
    region = state.region
    item: dynamo.Item = {
        "region": region.code,
        "region_name": region.name,
        "partition": region.partition,
        "endpoint": region.endpoint,
        "geography": region.geography,
        "place": region.place,
        "latitude": dynamo.decimal(region.latitude, 2),
        "longitude": dynamo.decimal(region.longitude, 2),
        # DynamoDB cannot index a boolean; the original wrote these as text as well.
        "active_from": str(state.is_source),
        "active_to": str(state.is_target),
        "interval_s": state.interval_s,
        "opt_in_status": state.opt_in_status,
    }
    if not state.is_announced:
        item["announced"] = "False"
    if state.earliest_data is not None:
        item["earliest_data"] = to_iso(state.earliest_data)
    if state.latest_data is not None:
        item["latest_data"] = to_iso(state.latest_data)
    if state.source_since is not None:
        item["source_since"] = to_iso(state.source_since)
    return item


def _from_item(item: Mapping[str, Any], table: str) -> RegionState:
    get = Reader(item, table, str(item.get("region")))

    def moment(attribute: str) -> datetime | None:
        return get.moment(attribute) if get.has(attribute) else None

    code = get.text("region")
    if not _CODE.fullmatch(code):
        raise get.error("region", "a code of up to 40 letters, digits and hyphens, as us-east-1")
    place = Region(
        code=code,
        name=get.text("region_name"),
        partition=get.text("partition"),
        endpoint=get.text("endpoint"),
        geography=get.text("geography"),
        place=get.text("place"),
        latitude=get.number("latitude", most=90, least=-90),
        longitude=get.number("longitude", most=180, least=-180),
    )
    return RegionState(
        region=place,
        is_source=get.one_of("active_from", ("True", "False")) == "True",
        is_target=get.one_of("active_to", ("True", "False")) == "True",
        interval_s=get.whole("interval_s", MAX_INTERVAL_S),
        opt_in_status=get.text("opt_in_status"),
        earliest_data=moment("earliest_data"),
        latest_data=moment("latest_data"),
        is_announced=item.get("announced") != "False",
        source_since=moment("source_since"),
    )
