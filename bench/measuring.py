"""How far each way of timing a connect is from what the wire saw; and what a Lambda's size does.

Everything runs on the test bed (tests/testbed): targets with round trips from 1 to 300 ms, a
resolver that takes 2 ms, a packet capture with the kernel's time stamps as the truth. Needs root
and Linux. `python -m bench.measuring [--quick]`
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "probes"))
from chalicelib.sweep import LAMBDA_MB_PER_CORE, pace_s

from bench import cpu_quota, whole_machine
from bench.cpu_quota import CpuQuota
from infra.aws import installation, packages
from tests.testbed import bed
from tests.testbed.bed import Bed
from tests.testbed.rules import Name, Rule, addresses

TARGETS, ATTEMPTS = 40, 5
PEERS_EVERY = 4  # the peers take one connect after another: every fourth target is enough
PROGRAMS = {
    "nping": "nping",
    "hping3": "hping3",
    "curl": "curl",
    "blackbox_exporter": "prometheus-blackbox-exporter",
}
THROTTLED_MB = installation.PROBES.memory_mb
SIZES_MB = (128, 256, 512, 1024, LAMBDA_MB_PER_CORE)
GB_SECOND_USD = 0.0000166667  # AWS Lambda pricing, x86, us-east-2, 2025
RUNS_A_MONTH = 12 * 24 * 30

# Figures in ms by address, in the order of the connects; None where one failed.
Figures = dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way of measuring gave, and what it cost."""

    figures: dict[str, Figures]  # by kind: what the way reports
    wall_s: float
    cpu_s: float
    periods: int = 0  # of the quota, while measuring
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A started bed with the targets of a measurement: address to name and round trip."""

    net: Bed
    names: dict[str, str]
    rtt_ms: dict[str, float]

    def some(self, every: int) -> list[str]:
        return list(self.names)[::every]


@contextmanager
def network(count: int, rtt_ms: Sequence[float]) -> Iterator[Network]:
    hosts = addresses(count)
    names = {host: f"t{number}.example" for number, host in enumerate(hosts)}
    rules = {host: Rule(rtt_ms=rtt) for host, rtt in zip(hosts, rtt_ms, strict=True)}
    resolver = {name: Name((host,), delay_ms=2) for host, name in names.items()}
    with Bed(rules, resolver) as net:
        yield Network(net, names, dict(zip(hosts, rtt_ms, strict=True)))


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs programs inside the bed, under the quota if there is one."""

    net: Bed
    quota: CpuQuota | None = None

    def command(self, *command: str) -> list[str]:
        inside = self.net.command(*command)
        return self.quota.command(*inside) if self.quota else inside

    def __call__(self, *command: str, given: str = "") -> tuple[str, float]:
        """A program's output, and its CPU seconds."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            self.command(*command),
            cwd=bed.ROOT,
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout, cpu_s


def client(run: Runner, way: str, hosts: Sequence[str], **job: object) -> Outcome:
    """One of our own ways, in a process of its own; wall and CPU are of the measuring alone."""
    cpu_stat = str(run.quota.cpu_stat) if run.quota else None
    work = {"way": way, "hosts": hosts, "attempts": ATTEMPTS, "cpu_stat": cpu_stat, **job}
    said, _ = run(sys.executable, "-m", "bench.measuring_client", given=json.dumps(work))
    return outcome_of(json.loads(said), way)


def outcome_of(answer: Mapping[str, Any], way: str) -> Outcome:
    """What `measuring_client` printed."""
    kinds: dict[str, Figures] = defaultdict(dict)
    for host, attempts in answer["figures"].items():
        for position in range(len(attempts[0])):
            kind = ("kernel", "user")[position] if way == "core" else "user"
            kinds[kind][host] = [attempt[position] for attempt in attempts]
    return Outcome(kinds, answer["wall_s"], answer["cpu_s"], answer["periods"], answer["held_back"])


def nping(run: Runner, place: Network, hosts: Sequence[str]) -> Outcome:
    """One connect a process: with two in flight it takes one's answer for the other's."""

    def once(host: str) -> tuple[list[float | None], float]:
        said, cpu_s = run("nping", "--tcp-connect", "-p", "443", "-c", "1", host)
        return [float(rtt) for rtt in re.findall(r"Avg rtt: ([\d.]+)ms", said)], cpu_s

    return by_process(once, [host for host in hosts for _ in range(ATTEMPTS)])


def hping3(run: Runner, place: Network, hosts: Sequence[str]) -> Outcome:
    def several(host: str) -> tuple[list[float | None], float]:
        gap = f"u{int(place.rtt_ms[host] * 1000) + 20_000}"
        said, cpu_s = run("hping3", "-S", "-p", "443", "-c", str(ATTEMPTS), "-i", gap, host)
        return [float(rtt) for rtt in re.findall(r"rtt=([\d.]+) ms", said)], cpu_s

    return by_process(several, hosts)


def curl(run: Runner, place: Network, hosts: Sequence[str]) -> Outcome:
    def several(host: str) -> tuple[list[float | None], float]:
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{time_connect}\n"]
        # The targets close without a word, which curl takes for a failure: `; true`.
        urls = [f"http://{host}:443/"] * ATTEMPTS
        said, cpu_s = run("sh", "-c", '"$@"; true', "sh", *command, *urls)
        return [float(seconds) * 1000 for seconds in said.split()], cpu_s

    return by_process(several, hosts)


def by_process(
    measure: Callable[[str], tuple[list[float | None], float]], hosts: Sequence[str]
) -> Outcome:
    figures: Figures = defaultdict(list)
    cpu_s = 0.0
    began = perf_counter()
    for host in hosts:
        found, cost_s = measure(host)
        figures[host] += found
        cpu_s += cost_s
    return Outcome({"user": figures}, perf_counter() - began, cpu_s)


def blackbox(run: Runner, place: Network, hosts: Sequence[str], by_name: bool) -> Outcome:
    """blackbox_exporter's probe_duration_seconds; it has no connect time for TCP."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        config.write("modules: {tcp: {prober: tcp, tcp: {preferred_ip_protocol: ip4}}}\n")
        config.flush()
        command = run.command(
            "prometheus-blackbox-exporter",
            f"--config.file={config.name}",
            "--web.listen-address=127.0.0.1:9115",
        )
        exporter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            place.net.call(wait_for, 9115)
            before = cpu_of(exporter.pid)
            figures: Figures = defaultdict(list)
            began = perf_counter()
            for host in hosts:
                for _ in range(ATTEMPTS):
                    target = f"{place.names[host] if by_name else host}:443"
                    page = place.net.call(get, 9115, f"/probe?module=tcp&target={target}")
                    seconds = re.search(r"^probe_duration_seconds ([\d.e+-]+)", page, re.MULTILINE)
                    assert seconds is not None, page
                    figures[host].append(float(seconds[1]) * 1000)
            wall_s = perf_counter() - began
            return Outcome({"user": figures}, wall_s, cpu_of(exporter.pid) - before)
        finally:
            exporter.terminate()
            exporter.wait(10)


def get(port: int, path: str) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    page = connection.getresponse().read().decode()
    connection.close()
    return page


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            get(port, "/")
        except OSError:
            sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on {port}")


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Bias:
    """Errors against the wire in µs: median with its sign, P90 and P99 of the amount."""

    count: int
    median: float
    p90: float
    p99: float


def bias(figures: Figures, truth: dict[str, list[float | None]]) -> Bias:
    """Figure minus wire, connect by connect; connects that failed on either side are left out."""
    errors = [
        (figure - wire) * 1000
        for host, attempts in figures.items()
        for figure, wire in zip(attempts, truth[host], strict=True)
        if figure is not None and wire is not None
    ]
    amounts = sorted(map(abs, errors))
    return Bias(
        len(errors),
        median(errors),
        amounts[min(len(amounts) - 1, int(len(amounts) * 0.90))],
        amounts[min(len(amounts) - 1, int(len(amounts) * 0.99))],
    )


def with_truth(
    place: Network, way: Callable[[], Outcome]
) -> tuple[Outcome, dict[str, list[float | None]]]:
    """A way's outcome, and the wire's round trips by address in the order of the connects."""
    sleep(0.5)  # let the last way's connections end: hping3 takes any packet for its answer
    capture = place.net.capture()
    outcome = way()
    truth: dict[str, list[float | None]] = defaultdict(list)
    for (host, _), handshake in capture.handshakes().items():
        truth[host].append(handshake.rtt_ms)
    capture.close()
    by_name = {name: truth[host] for host, name in place.names.items() if host in truth}
    return outcome, {**truth, **by_name}


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    print(f"\n{title}\n")
    for row in (heads, ["-" * width for width in widths], *rows):
        cells = [
            text.ljust(width) if at == 0 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


HEADS = ("way", "connects", "bias median µs", "P90", "P99", "wall s", "CPU ms")


def cells(name: str, found: Bias, outcome: Outcome) -> tuple[str, ...]:
    return (
        name,
        str(found.count),
        f"{found.median:.0f}",
        f"{found.p90:.0f}",
        f"{found.p99:.0f}",
        f"{outcome.wall_s:.2f}",
        f"{outcome.cpu_s * 1000:.0f}",
    )


def compare(run: Runner, place: Network, memory_mb: int, original_every: int) -> None:
    """The table of ways: ours over all targets, those one after another over some."""
    everything, some = place.some(1), place.some(PEERS_EVERY)
    named = [place.names[host] for host in place.some(original_every)]
    ways: dict[str, Callable[[], Outcome]] = {
        "CloudPing: {kind}": partial(client, run, "core", everything, memory_mb=memory_mb),
        "blocking, by name (the original)": partial(client, run, "blocking", named),
        "blocking, by address": partial(client, run, "blocking", some),
        "nping": partial(nping, run, place, some),
        "hping3": partial(hping3, run, place, some),
        "curl": partial(curl, run, place, some),
        "blackbox_exporter, by address": partial(blackbox, run, place, some, by_name=False),
        "blackbox_exporter, by name": partial(blackbox, run, place, some, by_name=True),
    }
    rows = []
    for name, way in ways.items():
        program = name.partition(",")[0]
        if program in PROGRAMS and not shutil.which(PROGRAMS[program]):
            print(f"{program} is not installed", file=sys.stderr)
            continue
        outcome, truth = with_truth(place, way)
        for kind, figures in outcome.figures.items():
            shown = name.format(kind={"kernel": "kernel RTT", "user": "user-space time"}[kind])
            rows.append(cells(shown, bias(figures, truth), outcome))
    state = f"throttled to a Lambda of {memory_mb} MB" if run.quota else "idle"
    table(f"Against the wire, {state}", HEADS, rows)


def in_flight(counts: Sequence[int]) -> None:
    """As fast as it goes with so many in flight: 200 targets of 50 ms."""
    rows = []
    with network(200, [50.0] * 200) as place:
        run = Runner(place.net)
        for count in counts:
            hosts = place.some(10 if count == 1 else 1)
            outcome, truth = with_truth(place, partial(client, run, "core", hosts, in_flight=count))
            for kind, figures in outcome.figures.items():
                found = bias(figures, truth)
                rows.append(cells(f"{count} in flight, {kind}", found, outcome))
    table("By number in flight, unpaced", HEADS, rows)


def memory(place: Network, sizes_mb: Sequence[int]) -> None:
    """What a Lambda's size does to figures, time and bill: the sweep by name, under its quota."""
    rows = []
    for size_mb in sizes_mb:
        with CpuQuota(size_mb) as quota:
            names = list(place.names.values())
            run = Runner(place.net, quota)
            outcome, truth = with_truth(
                place, partial(client, run, "core", names, memory_mb=size_mb)
            )
        kernel, user = (bias(outcome.figures[kind], truth) for kind in ("kernel", "user"))
        billed = size_mb / 1024 * outcome.wall_s
        rows.append(
            (
                f"{size_mb} MB",
                f"{pace_s(size_mb) * 1000:.1f}",
                f"{kernel.median:.0f} / {kernel.p99:.0f}",
                f"{user.median:.0f} / {user.p99:.0f}",
                f"{outcome.wall_s:.2f}",
                f"{outcome.cpu_s * 1000:.0f}",
                f"{outcome.held_back} of {outcome.periods}",
                f"{billed:.2f}",
                f"{billed * RUNS_A_MONTH * GB_SECOND_USD:.3f}",
            )
        )
    table(
        f"By size of the Lambda: {TARGETS} targets x {ATTEMPTS}, with lookups",
        (
            "memory",
            "pace ms",
            "kernel RTT bias median / P99 µs",
            "user-space bias",
            "wall s",
            "CPU ms",
            "periods held back",
            "billed GB-s",
            "USD a month and source",
        ),
        rows,
    )


def machine(place: Network, sizes_mb: Sequence[int]) -> None:
    """The worst case: not the process but the machine around it runs out of CPU."""
    if not shutil.which(whole_machine.PROGRAM):
        print("user-mode-linux is not installed: no figures of a whole machine", file=sys.stderr)
        return
    whole_machine.prepare(place.net)
    rows = []
    for size_mb in sizes_mb:
        work = {"way": "core", "hosts": place.some(1), "attempts": ATTEMPTS, "cpu_stat": None}

        def boot(work: dict[str, Any] = work, size_mb: int = size_mb) -> Outcome:
            with CpuQuota(size_mb) as quota:
                job = {**work, "memory_mb": size_mb}
                return outcome_of(whole_machine.run_client(place.net, job, quota), "core")

        outcome, truth = with_truth(place, boot)
        figures = outcome.figures["kernel"]
        least = bias(
            {host: [min(filter(None, found))] for host, found in figures.items()},
            {host: [min(filter(None, seen))] for host, seen in truth.items() if host in figures},
        )
        size = f"{size_mb} MB" if size_mb < LAMBDA_MB_PER_CORE else "one core"
        rows.append(cells(size, bias(figures, truth), outcome))
        rows.append(cells(f"{size}, least of {ATTEMPTS}", least, outcome))
    table("Kernel RTT where the whole machine is under the quota (User-Mode Linux)", HEADS, rows)


def cold_start() -> None:
    """What a new Lambda does before its first run: the package as deployed, on its own."""
    with tempfile.TemporaryDirectory() as folder:
        zip_file = packages.build(
            installation.PROBES, installation.Installation(), Path(folder) / "probes"
        )
        size = zip_file.stat().st_size
        unpacked = Path(folder) / "unpacked"
        with zipfile.ZipFile(zip_file) as content:
            content.extractall(unpacked)
        rows = []
        report = (
            "import time; from pathlib import Path; "
            "peak = Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]; "
            "print(time.process_time() * 1000, int(peak) / 1024)"
        )
        environ = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-west-1"}
        in_lambda = {
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }
        for name, code, more in (
            ("bare interpreter", "", {}),
            ("import app (packaging)", "import app; ", {}),
            ("import app (Lambda, with client)", "import app; ", in_lambda),
        ):
            runs = []
            for _ in range(5):
                began = perf_counter()
                done = subprocess.run(
                    [sys.executable, "-c", code + report],
                    cwd=unpacked,
                    env={**environ, **more},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                cpu_ms, rss_mb = map(float, done.stdout.split())
                runs.append((cpu_ms, (perf_counter() - began) * 1000, rss_mb))
            middle = sorted(runs)[2]
            rows.append((name, f"{middle[0]:.0f}", f"{middle[1]:.0f}", f"{middle[2]:.0f}"))
        table("Cold start (median of five)", ("step", "CPU ms", "wall ms", "RSS MB"), rows)
        print(f"\nzip: {size / 1000:.0f} kB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the original's way over some targets only"
    )
    args = parser.parse_args()
    if reason := bed.why_not():
        print(f"bench.measuring: {reason}", file=sys.stderr)
        return 1
    no_quota = cpu_quota.why_not()
    spread = [1 + 299 * at / (TARGETS - 1) for at in range(TARGETS)]
    with network(TARGETS, spread) as place:
        compare(Runner(place.net), place, 0, PEERS_EVERY if args.quick else 1)
        if no_quota:
            print(f"\nno throttled figures: {no_quota}", file=sys.stderr)
        else:
            with CpuQuota(THROTTLED_MB) as quota:
                compare(Runner(place.net, quota), place, THROTTLED_MB, PEERS_EVERY)
            memory(place, SIZES_MB)
            machine(place, SIZES_MB)
    in_flight((1, 8, 32, 128, 200))
    cold_start()
    return 0


if __name__ == "__main__":
    sys.exit(main())
