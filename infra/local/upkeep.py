"""What the local AWS keeps, and for how long; it holds all of it in memory.

In AWS, DynamoDB and CloudWatch take what comes. Here a minute brings 34 raw runs, 150 KB each in
MiniStack's memory, and as many log streams, whose retention it does not enforce.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final

from cloudping.buckets import DistributionTable
from cloudping.periods import DAY, HOUR, MONTH
from cloudping.regions import Region
from cloudping.runs import RunTable
from cloudping.summaries import HistoryTable

EVERY_S: Final = 300
# An hour is read whole until it is rolled up for the last time, a quarter of an hour after its end.
RAW_RUNS: Final = timedelta(minutes=90)
LOGS: Final = timedelta(hours=1)
BUCKETS: Final = {
    HOUR: timedelta(days=9),  # the graph of hours shows a week; a week's window begins on a UTC day
    DAY: timedelta(days=400),  # a window of a year begins within a month, and is covered by days
    MONTH: timedelta(days=400),
}
DAILY_FIGURES: Final = timedelta(days=431)  # whole months


def tidy(session: Any, home: str, sources: Sequence[Region], targets: Sequence[Region],
         now: datetime) -> dict[str, int]:  # fmt: skip
    """Deletes what is older than that; returns how many of what."""
    client = session.client("dynamodb", region_name=home)
    runs, buckets = RunTable(client), DistributionTable(client)
    codes = [place.code for place in sources]
    done = {"runs": sum(runs.forget(code, now - RAW_RUNS) for code in codes)}
    done["buckets"] = sum(
        buckets.forget(code, level, now - keep)
        for code, (level, keep) in product(codes, BUCKETS.items())
    )
    if now.hour == 0:  # a month ends once a month
        pairs = product(codes, (place.code for place in targets))
        HistoryTable(client).forget(pairs, now.date() - DAILY_FIGURES)
    done["log streams"] = sum(_logs(session, region, now - LOGS) for region in {home, *codes})
    return done


def _logs(session: Any, region: str, before: datetime) -> int:
    """Deletes a region's log streams that began before a moment; a run has one of its own."""
    client = session.client("logs", region_name=region)
    limit_ms = before.timestamp() * 1000
    count = 0
    for group in client.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        name = group["logGroupName"]
        pages = client.get_paginator("describe_log_streams").paginate(logGroupName=name)
        old = [
            stream["logStreamName"]
            for page in pages
            for stream in page["logStreams"]
            if stream["creationTime"] < limit_ms
        ]
        for stream in old:
            client.delete_log_stream(logGroupName=name, logStreamName=stream)
        count += len(old)
    return count
