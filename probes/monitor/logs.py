"""What the monitor says of itself: one JSON line an event, on standard output."""

import json


def log(event: str, **fields: str | float) -> None:
    say(json.dumps({"event": event, **fields}))


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - journald, Docker and CloudWatch take it from here
