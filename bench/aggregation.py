"""What a run of the aggregator costs, beside the plain way: `python -m bench.aggregation`.

The tables are answered from memory by a process of its own, over HTTP on the loopback, so that the
aggregator's CPU time and memory include all of boto3 and nothing of the store. Bytes are those of
the items by DynamoDB's rules ("Item sizes and formats" in its developer guide), of a whole item
also where only a part is asked for; units are these per request, 4 KB a read (half of it where
eventually consistent), 1 KB a write. Latencies are synthetic; every source has the same ones.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import threading
from base64 import b64encode
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final
from urllib.request import Request, urlopen

import numpy as np

from cloudping import dynamo, runs, windows
from cloudping.buckets import Bucket, Checkpoint, to_item
from cloudping.distribution import Distribution, from_attempts, merge
from cloudping.periods import DAY, HOUR, MONTH, floor, following
from cloudping.regions import CATALOGUE, RegionState, rtt_floor_ms
from cloudping.runs import METHOD_KERNEL, ORIGIN_AWS, Attempt, Run, TargetResult
from cloudping.summaries import PERCENTILES, TIMEFRAMES
from infra.commands.cost import READ, WRITE

sys.path.append(str(Path(__file__).resolve().parent.parent / "aggregator"))  # as Lambda has it
from chalicelib import aggregate, schedule
from chalicelib.reader import RunReader
from chalicelib.tables import Tables, tables

SOURCES: Final = [code for code, region in CATALOGUE.items() if region.partition == "aws"]
TARGETS: Final = tuple(CATALOGUE)
ATTEMPTS: Final = 5
PAGE_BYTES: Final = 1024 * 1024
NOON: Final = datetime(2026, 11, 20, 12, 3, tzinfo=UTC)
HOUR_: Final = timedelta(hours=1)

Wire = dict[str, Any]


def item_bytes(item: Wire) -> int:
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Wire) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            digits = content.lstrip("-0").replace(".", "").rstrip("0")
            return 1 + ceil(len(digits) / 2)
        case "B":
            return len(content) * 3 // 4  # base64 on the wire
        case "M":
            return 3 + len(content) + item_bytes(content)
        case "L":
            return 3 + len(content) + sum(map(_value_bytes, content))
        case _:
            return 1


class Store:
    """As much of DynamoDB as the aggregator uses, in memory, with its costs counted."""

    KEYS: Final = {
        "PingTest": ("region", "timestamp"),
        "cloudping_regions": ("region", None),
        "cloudping_distributions": ("region", "bucket"),
        "cloudping_stored_avgs": ("timeframe", "index"),
        "cloudping_history": ("pair", "month"),
    }

    def __init__(self) -> None:
        # table and hash key -> range keys in order; and with the range key -> item, size, JSON
        self.order: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.items: dict[tuple[str, str, str], tuple[Wire, int, str]] = {}
        self.reset()

    def reset(self) -> None:
        self.counts = dict.fromkeys(
            ("requests", "items_read", "bytes_read", "units_read",
             "items_written", "bytes_written", "units_written"), 0.0,
        )  # fmt: skip

    def answer(self, operation: str, request: Wire) -> str:
        self.counts["requests"] += 1
        method: Callable[[Wire], str] = getattr(self, operation)
        return method(request)

    def Counts(self, _: Wire) -> str:
        text = json.dumps(self.counts)
        self.reset()
        return text

    def Seed(self, request: Wire) -> str:
        """The same items for each source, without their costs."""
        for item in request["Items"]:
            for code in request["Sources"]:
                self._put(request["TableName"], item | {"region": {"S": code}})
        self.reset()
        return "{}"

    def _keys(self, table: str) -> tuple[str, str | None]:
        return self.KEYS[table.rpartition("-")[2]]

    def _place(self, table: str, item: Wire) -> tuple[str, str, str]:
        first, second = self._keys(table)
        return table, item[first]["S"], item[second]["S"] if second else ""

    def _put(self, table: str, item: Wire) -> None:
        place = self._place(table, item)
        size = item_bytes(item)
        if place not in self.items:
            insort(self.order[place[:2]], place[2])
        self.items[place] = (item, size, json.dumps(item))
        self.counts["items_written"] += 1
        self.counts["bytes_written"] += size
        # The index on written_at holds the keys, and is written as well.
        self.counts["units_written"] += ceil(size / 1024) + ("written_at" in item)

    def _read(self, sizes: list[int], units_each: float) -> None:
        self.counts["items_read"] += len(sizes)
        self.counts["bytes_read"] += sum(sizes)
        self.counts["units_read"] += max(1, ceil(sum(sizes) / 4096)) * units_each

    def PutItem(self, request: Wire) -> str:
        old = self.items.get(self._place(request["TableName"], request["Item"]))
        condition = request.get("ConditionExpression", "")
        if condition.startswith("attribute_not_exists"):
            held = old is None
        elif condition:
            (name,) = request["ExpressionAttributeNames"].values()
            (value,) = request["ExpressionAttributeValues"].values()
            held = old is not None and old[0][name] == value
        else:
            held = True
        if not held:
            raise ValueError("ConditionalCheckFailedException")
        self._put(request["TableName"], request["Item"])
        return "{}"

    def BatchWriteItem(self, request: Wire) -> str:
        for table, writes in request["RequestItems"].items():
            for write in writes:
                if "PutRequest" in write:
                    self._put(table, write["PutRequest"]["Item"])
                elif self.items.pop(place := self._place(table, write["DeleteRequest"]["Key"]), 0):
                    self.order[place[:2]].remove(place[2])
        return "{}"

    def UpdateItem(self, request: Wire) -> str:
        """SET of attributes, or of days of a month."""
        item = dict(self.items[self._place(request["TableName"], request["Key"])][0])
        names = request.get("ExpressionAttributeNames", {})
        values = request["ExpressionAttributeValues"]
        for assignment in request["UpdateExpression"].removeprefix("SET ").split(", "):
            path, value = assignment.split(" = ")
            outer, _, inner = path.partition(".")
            if inner:
                days = item[names[outer]]["M"] | {names[inner]: values[value]}
                item[names[outer]] = {"M": days}
            else:
                item[outer] = values[value]
        self._put(request["TableName"], item)
        return "{}"

    def GetItem(self, request: Wire) -> str:
        found = self.items.get(self._place(request["TableName"], request["Key"]))
        self._read([found[1]] if found else [], 1 if request.get("ConsistentRead") else 0.5)
        return f'{{"Item":{found[2]}}}' if found else "{}"

    def Scan(self, request: Wire) -> str:
        found = [entry for place, entry in self.items.items() if place[0] == request["TableName"]]
        self._read([size for _, size, _ in found], 0.5)
        return f'{{"Items":[{",".join(text for _, _, text in found)}]}}'

    def Query(self, request: Wire) -> str:
        table = request["TableName"]
        values = [v["S"] for v in request["ExpressionAttributeValues"].values()]
        if "IndexName" in request:
            return self._written_since(table, *values)
        condition = request["KeyConditionExpression"]
        order = self.order[table, values[0]]
        low, high = 0, len(order)
        if "BETWEEN" in condition:
            low, high = bisect_left(order, values[1]), bisect_right(order, values[2])
        elif "begins_with" in condition:
            low, high = bisect_left(order, values[1]), bisect_left(order, values[1] + "~")
        if "ExclusiveStartKey" in request:
            low = bisect_right(order, request["ExclusiveStartKey"][self._keys(table)[1]]["S"])
        chosen = order[low:high] if request.get("ScanIndexForward", True) else order[low:high][::-1]
        sizes, texts, last = [], [], ""
        for name in chosen[: request.get("Limit")]:
            item, size, text = self.items[table, values[0], name]
            sizes.append(size)
            texts.append(text)
            if sum(sizes) > PAGE_BYTES:
                key = {k: item[k] for k in self._keys(table) if k}
                last = f',"LastEvaluatedKey":{json.dumps(key)}'
                break
        self._read(sizes, 1 if request.get("ConsistentRead") else 0.5)
        return f'{{"Items":[{",".join(texts)}]{last}}}'

    def _written_since(self, table: str, region: str, moment: str) -> str:
        keys = ("region", "timestamp", "written_at")
        found = [
            {name: item[name] for name in keys}
            for key in self.order[table, region]
            if (item := self.items[table, region, key][0])["written_at"]["S"] >= moment
        ]
        self._read([item_bytes(key) for key in found], 0.5)
        return json.dumps({"Items": sorted(found, key=lambda key: key["written_at"]["S"])})


def serve(ready: Any) -> None:
    """The store's process: DynamoDB's protocol on a free port of the loopback."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            status = 200
            try:
                text = store.answer(operation, json.loads(body))
            except ValueError as error:
                status, text = 400, json.dumps({"__type": str(error)})
            answer = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready.send(server.server_port)
    with suppress(EOFError):
        ready.recv()  # ends with the process that wants the store, however that ends


@contextmanager
def running_store() -> Iterator[str]:
    """The endpoint of a store that lives as long as the block."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{mine.recv()}"
    finally:
        mine.close()
        process.join()


def connect(endpoint: str) -> Any:
    return dynamo.client("us-east-2", endpoint)


def post(endpoint: str, operation: str, content: Wire) -> Any:
    """Asks the store for what DynamoDB does not do."""
    body, headers = json.dumps(content).encode(), {"X-Amz-Target": f"Bench.{operation}"}
    with urlopen(Request(endpoint, body, headers), timeout=300) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def counts(endpoint: str) -> dict[str, float]:
    """What was read and written since the last call."""
    found: dict[str, float] = post(endpoint, "Counts", {})
    return found


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Its result, from a process that has done nothing else, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def synthetic(count: int, start: datetime, interval: timedelta, seed: int) -> Distribution:
    """`count` runs of one source: a base per target, a tail to the right, 0.05 % lost."""
    rng = np.random.default_rng(seed)
    target = np.tile(np.repeat(np.arange(len(TARGETS)), ATTEMPTS), count)
    base = np.random.default_rng(1).uniform(2, 280, len(TARGETS))[target]
    latency = base + rng.gamma(2.0, 0.1 + base / 500)
    latency[rng.random(len(latency)) < 0.0005] = np.nan
    time_s = int(start.timestamp()) + np.repeat(
        np.arange(count) * int(interval.total_seconds()), len(TARGETS) * ATTEMPTS
    )
    return from_attempts(TARGETS, target, latency, time_s, runs=count)


def a_run(source: str, at: datetime, interval: timedelta, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(1).uniform(2, 280, len(TARGETS))
    results = {}
    for k, code in enumerate(TARGETS):
        # Never below what light in fibre needs, or the sanity check would take it out.
        floor_ms = rtt_floor_ms(source, code)
        values = (max(base[k], floor_ms) + rng.gamma(2.0, 0.1 + base[k] / 500, ATTEMPTS)).round(3)
        attempts = tuple(Attempt(float(v), round(float(v) + 0.06, 3)) for v in values)
        addresses = tuple(f"203.0.113.{k}" for k in range(1, 4))
        results[code] = TargetResult(CATALOGUE[code].endpoint, addresses, 2.15, attempts)
    return Run(
        source, at, "aws", int(interval.total_seconds()), ATTEMPTS, METHOD_KERNEL, ORIGIN_AWS,
        results, 256, 2100.0, 80.0, 400.0, at + timedelta(seconds=4),
    )  # fmt: skip


def seed_steady(endpoint: str, prefix: str, now: datetime, years: int) -> None:
    """All sources at 5 minutes' cadence, last rolled up an hour before `now`."""
    client = connect(endpoint)
    installed = tables(client, prefix)
    interval = timedelta(minutes=5)
    per_hour = 12
    shapes = {
        MONTH: [synthetic(30 * 24 * per_hour, NOON, interval, k) for k in range(2)],
        DAY: [synthetic(24 * per_hour, NOON, interval, k) for k in range(4)],
        HOUR: [synthetic(per_hour, NOON, interval, k) for k in range(4)],
    }
    begin = floor(MONTH, now - timedelta(days=366 * years))
    before = now - HOUR_
    buckets = [
        to_item(
            Bucket(
                "", level, start, METHOD_KERNEL, ORIGIN_AWS,
                replace(
                    shapes[level][k % len(shapes[level])],
                    until_s=int(following(level, start).timestamp()) - 300,
                ),
            ),
            before,
        )
        for level, first in ((MONTH, begin), (DAY, begin), (HOUR, now - timedelta(days=14)))
        for k, start in enumerate(complete(level, first, before))
    ]  # fmt: skip
    post(
        endpoint,
        "Seed",
        {
            "TableName": installed.distributions.name,
            "Sources": SOURCES,
            "Items": [
                wire | {"data": {"B": b64encode(wire["data"]["B"]).decode()}}
                for wire in map(dynamo.to_wire, buckets)
            ],
        },
    )
    recent = [floor(HOUR, now) - 2 * HOUR_ + k * interval for k in range(25)]
    for number, code in enumerate(SOURCES):
        installed.regions.put(RegionState(CATALOGUE[code], True, True, 300))
        dynamo.write_batches(
            client,
            installed.runs.name,
            (runs.to_item(a_run(code, at, interval, number)) for at in recent),
        )
        checkpoint = Checkpoint(code, before, before, begin, {"1M": "seeded", "1Y": "seeded"})
        installed.distributions.move(checkpoint, None, before)


def complete(level: str, first: datetime, end: datetime) -> Iterator[datetime]:
    """The starts of the hours, days or months from `first` that are over at `end`."""
    start = floor(level, first)
    while following(level, start) <= end:
        yield start
        start = following(level, start)


def steady_run(endpoint: str, prefix: str, now: datetime) -> dict[str, float]:
    """One run of the aggregator over all sources; its report, and its peak memory in MB."""
    installed = tables(connect(endpoint), prefix)
    report = aggregate.run(installed, RunReader(installed.runs), clock=lambda: now)
    if report["failed"] or report["bad_items"]:
        raise SystemExit(f"the aggregator failed: {report}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": report["wall_s"], "cpu_s": report["cpu_s"], "peak_mb": peak_mb}


def seed_six_hourly(endpoint: str, prefix: str, sources: list[str], end: datetime) -> None:
    """A year of raw runs of every six hours, and what the aggregator had made of them."""
    client = connect(endpoint)
    installed = tables(client, prefix)
    interval = timedelta(hours=6)
    for number, code in enumerate(sources):
        installed.regions.put(RegionState(CATALOGUE[code], True, True, 21600))
        begin = floor(DAY, end) - timedelta(days=367)
        made = [
            a_run(code, begin + k * interval, interval, 10_000 * number + k)
            for k in range(int((end - begin) / interval))
        ]
        dynamo.write_batches(client, installed.runs.name, map(runs.to_item, made))
        levels: dict[tuple[str, datetime], list[Distribution]] = defaultdict(list)
        for run in made:
            hour = floor(HOUR, run.timestamp)
            (one,) = schedule.distributions([schedule.run_samples(run)], hour, end, None).values()
            for level in (HOUR, DAY, MONTH):
                if following(level, floor(level, hour)) <= end - interval:
                    levels[level, floor(level, hour)].append(one)
        installed.distributions.write(
            (
                Bucket(code, level, start, METHOD_KERNEL, ORIGIN_AWS, merge(parts))
                for (level, start), parts in levels.items()
            ),
            end,
        )
        last = made[-1].timestamp + timedelta(minutes=10)
        checkpoint = Checkpoint(code, last, last, begin, {"1M": "seeded", "1Y": "seeded"})
        installed.distributions.move(checkpoint, None, last)


def plain_run(installed: Tables, code: str, now: datetime) -> dict[tuple[str, str], Any]:
    """The plain way: all raw runs of each timeframe, and numpy over their samples."""
    result = {}
    for timeframe in TIMEFRAMES:
        by_target = defaultdict(list)
        for run in installed.runs.between(code, windows.start(timeframe, now), now):
            for sample in runs.samples(run):
                if sample.latency_ms is not None:
                    by_target[sample.region_to].append(sample.latency_ms)
        for target, values in by_target.items():
            exact = np.rint(np.array(values) * 100) / 100
            result[timeframe, target] = np.percentile(exact, PERCENTILES)
    return result


def six_hourly(endpoint: str, sources: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Four runs, of a day, of both ways on the same tables; (ours, plain), results compared."""
    end = datetime(2026, 11, 20, tzinfo=UTC)
    seed_six_hourly(endpoint, "six-", sources, end)
    client = connect(endpoint)
    installed = tables(client, "six-")
    interval = timedelta(hours=6)
    ours: dict[str, float] = defaultdict(float)
    plain: dict[str, float] = defaultdict(float)
    compared = 0
    for number in range(4):
        at = end + number * interval
        for source in sources:
            installed.runs.put_once(a_run(source, at, interval, number + 5))
        now = at + timedelta(minutes=13)
        counts(endpoint)
        began, began_cpu = perf_counter(), process_time()
        aggregate.run(
            installed,
            RunReader(installed.runs),
            clock=partial(datetime.fromtimestamp, now.timestamp(), UTC),
        )
        _add(ours, counts(endpoint), perf_counter() - began, process_time() - began_cpu)
        for source in sources:
            began, began_cpu = perf_counter(), process_time()
            truth = plain_run(installed, source, now)
            _add(plain, counts(endpoint), perf_counter() - began, process_time() - began_cpu)
            # 1M and 1Y are renewed by the first run of the day.
            for timeframe in TIMEFRAMES if number == 0 else TIMEFRAMES[:2]:
                for cell in installed.summaries.of_source(timeframe, source):
                    expected = truth[timeframe, cell.region_to]
                    for p, value in cell.figures.percentiles.items():
                        if abs(value - expected[PERCENTILES.index(p)]) > 0.0006:
                            raise SystemExit(f"{cell} differs from numpy: P{p} {expected}")
                        compared += 1
            counts(endpoint)
    ours["compared"] = compared
    return ours, plain


def _add(total: dict[str, float], part: Mapping[str, float], wall_s: float, cpu_s: float) -> None:
    for name, value in {**part, "wall_s": wall_s, "cpu_s": cpu_s}.items():
        total[name] += value


COLUMNS: Final = (
    ("wall s", "wall_s", 1), ("CPU s", "cpu_s", 1), ("peak MB", "peak_mb", 1),
    ("items read", "items_read", 1), ("MB read", "bytes_read", 1e6),
    ("items written", "items_written", 1), ("MB written", "bytes_written", 1e6),
)  # fmt: skip


def line(title: str, found: Mapping[str, float]) -> str:
    cells = [
        f"{found[key] / unit:13,.1f}" if key in found else f"{'':13}" for _, key, unit in COLUMNS
    ]
    usd = found["units_read"] * READ + found["units_written"] * WRITE
    return f"{title:44}" + "".join(cells) + f"{usd:13.6f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.aggregation", description=__doc__)
    parser.add_argument("--sources", type=int, default=1, help="of the six-hourly comparison (1)")
    args = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    print(f"{'':44}" + "".join(f"{title:>13}" for title, _, _ in COLUMNS) + f"{'USD':>13}")
    midnight = datetime(2026, 11, 21, 0, 3, tzinfo=UTC)
    bytes_read = {}
    for title, prefix, now, years in (
        ("5 min, 34 x 39, a year, one hour's run", "one-", NOON, 1),
        ("  two years behind it", "two-", NOON, 2),
        ("  a year, first run of the day", "day-", midnight, 1),
    ):
        with running_store() as endpoint:
            seed_steady(endpoint, prefix, now, years)
            counts(endpoint)
            found = in_fresh_process(steady_run, endpoint, prefix, now)
            found |= counts(endpoint)
            bytes_read[prefix] = found["bytes_read"]
            print(line(title, found), flush=True)
    with running_store() as endpoint:
        ours, plain = six_hourly(endpoint, SOURCES[: args.sources])
    print(line(f"6 h, {args.sources} x 39, a year, the four runs of a day", ours))
    print(line("  the plain way, the same four runs", plain))
    print(
        f"\ntwice the history: {bytes_read['two-'] / bytes_read['one-']:.3f} times the bytes read"
    )
    print(
        f"6 h: {plain['bytes_read'] / ours['bytes_read']:.0f} times fewer bytes read than the "
        f"plain way; {ours['compared']:.0f} percentiles compared, all equal to 0.01 ms"
    )
    print(
        f"USD: on demand, {READ * 1e6} a million read units, {WRITE * 1e6} a million write units "
        "(infra/commands/cost.py has their source and date)"
    )


if __name__ == "__main__":
    main()
