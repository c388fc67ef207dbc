"""The front end under load, beside the plain way: `python -m bench.frontend`.

Both serve the matrix of 34 sources and 39 targets under gunicorn with the image's configuration,
and both read through boto3 from a DynamoDB that answers from memory. The plain way reads and
deserialises all items of the timeframe for each request and renders them with a template; ours
serves its snapshot, which it renews meanwhile as often as the image does, and as if the aggregator
had run each time: all rows of a timeframe are read and every page is rendered anew.
Where nginx and wrk are installed, nginx serves the same bytes as a static file: the limit. With
`--beside FOLDER` another checkout's front end is measured in the same run, by turns, and its half
load is the same requests per second. Needs Linux (memory is read from /proc).
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask, render_template_string

from cloudping import dynamo
from cloudping.changes import ChangeTable
from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.runs import (
    METHOD_KERNEL,
    ORIGIN_SIMULATED,
    Attempt,
    Run,
    RunTable,
    TargetResult,
)
from cloudping.settings import load
from cloudping.summaries import PERCENTILES, TIMEFRAMES, Figures, Summary, SummaryTable
from cloudping.times import to_iso
from frontend import create_app

ROOT = Path(__file__).parent.parent
SOURCES = [code for code, region in CATALOGUE.items() if region.partition == "aws"]
CONNECTIONS = 16
SECONDS = 8
MEMORY_REQUESTS = 100_000
PACED_S = 2 * 60  # two refreshes
INTERVAL_S = 300

PLAIN_PAGE = """<!doctype html><title>CloudPing</title><table>
<tr><th></th>{% for to in targets %}<th>{{ to }}</th>{% endfor %}</tr>
{% for source in sources %}<tr><th>{{ source }}</th>
{% for to in targets %}{% set ms = cells.get((source, to)) %}
<td class="{{ 'fast' if ms and ms < 100 else 'slow' }}">{{ '%.2f' % ms if ms else '-' }}</td>
{% endfor %}</tr>{% endfor %}</table>"""


def stored() -> dict[str, list[dict[str, Any]]]:
    """The items of each table and timeframe, in DynamoDB's wire format."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    chance = random.Random(1)

    def cell(timeframe: str, source: str, target: str) -> Summary:
        base = chance.uniform(1, 300)
        figures = Figures(
            samples=1440,
            mean=base + 0.4,
            stddev=0.8,
            min=base,
            max=base + 40,
            percentiles={p: base + p / 50 for p in PERCENTILES},
            failures={"timeout": 1},
            loss_pct=0.069,
            coverage_pct=100.0,
            first_sample=now - timedelta(days=1),
            last_sample=now,
            methods=(METHOD_KERNEL,),
        )
        return Summary(timeframe, source, target, figures, now - timedelta(days=1), now, now,
                       ORIGIN_SIMULATED)  # fmt: skip

    written = _Recorder()
    every = timedelta(seconds=INTERVAL_S)
    for source in SOURCES:
        newest = _run(source, now, chance)
        RunTable(written).put_once(newest)
        for k in range(timedelta(days=1) // every):
            at = to_iso(now - k * every)
            key = {"region": source, "timestamp": at, "written_at": at}
            written.items.setdefault(f"{RunTable.NAME}/keys/{source}", []).append(
                dynamo.to_wire(key)
            )
    for code, region in CATALOGUE.items():
        RegionTable(written).put(RegionState(region, code in SOURCES, True, 300))
    for timeframe in TIMEFRAMES:
        SummaryTable(written).write(cell(timeframe, a, b) for a in SOURCES for b in CATALOGUE)
    return written.items


def _run(source: str, at: datetime, chance: random.Random) -> Run:
    results = {}
    for target, region in CATALOGUE.items():
        base = chance.uniform(1, 300)
        attempts = tuple(Attempt(base + k / 10, base + k / 10 + 0.05) for k in range(5))
        results[target] = TargetResult(region.endpoint, ("192.0.2.1",), 1.5, attempts)
    return Run(source, at, "aws", INTERVAL_S, 5, METHOD_KERNEL, ORIGIN_SIMULATED, results,
               memory_mb=512, wall_ms=2000.0, written_at=at)  # fmt: skip


class _Recorder:
    """Takes what table code writes, by table and hash key."""

    def __init__(self) -> None:
        self.items: dict[str, list[dict[str, Any]]] = {}

    def put_item(self, TableName: str, Item: dict[str, Any], **_: Any) -> None:
        name = f"{TableName}/{Item['region']['S']}" if "timestamp" in Item else TableName
        self.items.setdefault(name, []).append(Item)

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:
        for table, requests in RequestItems.items():
            for request in requests:
                item = request["PutRequest"]["Item"]
                self.items.setdefault(f"{table}/{item['timeframe']['S']}", []).append(item)
        return {}


def _pages(items: list[dict[str, Any]]) -> list[bytes]:
    """The answers to a query, of at most about 1 MB as DynamoDB's."""
    made: list[bytes] = []
    for start in range(0, len(items), 1000):
        page: dict[str, Any] = {"Items": items[start : start + 1000]}
        if start + 1000 < len(items):
            page["LastEvaluatedKey"] = {"next": {"S": str(len(made) + 1)}}
        made.append(json.dumps(page).encode())
    return made


def _asked_for(request: dict[str, Any]) -> str:
    """The name of what a query asks for, among those of `stored`."""
    table = str(request["TableName"])
    values = {k: v["S"] for k, v in request.get("ExpressionAttributeValues", {}).items()}
    if table == SummaryTable.NAME:
        return "/".join([table, *values.values()])
    if table == RunTable.NAME and "IndexName" in request:
        return f"{table}/keys/{values[':region']}"
    if table == RunTable.NAME:  # the newest; none has come since
        return f"{table}/{values[':region']}" if "Limit" in request else ""
    return table


def _state(source: str) -> dict[str, Any]:
    moment = to_iso(datetime.now(UTC))
    written = {**dict.fromkeys(TIMEFRAMES, "the same"), TIMEFRAMES[0]: moment}
    item = {"region": source, "watermark": moment, "rolled_until": moment, "written": written}
    return dynamo.to_wire({**item, "revision": 1})


def answered_from_memory(client: Any) -> Any:
    """boto3's client with every request answered at the wire: only the network is left out."""
    from botocore.awsrequest import AWSResponse

    items = stored()
    for name, whole in list(items.items()):
        for item in whole:  # the rows of the matrix, as the front end asks for them
            if "index" in item:
                items.setdefault(f"{name}/{item['region_from']['S']}_", []).append(item)
    pages = {name: _pages(whole) for name, whole in items.items()}

    class Raw:
        """The body of an answer, as urllib3 would give it."""

        def __init__(self, body: bytes) -> None:
            self.body = body

        def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
            yield self.body

    def answer(request: Any, **_: Any) -> Any:
        asked = json.loads(request.body)
        body = pages.get(_asked_for(asked), [b'{"Items": []}'])[
            int(asked.get("ExclusiveStartKey", {}).get("next", {}).get("S", 0))
        ]
        if asked["TableName"] == ChangeTable.NAME and "Key" in asked:
            body = b"{}"  # nothing has been looked for
        elif "Key" in asked:  # the aggregator's state of a source: today's figures are always new
            body = json.dumps({"Item": _state(asked["Key"]["region"]["S"])}).encode()
        headers = {"content-type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 200, headers, Raw(body))

    client.meta.events.register("before-send.dynamodb", answer)
    return client


def _client() -> Any:
    return dynamo.client("us-east-2", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106 - opens nothing


def ours() -> Flask:
    """The front end as it is."""
    return create_app(load(os.environ), answered_from_memory(_client()))


def plain() -> Flask:
    """Every item read and deserialised by boto3 for each request, then a template."""
    import boto3
    from boto3.dynamodb.conditions import Key

    app = Flask(__name__)
    resource = boto3.resource(
        "dynamodb",
        region_name="us-east-2",
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106 - opens nothing
    )
    answered_from_memory(resource.meta.client)
    table = resource.Table(SummaryTable.NAME)

    @app.get("/")
    def matrix() -> str:
        request: dict[str, Any] = {
            "KeyConditionExpression": Key("timeframe").eq("1D"),
        }
        items: list[Any] = []
        while True:
            page = table.query(**request)
            items += page["Items"]
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        cells = {(item["region_from"], item["region_to"]): item["p_50"] for item in items}
        return render_template_string(
            PLAIN_PAGE, sources=SOURCES, targets=list(CATALOGUE), cells=cells
        )

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    return app


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def until_ready(port: int, seconds: float) -> None:
    """Waits until the site has data to show."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing on port {port} was ready within {seconds:.0f} s")


@contextmanager
def serving(app: str, root: Path = ROOT) -> Iterator[tuple[int, int]]:
    """gunicorn as in the image, on a free port of this machine: port and pid of the master."""
    port = free_port()
    [config] = root.glob("frontend/**/gunicorn.conf.py")
    environ = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port),
               "FRONTEND_REQUESTS_PER_MINUTE": "0", "FRONTEND_GIGABYTES_PER_DAY": "0"}  # fmt: skip
    command = [sys.executable, "-m", "gunicorn", "-c", str(config.relative_to(root)),
               "--log-level", "warning", f"bench.frontend:{app}()"]  # fmt: skip
    process = subprocess.Popen(command, cwd=root, env=environ)
    try:
        until_ready(port, 30)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(port: int, number: int) -> Streams:
    """From an address of its own: the site gives each client no more than its share."""
    own = f"127.1.{number // 250 % 250}.{number % 250 + 1}"
    return await asyncio.open_connection("127.0.0.1", port, limit=2**20, local_addr=(own, 0))


async def _one(streams: Streams, request: bytes) -> None:
    reader, writer = streams
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.split(b"\r\n", 1)[0].decode())
    at = head.lower().index(b"content-length: ") + 16
    await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\n\r\n".encode()


async def saturate(
    port: int,
    seconds: float,
    paths: Iterator[str] | None = None,
    most: int = 10**9,
    connections: int = CONNECTIONS,
) -> tuple[float, int]:
    """Requests per second, and how many, when each connection asks again at once."""
    done = 0
    end = time.monotonic() + seconds
    root = _request("/")

    async def connection(number: int) -> None:
        nonlocal done
        streams = await _connect(port, number)
        while time.monotonic() < end and done < most:
            await _one(streams, root if paths is None else _request(next(paths)))
            done += 1
        streams[1].close()

    start = time.monotonic()
    await asyncio.gather(*(connection(k) for k in range(connections)))
    return done / (time.monotonic() - start), done


async def paced(port: int, rate: float, seconds: float) -> list[float]:
    """Latencies in ms at a fixed rate, from when each request was due (no coordinated omission)."""
    latencies: list[float] = []
    pool: asyncio.Queue[Streams] = asyncio.Queue()
    for k in range(4 * CONNECTIONS):
        pool.put_nowait(await _connect(port, k))
    root = _request("/")

    async def one(due: float) -> None:
        streams = await pool.get()
        await _one(streams, root)
        pool.put_nowait(streams)
        latencies.append(1000 * (time.monotonic() - due))

    start = time.monotonic()
    # The group lets go of a task that is done: a hundred thousand kept ones would have this
    # program's garbage collector stop it for up to 0.6 s, which would count as the site's latency.
    async with asyncio.TaskGroup() as tasks:
        for k in range(int(rate * seconds)):
            due = start + k / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(due))
    while not pool.empty():
        pool.get_nowait()[1].close()
    return latencies


def memory_mb(master: int) -> float:
    """Resident memory of the workers."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in children)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def visits() -> Iterator[str]:
    """What visitors ask for: mostly the matrix, and addresses that were never asked before."""
    k = 0
    while True:
        k += 1
        yield f"/?within={k}" if k % 100 == 0 else ("/", "/status", "/api/latencies")[k % 3]


def by_wrk(port: int, seconds: int = 4) -> float:
    """Requests per second, asked by a client that costs less than a server."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", "Accept-Encoding: gzip",
               f"http://127.0.0.1:{port}/"]  # fmt: skip
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    [found] = re.findall(r"Requests/sec:\s+([\d.]+)", said)
    return float(found)


@contextmanager
def nginx(body: bytes) -> Iterator[int]:
    """nginx with one worker, which has the body as a file: its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - nginx' worker is another user
        Path(folder, "index.html").write_bytes(body)
        config = Path(folder, "nginx.conf")
        config.write_text(NGINX.format(folder=folder, port=port))
        process = subprocess.Popen(["nginx", "-c", str(config)])
        try:
            end = time.monotonic() + 10
            while time.monotonic() < end:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; open_file_cache max=10; keepalive_requests 1000000;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def beside_nginx(port: int) -> tuple[float, float]:
    """Requests per second of the matrix page: ours, and nginx' with the same bytes, by turns."""
    address, accepted = f"http://127.0.0.1:{port}/", {"Accept-Encoding": "gzip"}
    asked = urllib.request.Request(address, headers=accepted)
    with urllib.request.urlopen(asked) as answer:  # noqa: S310 - of this machine
        body = answer.read()
    with nginx(body) as static:
        found = [(by_wrk(port), by_wrk(static)) for _ in range(2)]
    return max(mine for mine, _ in found), max(its for _, its in found)


def percentile_99(latencies: list[float]) -> float:
    return sorted(latencies)[int(0.99 * len(latencies))]


def beside(root: Path, paced_s: float) -> list[tuple[str, str, str]]:
    """Ours and another checkout's, by turns."""
    with serving("ours") as (mine, _), serving("ours", root) as (its, _):
        for port in (mine, its):
            asyncio.run(saturate(port, 2))
        fast = [
            (
                asyncio.run(saturate(mine, SECONDS / 2))[0],
                asyncio.run(saturate(its, SECONDS / 2))[0],
            )
            for _ in range(3)
        ]
        rate = min(min(pair) for pair in fast) / 2
        late: tuple[list[float], list[float]] = ([], [])
        for _ in range(2):
            late[0].extend(asyncio.run(paced(mine, rate, paced_s / 2)))
            late[1].extend(asyncio.run(paced(its, rate, paced_s / 2)))
    return [
        ("ours and the other's, requests/s, medians",
         " / ".join(f"{statistics.median(side):,.0f}" for side in zip(*fast, strict=True)), ""),
        (f"at {rate:,.0f} requests/s: p99, ms",
         " / ".join(f"{percentile_99(side):.2f}" for side in late), ""),
    ]  # fmt: skip


def main() -> None:
    """Prints the table; the figures that were asked for stand beside what was measured."""
    parser = argparse.ArgumentParser(description="The front end under load, beside the plain way.")
    parser.add_argument("--beside", type=Path, help="another checkout, e.g. of an older commit")
    parser.add_argument("--short", action="store_true", help="less of everything: a minute in all")
    args = parser.parse_args()
    paced_s, asked_in_all = (20, 5_000) if args.short else (PACED_S, MEMORY_REQUESTS)
    with serving("plain") as (port, _):
        # Enough to keep it busy; more would wait so long that they are turned away.
        slow, _ = asyncio.run(saturate(port, SECONDS, connections=4))
    with serving("ours") as (port, master):
        asyncio.run(saturate(port, 2))
        fast, _ = asyncio.run(saturate(port, SECONDS))
        latencies = asyncio.run(paced(port, fast / 2, paced_s))
        with_nginx = beside_nginx(port) if shutil.which("wrk") and shutil.which("nginx") else None
        # As many different pages as the cache holds, so that only a leak can still grow.
        asyncio.run(saturate(port, 90, (f"/?within={k}" for k in range(100_000, 200_000)), 2000))
        before = memory_mb(master)
        _, asked = asyncio.run(saturate(port, 180, visits(), asked_in_all))
        after = memory_mb(master)
    rows = [
        ("plain way, requests/s", f"{slow:,.1f}", ""),
        ("ours, requests/s", f"{fast:,.0f}", ""),
        ("ratio", f"{fast / slow:,.0f}", ">= 600"),
        ("half load: p50, ms", f"{statistics.median(latencies):.2f}", ""),
        ("half load: p99, ms", f"{percentile_99(latencies):.2f}", "< 25"),
        ("memory before, MB", f"{before:.1f}", ""),
        (f"memory after {asked:,} requests, MB", f"{after:.1f}", "flat"),
    ]
    if with_nginx is not None:
        mine, its = with_nginx
        rows.append(("by wrk: ours / nginx, the same bytes", f"{mine:,.0f} / {its:,.0f}", ""))
        rows.append(("nginx is faster by", f"{its / mine:.1f}", ""))
    if args.beside:
        rows += beside(args.beside.resolve(), paced_s)
    print(f"{'front end, 34 x 39 cells':44} {'measured':>18}  must reach")
    for name, value, must in rows:
        print(f"{name:44} {value:>18}  {must}")


if __name__ == "__main__":
    main()
