"""Images: built with the tool that is here, pushed into the stack's registry, kept while deployed.

The registry's lifecycle policy lets old images expire, but for those that have one of the tags that
begin with `deploy`. Tags can be set once only, but for these, which move.
"""

import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from cloudping.errors import CloudPingError
from cloudping.times import utc_now
from infra import ROOT


class ImageError(CloudPingError):
    """The image could not be built or pushed; says what to do."""


def push(ecr: Any, registry: str, say: Callable[[str], None]) -> str:
    """Builds Dockerfile.frontend, pushes it, returns its name; raises ImageError."""
    tool = next((t for t in ("docker", "podman", "buildah") if shutil.which(t)), None)
    if tool is None:
        raise ImageError(
            "no docker, podman or buildah here to build the image with; install one or say "
            "--image (the workflow `image` on GitHub builds and pushes one)"
        )
    answer = ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = b64decode(answer["authorizationToken"]).decode().partition(":")
    name = f"{registry}:{utc_now():%Y%m%d-%H%M%S}"
    host = registry.partition("/")[0]
    say(f"building {name} with {tool}")
    _call(tool, "build", "--platform=linux/amd64", "-f", "Dockerfile.frontend", "-t", name, ".")
    _call(tool, "login", "--username", user, "--password-stdin", host, said=password)
    _call(tool, "push", name)
    return name


_IN_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+"
    r"/(?P<repository>[^:@]+)(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
# An index of several architectures, or one image; Docker's types and OCI's.
_MANIFESTS = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]


def keep(account_number: str, client: Callable[[str, str], Any], name: str, tag: str) -> bool:
    """Moves a tag to an image, so that it stays in its registry; raises ImageError.

    False for an image in a registry that is none of this account's ECR: nothing expires it there.
    `client` makes a client of a service in a region.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    found = _IN_ECR.fullmatch(name)
    if found is None or found["account"] != account_number:
        return False
    ecr = client("ecr", found["region"])
    which = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"]}
    try:
        images = ecr.batch_get_image(
            repositoryName=found["repository"], imageIds=[which], acceptedMediaTypes=_MANIFESTS
        )["images"]
        if not images:
            raise ImageError(f"{name} is not in its registry: push it, or name another one")
        ecr.put_image(
            repositoryName=found["repository"],
            imageManifest=images[0]["imageManifest"],
            imageManifestMediaType=images[0]["imageManifestMediaType"],
            imageTag=tag,
        )
    except (BotoCoreError, ClientError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        if code != "ImageAlreadyExistsException":  # it has the tag
            raise ImageError(f"{name} cannot be tagged {tag}: {error}") from error
    return True


def _call(*command: str, said: str | None = None) -> None:
    done = subprocess.run(
        command, cwd=ROOT, input=said, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ImageError(f"{' '.join(command[:2])} failed: {last[0]}")
