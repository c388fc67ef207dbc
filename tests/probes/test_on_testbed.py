"""The measuring core against a network of known truth: figures, each reason, and who pays for whom.

The truth is a packet capture with the kernel's time stamps: SYN to SYN-ACK on the probe's device.
"""

import time
from statistics import median
from time import perf_counter_ns, sleep

import pytest
from chalicelib.connect import Connects, read_tcp_info
from chalicelib.sweep import SILENT_AFTER, Plan, SweepResult, Target, measure

from cloudping.runs import LOSS_REASONS, METHOD_CONNECT, METHOD_KERNEL, Attempt
from tests.testbed import bed
from tests.testbed.bed import Bed, Handshake
from tests.testbed.rules import Behaviour, Name, Rule, addresses, spread_ms

pytestmark = bed.needs_root

PLAN = Plan(attempts=5, timeout_s=2.5, deadline_s=30)


def measured_with_truth(
    net: Bed, plan: Plan = PLAN, *hosts: str
) -> tuple[SweepResult, dict[str, list[Handshake]]]:
    """A sweep over the hosts, and what the wire saw of each, attempt by attempt."""
    capture = net.capture()
    measured = net.call(measure, {host: Target(host) for host in hosts}, plan)
    truth: dict[str, list[Handshake]] = {host: [] for host in hosts}
    for (address, _), handshake in capture.handshakes().items():
        truth[address].append(handshake)
    capture.close()
    return measured, truth


def test_forty_targets_five_times() -> None:
    """The sweep of the product's size: right to the microseconds, and soon over."""
    hosts = addresses(40)
    rules = {host: Rule(rtt_ms=rtt) for host, rtt in zip(hosts, spread_ms(40), strict=True)}
    with Bed(rules) as net:
        cpu, wall = time.process_time(), time.perf_counter()
        measured, truth = measured_with_truth(net, PLAN, *hosts)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    errors_us = [
        abs(attempt.latency_ms - handshake.rtt_ms) * 1000
        for host in hosts
        for attempt, handshake in zip(measured.results[host].attempts, truth[host], strict=True)
        if attempt.latency_ms is not None and handshake.rtt_ms is not None
    ]
    assert measured.method == METHOD_KERNEL
    assert len(errors_us) == 200
    # The median: a busy machine delays the kernel too. `python -m bench.measuring` shows the tail.
    assert median(errors_us) < 100
    assert wall < 8  # 1.8 s on an idle machine; one after another it would take over 10 s
    assert cpu < 0.5


def test_a_process_that_is_held_back_does_not_bias_the_kernels_figure() -> None:
    (host,) = addresses(1)

    def look_late() -> list[tuple[str, Attempt]]:
        with Connects[str](2.5, read_tcp_info) as connects:
            connects.start("target", host, 443)
            sleep(0.5)
            return connects.wait()

    with Bed({host: Rule(rtt_ms=100)}) as net:
        ((_, attempt),) = net.call(look_late)
    assert attempt.latency_ms is not None and attempt.connect_ms is not None
    assert 100 <= attempt.latency_ms < 300
    assert attempt.connect_ms >= 500


def test_user_space_time_where_the_kernel_cannot_be_asked() -> None:
    hosts = addresses(4)
    with Bed({host: Rule(rtt_ms=20) for host in hosts}) as net:
        targets = {host: Target(host) for host in hosts}
        measured = net.call(measure, targets, PLAN, find_rtt=lambda: None)
    assert measured.method == METHOD_CONNECT
    for result in measured.results.values():
        assert all(a.latency_ms == a.connect_ms for a in result.attempts)
        assert 20 <= min(a.latency_ms or 0 for a in result.attempts) < 40


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refuse", "refused"),
        ("port_unreachable", "refused"),
        ("net_unreachable", "unreachable"),
        ("host_unreachable", "unreachable"),
        ("prohibited", "unreachable"),
        ("silent", "timeout"),
    ],
)
def test_each_answer_has_its_reason(behaviour: Behaviour, reason: str) -> None:
    bad, good = addresses(2)
    with Bed({bad: Rule(rtt_ms=30, behaviour=behaviour), good: Rule(rtt_ms=5)}) as net:
        measured, truth = measured_with_truth(net, Plan(3, 0.4, 10), bad, good)
    assert [a.reason for a in measured.results[bad].attempts] == [reason] * 3
    assert len(truth[bad]) == 3
    for attempt in measured.results[bad].attempts:
        assert attempt.latency_ms is None
        if reason == "timeout":
            assert attempt.connect_ms is None
        else:
            assert attempt.connect_ms is not None and 30 <= attempt.connect_ms < 400
    assert all(a.latency_ms for a in measured.results[good].attempts)


def test_no_route_is_unreachable_at_once() -> None:
    with Bed({}) as net:
        measured = net.call(measure, {"elsewhere": Target("203.0.113.1")}, Plan(2, 2.5, 10))
    for attempt in measured.results["elsewhere"].attempts:
        assert attempt == Attempt(None, None, reason="unreachable")


def test_reset_during_the_handshake() -> None:
    """SYN-ACK and RST arrive before the probe looks: accepted, then gone."""
    (host,) = addresses(1)

    def look_late() -> list[tuple[str, Attempt]]:
        with Connects[str](2.5, read_tcp_info) as connects:
            connects.start("target", host, 443)
            sleep(0.1)
            return connects.wait()

    with Bed({host: Rule(rtt_ms=10, behaviour="reset")}) as net:
        ((_, attempt),) = net.call(look_late)
    assert (attempt.reason, attempt.latency_ms) == ("reset", None)


@pytest.mark.parametrize("timestamps", [True, False])
def test_a_dropped_first_syn_is_loss_and_never_a_latency(timestamps: bool) -> None:
    dropping, good = addresses(2)
    rules = {dropping: Rule(rtt_ms=50, drop_syns=1, timestamps=timestamps), good: Rule(rtt_ms=5)}
    with Bed(rules) as net:
        measured, truth = measured_with_truth(net, Plan(2, 2.5, 10), dropping, good)
    assert [len(handshake.syns) for handshake in truth[dropping]] == [2, 2]
    for attempt in measured.results[dropping].attempts:
        assert (attempt.latency_ms, attempt.reason) == (None, "retransmitted")
        assert attempt.retransmits == 1
        assert attempt.connect_ms is not None and attempt.connect_ms > 1050


def test_a_dropped_first_syn_without_tcp_info() -> None:
    (host,) = addresses(1)
    with Bed({host: Rule(rtt_ms=50, drop_syns=1)}) as net:
        measured = net.call(measure, {host: Target(host)}, Plan(1, 2.5, 10), find_rtt=lambda: None)
    (attempt,) = measured.results[host].attempts
    assert (attempt.latency_ms, attempt.reason) == (None, "retransmitted")


def test_every_syn_dropped_until_the_timeout() -> None:
    """Linux repeats a SYN after 1 s, then after another 1 s (2 s before version 6.5)."""
    (host,) = addresses(1)
    with Bed({host: Rule(rtt_ms=50, drop_syns=3)}) as net:
        measured, truth = measured_with_truth(net, Plan(1, 2.5, 10), host)
    assert [a.reason for a in measured.results[host].attempts] == ["timeout"]
    assert len(truth[host][0].syns) in (2, 3)


def test_random_loss_is_found_exactly_where_the_wire_lost() -> None:
    """Also at a target that is taken for silent: what it answers in time is a latency."""
    hosts = addresses(8)
    with Bed({host: Rule(rtt_ms=10, loss=0.4) for host in hosts}, seed=3) as net:
        measured, truth = measured_with_truth(net, Plan(8, 2.5, 30), *hosts)
    lost, found_by_a_silent_one = 0, 0
    for host in hosts:
        lost_here = 0
        for attempt, handshake in zip(measured.results[host].attempts, truth[host], strict=True):
            was_lost = len(handshake.syns) > 1 or handshake.syn_ack is None
            assert (attempt.reason in LOSS_REASONS) == was_lost
            assert (attempt.latency_ms is None) == was_lost
            found_by_a_silent_one += lost_here >= SILENT_AFTER and not was_lost
            lost_here += was_lost
        lost += lost_here
    assert 10 <= lost <= 40
    assert found_by_a_silent_one


def test_a_silent_target_makes_a_run_longer_by_little_and_loses_nothing() -> None:
    """Five timeouts one after another would take 12.5 s."""
    alive, back, dead = addresses(3)
    rules = {
        alive: Rule(rtt_ms=20),
        back: Rule(rtt_ms=20, silent_connects=2),
        dead: Rule(behaviour="silent"),
    }
    with Bed(rules) as net:
        began_ns = perf_counter_ns()
        measured, truth = measured_with_truth(net, PLAN, alive, back, dead)
        took_s = (perf_counter_ns() - began_ns) / 1e9
    assert took_s < 8  # 3.6 s on an idle machine
    assert [a.reason for a in measured.results[dead].attempts] == ["timeout"] * 5
    assert len(truth[dead]) == 5  # each was tried
    reasons = [a.reason for a in measured.results[back].attempts]
    assert reasons == ["timeout", "timeout", None, None, None]
    for attempt, handshake in zip(measured.results[back].attempts, truth[back], strict=True):
        assert (attempt.latency_ms is None) == (handshake.syn_ack is None)
    # Two whole waits, each begun when the SYN before was repeated; the rest together.
    first, second, *rest = (handshake.syns[0] for handshake in truth[dead])
    assert second - first > 0.99
    assert min(rest) - second > 0.99


def test_a_dead_target_costs_the_others_nothing() -> None:
    hosts = addresses(12)
    dead = hosts[5]
    alive = [host for host in hosts if host != dead]
    rules = {host: Rule(rtt_ms=20) for host in alive}
    plan = Plan(3, 1.5, 30)
    with Bed({**rules, dead: Rule(behaviour="silent")}) as net:
        measured, truth = measured_with_truth(net, plan, *hosts)
    first = min(h.syns[0] for host in alive for h in truth[host])
    last = max(h.syn_ack or 0 for host in alive for h in truth[host])
    # 33 connects at 5 ms are 0.17 s: over before the dead target's first attempt has timed out.
    assert last - first < 1.2
    for host in alive:
        assert all(a.latency_ms is not None for a in measured.results[host].attempts)
    assert [a.reason for a in measured.results[dead].attempts] == ["timeout"] * 3


def test_names_are_timed_apart_and_kept_out_of_the_latency() -> None:
    fast, slow = addresses(2)
    names = {
        "fast.example": Name((fast,), delay_ms=2),
        "slow.example": Name((slow,), delay_ms=400),
        "broken.example": Name(rcode=2),
    }
    with Bed({fast: Rule(rtt_ms=10), slow: Rule(rtt_ms=10)}, names) as net:
        targets = {name: Target(name) for name in (*names, "missing.example")}
        measured = net.call(measure, targets, Plan(3, 1, 10))
    for name, delay_ms in (("fast.example", 2), ("slow.example", 400)):
        result = measured.results[name]
        assert result.dns_ms is not None and delay_ms <= result.dns_ms < delay_ms + 300
        assert 10 <= min(a.latency_ms or 0 for a in result.attempts) < 20
    for name in ("broken.example", "missing.example"):
        assert [a.reason for a in measured.results[name].attempts] == ["dns_error"] * 3
        assert measured.results[name].addresses == ()
        assert measured.dns_errors[name]


def test_a_silent_resolver_fails_only_the_names_it_was_asked_for() -> None:
    (host,) = addresses(1)
    with Bed({host: Rule(rtt_ms=10)}, {"mute.example": Name(silent=True)}) as net:
        targets = {"mute": Target("mute.example"), "address": Target(host)}
        began = perf_counter_ns()
        measured = net.call(measure, targets, Plan(2, 1, 10))
        took_s = (perf_counter_ns() - began) / 1e9
    assert [a.reason for a in measured.results["mute"].attempts] == ["dns_error"] * 2
    assert all(a.latency_ms for a in measured.results["address"].attempts)
    assert took_s < 15


def test_addresses_take_turns() -> None:
    near, far = addresses(2)
    names = {"both.example": Name((near, far))}
    with Bed({near: Rule(rtt_ms=5), far: Rule(rtt_ms=60)}, names) as net:
        measured = net.call(measure, {"both": Target("both.example")}, Plan(4, 1, 10))
    result = measured.results["both"]
    assert sorted(result.addresses) == [near, far]
    for number, attempt in enumerate(result.attempts):
        assert attempt.latency_ms is not None
        assert attempt.latency_ms >= {near: 5, far: 60}[result.addresses[number % 2]]


def test_what_the_deadline_left_is_not_tried() -> None:
    hosts = addresses(3)
    with Bed({host: Rule(behaviour="silent") for host in hosts}) as net:
        measured, truth = measured_with_truth(net, Plan(4, 0.3, 0.8), *hosts)
    for host in hosts:
        reasons = [a.reason for a in measured.results[host].attempts]
        tried = len(truth[host])
        assert reasons == ["timeout"] * tried + ["not_tried"] * (4 - tried)
        assert 1 <= tried < 4
