"""Compares what the probes logged with what the tables hold, figure by figure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from cloudping import runs
from cloudping.buckets import Bucket, DistributionTable
from cloudping.distribution import UNITS_PER_MS, minimum_samples
from cloudping.periods import DAY, HOUR, MONTH, floor, following
from cloudping.runs import REASONS, Run, RunTable
from cloudping.summaries import PERCENTILES, TIMEFRAMES, SummaryTable
from cloudping.times import to_iso

Event = tuple[str, datetime]  # source and scheduled time

FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Distributions count at 0.01 ms, so a sample moves by at most half of it; items keep 0.001 ms.
TOLERANCE_MS = 0.5 / UNITS_PER_MS + 0.0005 + 1e-9


@dataclass
class Report:
    """What was compared and what was found; empty lists are what is wanted."""

    events: int = 0
    samples: int = 0
    buckets: int = 0
    percentiles: int = 0
    deviation_ms: float = 0.0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return self.events > 0 and not (self.lost or self.doubled or self.wrong)

    def __str__(self) -> str:
        lines = [
            f"{self.events} events with {self.samples} samples, {self.buckets} buckets, "
            f"{self.percentiles} percentiles, off by {self.deviation_ms:.4f} ms at most",
            f"{len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.wrong)} wrong",
        ]
        return "\n".join(lines + [*self.lost, *self.doubled, *self.wrong][:20])


def logged_runs(lines: Iterable[str]) -> dict[Event, list[Run]]:
    """Every run in a log, by event."""
    found = defaultdict(list)
    for line in lines:
        if line.startswith('{"event":"run",'):
            run = runs.from_json(json.dumps(json.loads(line)["run"]))
            found[run.region, run.timestamp].append(run)
    return dict(found)


def compare(client: Any, logged: Mapping[Event, list[Run]]) -> Report:
    """Every table against the logged runs; to be called when the aggregator has seen them all."""
    report = Report()
    for source in sorted({region for region, _ in logged}):
        batch = RunTable(client).between(source, FIRST, LAST)
        report.wrong += [str(error) for error in batch.bad]
        of_source = {event: made for event, made in logged.items() if event[0] == source}
        _runs(report, of_source, batch)
        # From here on, the truth is what was logged: one run an event, the one that was stored.
        truth = _truth(batch)
        _buckets(report, client, source, truth)
        _cells(report, client, source, truth)
    return report


def _runs(report: Report, logged: Mapping[Event, list[Run]], stored: list[Run]) -> None:
    """Each event that was logged has one run, which is one of those logged for it."""
    report.events += len(logged)
    by_event: dict[Event, Run] = {(run.region, run.timestamp): run for run in stored}
    for event, made in logged.items():
        what = f"{event[0]} at {to_iso(event[1])}"
        if event not in by_event:
            report.lost.append(f"run of {what}")
        # A run that was put back has a stamp of its own.
        elif not any(replace(run, written_at=by_event[event].written_at) == by_event[event]
                     for run in made):  # fmt: skip
            report.wrong.append(f"run of {what}: not what was logged")
    for event in by_event.keys() - logged.keys():
        report.wrong.append(f"run of {event[0]} at {to_iso(event[1])}: not logged")


@dataclass(frozen=True)
class _Samples:
    """A pair's samples: time in epoch seconds, latency in ms (NaN where there is a reason)."""

    time_s: Any
    latency_ms: Any
    reason: Any

    def within(self, start: datetime, end: datetime) -> "_Samples":
        """From start to before end."""
        chosen = (self.time_s >= start.timestamp()) & (self.time_s < end.timestamp())
        return _Samples(self.time_s[chosen], self.latency_ms[chosen], self.reason[chosen])

    @property
    def latencies(self) -> Any:
        return self.latency_ms[~np.isnan(self.latency_ms)]


def _truth(stored: Iterable[Run]) -> dict[str, _Samples]:
    rows = defaultdict(list)
    for run in stored:
        for sample in runs.samples(run):
            reason = REASONS.index(sample.reason) if sample.reason else -1
            latency_ms = np.nan if sample.latency_ms is None else sample.latency_ms
            rows[sample.region_to].append((run.timestamp.timestamp(), latency_ms, reason))
    return {
        target: _Samples(*(np.array(column) for column in zip(*found, strict=True)))
        for target, found in rows.items()
    }


def _buckets(report: Report, client: Any, source: str, truth: Mapping[str, _Samples]) -> None:
    """Hours hold just the samples of their runs; days and months that are over, too."""
    table = DistributionTable(client)
    hours = {
        floor(HOUR, datetime.fromtimestamp(time_s, UTC))
        for of_pair in truth.values()
        for time_s in of_pair.time_s
    }
    until = max(hours, default=FIRST)
    for level in (HOUR, DAY, MONTH):
        stored = table.between(source, level, FIRST, LAST)
        due = {floor(level, hour) for hour in hours}
        due = {start for start in due if level == HOUR or following(level, start) <= until}
        for start in due - {bucket.start for bucket in stored}:
            report.lost.append(f"{source}: bucket {level} of {to_iso(start)}")
        for bucket in stored:
            # Nobody reads a day's bucket before the day is over; a clock that was ahead made one.
            if level == HOUR or bucket.start in due:
                _bucket(report, bucket, truth)


def _bucket(report: Report, bucket: Bucket, truth: Mapping[str, _Samples]) -> None:
    report.buckets += 1
    held = bucket.distribution
    for target, of_pair in truth.items():
        part = held.only(target)
        expected = of_pair.within(bucket.start, bucket.end)
        what = f"{bucket.region} to {target}, bucket {bucket.level} of {to_iso(bucket.start)}"
        n, wanted = int(part.counts.sum()), len(expected.latencies)
        if n < wanted:
            report.lost.append(f"{what}: {wanted - n} samples")
        elif n > wanted:
            report.doubled.append(f"{what}: {n - wanted} samples")
        else:
            units = np.sort(np.rint(expected.latencies * UNITS_PER_MS))
            if not np.array_equal(np.repeat(part.units, part.counts), units):
                report.wrong.append(f"{what}: other latencies")
        reasons = np.bincount(expected.reason[expected.reason >= 0], minlength=len(REASONS))
        failures = part.failures[0] if part.targets else np.zeros(len(REASONS))
        if not np.array_equal(failures, reasons):
            report.wrong.append(f"{what}: other failures")


def _cells(report: Report, client: Any, source: str, truth: Mapping[str, _Samples]) -> None:
    """Every cell of the matrix is there, with numpy's percentiles over its window."""
    for timeframe in TIMEFRAMES:
        row = {cell.region_to: cell for cell in SummaryTable(client).of_source(timeframe, source)}
        for target, of_pair in truth.items():
            what = f"{source} to {target}, {timeframe}"
            cell = row.get(target)
            if cell is None:
                report.lost.append(f"{what}: no cell")
                continue
            inside = of_pair.within(cell.window_start, cell.window_end + timedelta(milliseconds=1))
            values, held = inside.latencies, cell.figures
            report.samples += len(inside.time_s) if timeframe == TIMEFRAMES[-1] else 0
            if held.samples < len(values):
                report.lost.append(f"{what}: {len(values) - held.samples} samples")
            if held.samples > len(values):
                report.doubled.append(f"{what}: {held.samples - len(values)} samples")
            allowed = {p for p in PERCENTILES if len(values) >= minimum_samples(p)}
            if set(held.percentiles) != allowed:
                report.wrong.append(f"{what}: percentiles {sorted(held.percentiles)}")
                continue
            for p, figure in held.percentiles.items():
                off_ms = abs(figure - float(np.percentile(values, p)))
                report.percentiles += 1
                report.deviation_ms = max(report.deviation_ms, off_ms)
                if off_ms > TOLERANCE_MS:
                    report.wrong.append(f"{what}: p_{p} is {figure}, off by {off_ms:.3f} ms")
