"""Zones: two that have what is to run there, or one line that says why not."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from infra.aws import zones
from infra.aws.zones import ZonesError


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        yield


def ids(ec2: Any, names: tuple[str, str]) -> set[str]:
    found = ec2.describe_availability_zones(ZoneNames=list(names))["AvailabilityZones"]
    return {zone["ZoneId"] for zone in found}


@pytest.mark.parametrize("region", ["us-east-2", "ap-northeast-1", "us-west-1"])
def test_the_sites_zones_have_fargate(region: str) -> None:
    ec2 = boto3.client("ec2", region_name=region)
    chosen = ids(ec2, zones.for_fargate(ec2, region))
    assert len(chosen) == 2
    assert chosen <= zones._FARGATE.get(region, chosen)


class Zones:
    """A region whose first zone by name is none that has Fargate, as in some accounts."""

    def describe_availability_zones(self, **_: Any) -> dict[str, Any]:
        names = {"ap-northeast-1a": "apne1-az3", "ap-northeast-1c": "apne1-az1"}
        names["ap-northeast-1d"] = "apne1-az2"
        return {"AvailabilityZones": [{"ZoneName": n, "ZoneId": i} for n, i in names.items()]}


def test_zones_go_by_their_ids_not_by_their_names() -> None:
    assert zones.for_fargate(Zones(), "ap-northeast-1") == ("ap-northeast-1c", "ap-northeast-1d")


class Offers:
    def __init__(self, *names: str) -> None:
        self.names = names

    def describe_instance_type_offerings(self, **request: Any) -> dict[str, Any]:
        assert request["Filters"] == [{"Name": "instance-type", "Values": ["t4g.micro"]}]
        return {"InstanceTypeOfferings": [{"Location": name} for name in self.names]}


def test_the_pairs_zones_offer_its_instance_type() -> None:
    offers = Offers("us-east-1f", "us-east-1b", "us-east-1c")
    assert zones.for_instances(offers, "us-east-1", "t4g.micro") == ("us-east-1b", "us-east-1c")
    with pytest.raises(ZonesError, match=r"has t4g\.micro in us-east-1b: two are needed"):
        zones.for_instances(Offers("us-east-1b"), "us-east-1", "t4g.micro")


def test_without_the_right_to_ask_it_is_one_line() -> None:
    class Refused:
        def describe_availability_zones(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "UnauthorizedOperation"}}, "DescribeZones")

    with pytest.raises(ZonesError, match="zones are not known"):
        zones.for_fargate(Refused(), "us-east-2")
