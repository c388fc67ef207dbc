"""Writes every call that a process makes to AWS into a file, one JSON line each.

botocore loads it into each client of a process whose environment names it (`recording` in
`tests/infra/policies/calls.py`), so commands, Chalice's own process and code under test are seen
without a change to them.
"""

import json
import os
from pathlib import Path
from typing import Any


def initialize_client_plugin(client: Any) -> None:
    """What botocore calls with each new client."""

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        call = {
            "service": client.meta.service_model.signing_name,
            "operation": model.name,
            "region": client.meta.region_name,
            "params": params,
        }
        line = json.dumps(call, default=lambda value: f"<{type(value).__name__}>") + "\n"
        with Path(os.environ["CALL_RECORDER_FILE"]).open("a", encoding="utf-8") as file:
            file.write(line)  # in one write of a file opened for appending: processes do not mix

    client.meta.events.register("provide-client-params.*.*", note)
