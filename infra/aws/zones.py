"""Two availability zones that have what is to run in them: not every zone has everything."""

from collections.abc import Iterable
from typing import Any, Final

from cloudping.errors import CloudPingError

# Where Fargate is in some zones only, by their ids, which mean the same in every account:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
_FARGATE: Final = {
    "us-west-1": frozenset({"usw1-az1", "usw1-az3"}),
    "ap-northeast-1": frozenset({"apne1-az1", "apne1-az2", "apne1-az4"}),
    "cn-north-1": frozenset({"cnn1-az1", "cnn1-az2"}),
}


class ZonesError(CloudPingError):
    """A region has no two zones for what is to run there, or does not say which it has."""


def for_fargate(ec2: Any, region: str) -> tuple[str, str]:
    """Two zones of the region that have Fargate."""
    zones = _asked(
        ec2.describe_availability_zones,
        Filters=[
            {"Name": "zone-type", "Values": ["availability-zone"]},
            {"Name": "state", "Values": ["available"]},
        ],
    )["AvailabilityZones"]
    has = _FARGATE.get(region, frozenset(zone["ZoneId"] for zone in zones))
    return _two((zone["ZoneName"] for zone in zones if zone["ZoneId"] in has), region, "Fargate")


def for_instances(ec2: Any, region: str, instance_type: str) -> tuple[str, str]:
    """Two zones of the region that offer an instance type."""
    offers = _asked(
        ec2.describe_instance_type_offerings,
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": [instance_type]}],
    )["InstanceTypeOfferings"]
    return _two((offer["Location"] for offer in offers), region, instance_type)


def _two(names: Iterable[str], region: str, what: str) -> tuple[str, str]:
    zones = sorted(names)
    if len(zones) < 2:
        raise ZonesError(f"{region} has {what} in {', '.join(zones) or 'no zone'}: two are needed")
    return zones[0], zones[1]


def _asked(call: Any, **request: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call(**request)
    except (BotoCoreError, ClientError) as error:
        raise ZonesError(f"the zones are not known: {error}") from error
