"""The site under attack at half a core: an innocent client and the health check are answered."""

import asyncio
import time

import pytest

from bench import attacks
from bench.cpu_quota import why_not

SECONDS = 10.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]


@pytest.mark.parametrize("behind", [False, True], ids=["direct", "behind"])
@pytest.mark.parametrize("attack", list(attacks.ATTACKS))
def test_an_innocent_client_is_answered_under_attack(attack: str, behind: bool) -> None:
    with attacks.serving("ours", behind) as port:
        asyncio.run(attacks.visits(port, "127.0.0.9", attacks.PATHS, 8, 1))
        with attacks.under_attack(attack, port, SECONDS + 4):
            time.sleep(2)
            pages, checks = asyncio.run(attacks.both(port, SECONDS))
    assert [status for _, status in pages] == [200] * len(pages)
    assert [status for _, status in checks] == [200] * len(checks)
    assert sorted(seconds for seconds, _ in pages)[int(0.99 * len(pages))] < 1
    assert max(seconds for seconds, _ in checks) < 0.5
