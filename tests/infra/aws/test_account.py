"""How commands ask AWS: with little patience for a region that is down."""

import socket
import time

import pytest
from botocore.exceptions import ConnectTimeoutError

from infra.aws import account


def test_a_region_that_does_not_answer_holds_nobody_up_for_minutes() -> None:
    """botocore's own patience is five minutes a call."""
    for service in ("lambda", "events", "iam", "logs"):
        config = account.session().client(service, region_name="me-south-1").meta.config
        assert config.connect_timeout * config.retries["total_max_attempts"] <= 20
        assert config.retries["total_max_attempts"] >= 3  # what is throttled is asked again


def test_the_patience_is_what_botocore_keeps_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(account, "ATTEMPTS", 1)
    monkeypatch.setattr(account, "_threads", type("Threads", (), {})())
    # A listener whose queue is full drops what comes, as a region that is down does.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for connect in waiting:
            connect.setblocking(False)
            connect.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        client = account.session().client("lambda", region_name="me-south-1", endpoint_url=url)
        began = time.monotonic()
        with pytest.raises(ConnectTimeoutError):
            client.list_functions()
        assert time.monotonic() - began < 30
        for connect in waiting:
            connect.close()
