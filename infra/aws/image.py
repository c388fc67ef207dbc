"""The site's image: built with the tool that is here, pushed into the stack's registry."""

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


def _call(*command: str, said: str | None = None) -> None:
    done = subprocess.run(
        command, cwd=ROOT, input=said, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ImageError(f"{' '.join(command[:2])} failed: {last[0]}")
