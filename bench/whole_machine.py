"""The sweep inside a whole machine under a CPU quota, as a stand-in for a Lambda's.

A quota on a process leaves the kernel free to stamp packets on time; one on a machine does not.
User-Mode Linux (Debian: user-mode-linux) is a kernel in a process: its file system is this
machine's, read-only, its network a TAP device routed to the test bed. System calls cost it some
five times as much as a real one, so that it is short of CPU far sooner: a worst case.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cpu_quota import CpuQuota
from tests.testbed import bed
from tests.testbed.bed import Bed

PROGRAM = "linux.uml"
HOST, GUEST = "192.0.2.1", "192.0.2.2"  # RFC 5737

_INIT = """#!/bin/sh
export PATH={path}
mount -t proc proc /proc
ip link set lo up
ip address add {guest}/30 dev vec0
ip link set vec0 up
ip route add default via {host}
cd {root}
{python} -B -m bench.measuring_client < {job}
echo o > /proc/sysrq-trigger
sleep 60
"""


def prepare(net: Bed) -> None:
    """Connects the bed with the machine to come."""
    for command in (
        "ip tuntap add dev tap0 mode tap",
        f"ip address add {HOST}/30 dev tap0",
        "ip link set tap0 up",
        "sysctl -qw net.ipv4.ip_forward=1",
    ):
        subprocess.run(net.command(*command.split()), check=True)


def run_client(net: Bed, job: Mapping[str, Any], quota: CpuQuota) -> dict[str, Any]:
    """Boots the machine under the quota, has `measuring_client` do the job, and switches it off."""
    with tempfile.TemporaryDirectory() as folder:
        work, init = Path(folder) / "job.json", Path(folder) / "init"
        work.write_text(json.dumps(job))
        init.write_text(
            _INIT.format(
                path="/usr/sbin:/usr/bin:/sbin:/bin",
                guest=GUEST,
                host=HOST,
                root=shlex.quote(str(bed.ROOT)),
                python=shlex.quote(sys.executable),
                job=work,
            )
        )
        init.chmod(0o755)
        machine = net.command(
            PROGRAM,
            "mem=256M",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"init={init}",
            "vec0:transport=tap,ifname=tap0,depth=64",
            "con=null",
            "con0=null,fd:1",
            "quiet",
        )
        said = subprocess.run(
            quota.command(*machine),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,  # it says nothing useful with its exit code
        ).stdout
    answers = [line for line in said.splitlines() if line.startswith("{")]
    if not answers:
        raise RuntimeError(f"the machine gave no figures; it said: {said[-500:]}")
    answer: dict[str, Any] = json.loads(answers[0])
    return answer
