"""A CPU quota as a small Lambda has it, by control groups of version 1 or 2 as found."""

import os
from pathlib import Path

from chalicelib.sweep import LAMBDA_MB_PER_CORE

PERIOD_US = 20_000  # Lambda's scheduling period, as its throttling shows


class CpuQuota:
    """A control group with the CPU share of a Lambda of this size; a context.

    `command` is what runs a command line in it; `cpu_stat` is where the kernel counts how often
    it was held back.
    """

    def __init__(self, memory_mb: int) -> None:
        self.quota_us = PERIOD_US * memory_mb // LAMBDA_MB_PER_CORE
        mount, version = _controller()
        self._folder = mount / f"cloudping-bench-{os.getpid()}-{memory_mb}"
        self._version = version
        self.cpu_stat = self._folder / "cpu.stat"

    def __enter__(self) -> "CpuQuota":
        self._folder.mkdir()
        if self._version == 1:
            (self._folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self._folder / "cpu.cfs_quota_us").write_text(str(self.quota_us))
        else:
            (self._folder / "cpu.max").write_text(f"{self.quota_us} {PERIOD_US}")
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.rmdir()

    def command(self, *command: str) -> list[str]:
        join = f'echo $$ > {self._folder}/cgroup.procs && exec "$@"'
        return ["sh", "-c", join, "sh", *command]


def why_not() -> str | None:
    """Why there can be no CPU quota here; None when there can."""
    try:
        with CpuQuota(LAMBDA_MB_PER_CORE):
            return None
    except OSError as error:
        return f"no usable CPU control group: {error}"


def _controller() -> tuple[Path, int]:
    """Where CPU groups are made, and the version of the hierarchy."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return Path(mount), 1
        controllers = Path(mount) / "cgroup.controllers"
        if kind == "cgroup2" and "cpu" in controllers.read_text().split():
            (Path(mount) / "cgroup.subtree_control").write_text("+cpu")
            return Path(mount), 2
    raise FileNotFoundError("no mounted hierarchy has the cpu controller")
