"""What is deployed stays in its registry: the tags that move, and the policy that spares them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.aws import image
from infra.aws.image import ImageError
from tests.conftest import HOME_REGION, load_template

ACCOUNT = "123456789012"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{HOME_REGION}.amazonaws.com/cloudping"
POLICY = json.loads(
    load_template("frontend.yaml")["Resources"]["Registry"]["Properties"]["LifecyclePolicy"][
        "LifecyclePolicyText"
    ]
)


@dataclass
class Image:
    """An image of a registry: when it was pushed, its tags, and the index that it belongs to."""

    pushed_day: int
    tags: set[str]
    index: "Image | None" = None


def expired(images: list[Image], today: int) -> list[Image]:
    """What ECR expires, by the rules of docs.aws.amazon.com/AmazonECR/latest/userguide/
    lifecycle_policy_examples.html and LifecyclePolicies.html: an image that fits the tags of a rule
    is out of reach of those of lower priority; the images of an index stay as long as it does.
    """
    gone: list[Image] = []
    decided: set[int] = set()
    for rule in sorted(POLICY["rules"], key=lambda rule: rule["rulePriority"]):
        selection = rule["selection"]
        fitting = [found for found in images if id(found) not in decided and fits(found, selection)]
        decided |= {id(found) for found in fitting}
        fitting.sort(key=lambda found: -found.pushed_day)
        if selection["countType"] == "imageCountMoreThan":
            gone += fitting[selection["countNumber"] :]
        else:
            gone += [f for f in fitting if today - f.pushed_day > selection["countNumber"]]
    return [found for found in gone if found.index is None or found.index in gone]


def fits(found: Image, selection: dict[str, Any]) -> bool:
    if selection["tagStatus"] == "untagged":
        return not found.tags
    return any(fnmatch(tag, p) for tag in found.tags for p in selection["tagPatternList"])


def push(images: list[Image], day: int, tag: str) -> Image:
    """The workflow's push: an index for two architectures, each image with its attestation."""
    index = Image(day, {tag})
    images += [index, *(Image(day, set(), index) for _ in range(4))]
    return index


def test_what_is_deployed_outlives_every_push() -> None:
    images: list[Image] = []
    site, monitor = push(images, 0, "abc"), push(images, 0, "monitor-abc")
    site.tags.add("deployed")
    monitor.tags.add("deployed-eu-west-1-cloudping-pair")
    for day in range(1, 200):
        push(images, day, f"{day:040x}")
        push(images, day, f"monitor-{day:040x}")
        gone = expired(images, day)
        images = [found for found in images if found not in gone]
    assert site in images
    assert monitor in images
    indexes = [found for found in images if found.tags]
    assert len(indexes) == 2 + 10 + 10
    assert len(images) == 5 * len(indexes)  # nothing is left without its index


def test_a_push_that_broke_off_is_cleared_away() -> None:
    assert expired([Image(0, set())], 8)
    assert not expired([Image(0, set())], 7)


@pytest.fixture
def ecr() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("ecr", region_name=HOME_REGION)
        client.create_repository(repositoryName="cloudping")
        yield client


def put(ecr: Any, tag: str) -> str:
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
        "annotations": {"of": tag},
    }
    answer = ecr.put_image(
        repositoryName="cloudping",
        imageManifest=json.dumps(manifest),
        imageManifestMediaType="application/vnd.oci.image.index.v1+json",
        imageTag=tag,
    )
    return str(answer["image"]["imageId"]["imageDigest"])


def tagged(ecr: Any, tag: str) -> str:
    (found,) = ecr.describe_images(repositoryName="cloudping", imageIds=[{"imageTag": tag}])[
        "imageDetails"
    ]
    return str(found["imageDigest"])


def keep(name: str, tag: str = "deployed") -> bool:
    return image.keep(
        ACCOUNT, lambda service, code: boto3.client(service, region_name=code), name, tag
    )


def test_the_tag_moves_to_what_is_deployed(ecr: Any) -> None:
    old, new = put(ecr, "old"), put(ecr, "new")
    assert keep(f"{REGISTRY}:old")
    assert tagged(ecr, "deployed") == old
    assert keep(f"{REGISTRY}:new")
    assert keep(f"{REGISTRY}:new")  # and stays
    assert tagged(ecr, "deployed") == new == tagged(ecr, "new")
    assert keep(f"{REGISTRY}@{old}", "deployed-before")
    assert tagged(ecr, "deployed-before") == old


def test_an_image_that_is_not_there_is_refused_before_anything_is_deployed(ecr: Any) -> None:
    with pytest.raises(ImageError, match=r":missing is not in its registry"):
        keep(f"{REGISTRY}:missing")


@pytest.mark.parametrize(
    "name",
    [
        "registry.invalid/cloudping:1",
        "docker.io/library/python:3.13",
        REGISTRY.replace("1", "2", 1),
    ],
)
def test_other_registries_are_left_alone(name: str, ecr: Any) -> None:
    assert not keep(name if ":" in name else f"{name}:1")


def test_only_the_tags_that_move_can_be_moved() -> None:
    registry = load_template("frontend.yaml")["Resources"]["Registry"]["Properties"]
    assert registry["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert [
        f["ImageTagMutabilityExclusionFilterValue"]
        for f in registry["ImageTagMutabilityExclusionFilters"]
    ] == ["deploy*"]
