"""The test bed itself: what it promises holds on the wire, as a packet capture sees it."""

import socket
from contextlib import suppress
from statistics import median

from tests.testbed import bed
from tests.testbed.bed import Bed
from tests.testbed.rules import Rule, addresses, spread_ms

pytestmark = bed.needs_root


def connect(address: str, port: int = 443, timeout_s: float = 3) -> None:
    with socket.create_connection((address, port), timeout_s):
        pass


def test_round_trips_are_as_configured() -> None:
    configured = dict(zip(addresses(6), spread_ms(6, 1, 60), strict=True))
    with Bed({address: Rule(rtt_ms=rtt) for address, rtt in configured.items()}) as net:
        capture = net.capture()
        for _ in range(5):
            for address in configured:
                net.call(connect, address)
        seen = capture.handshakes()
        capture.close()
    assert len(seen) == 30
    for address, rtt_ms in configured.items():
        measured = [h.rtt_ms for (to, _), h in seen.items() if to == address and h.rtt_ms]
        assert len(measured) == 5
        # The bed can only be late; by how much depends on what else the machine does.
        assert rtt_ms <= min(measured) < rtt_ms + 2


def test_jitter_stays_within_its_range_and_differs() -> None:
    (address,) = addresses(1)
    with Bed({address: Rule(rtt_ms=2, jitter_ms=20)}) as net:
        capture = net.capture()
        for _ in range(15):
            net.call(connect, address)
        measured = sorted(h.rtt_ms or 0 for h in capture.handshakes().values())
        capture.close()
    assert measured[0] >= 2
    assert measured[-1] - measured[0] > 5
    assert median(measured) < 2 + 20 + 2


def test_syns_are_dropped_and_repeated_after_a_second() -> None:
    (address,) = addresses(1)
    with Bed({address: Rule(rtt_ms=10, drop_syns=1)}) as net:
        capture = net.capture()
        net.call(connect, address)
        (handshake,) = capture.handshakes().values()
        capture.close()
    assert len(handshake.syns) == 2
    assert handshake.rtt_ms is not None and handshake.rtt_ms > 1000


def test_loss_is_a_share_of_the_syns_and_repeats_with_its_seed() -> None:
    targets = {address: Rule(rtt_ms=1, loss=0.5) for address in addresses(1)}
    lost = []
    for _ in range(2):
        with Bed(targets, seed=7) as net:
            capture = net.capture()
            for _ in range(20):
                with suppress(TimeoutError):
                    net.call(connect, addresses(1)[0], timeout_s=0.1)
            lost.append([h.syn_ack is None for h in capture.handshakes().values()])
            capture.close()
    assert lost[0] == lost[1]
    assert 3 <= sum(lost[0]) <= 17
