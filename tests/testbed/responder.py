"""The test bed's network: a process that answers for every address behind a TUN device.

Lives in namespaces of its own, which end with it. Reads the rules as JSON from its first line of
input, says `ready`, and runs until its input ends.
"""

import os
import random
import socket
import sys
from collections import Counter

from tests.testbed import netns, packets
from tests.testbed.packets import ACK, FIN, RST, SYN, Packet, Segment
from tests.testbed.punctual import Sender, serve
from tests.testbed.rules import CLIENT, ICMP_CODES, RESOLVER, ROUTER, Name, Rule, Rules

RESOLV_CONF = f"nameserver {RESOLVER}\noptions timeout:1 attempts:2\n"
_SERVER_SEQ = 1_000_000


class Responder:
    """Turns each packet of the client into the answers that the rules give."""

    def __init__(self, rules: Rules, device: int, sender: Sender) -> None:
        self._rules = {socket.inet_aton(at): rule for at, rule in rules.targets.items()}
        self._names = rules.names
        self._jitter = random.Random(rules.seed)  # noqa: S311 - repeatable, not secret
        # A stream for each target, drawn from for SYNs only: the same ones are lost every time.
        self._loss = {
            socket.inet_aton(at): random.Random(f"{rules.seed} {at}")  # noqa: S311
            for at in rules.targets
        }
        self._device = device
        self._sender = sender
        self._syns: Counter[tuple[bytes, int]] = Counter()

    def handle(self, _: int, raw: bytes, arrival: float) -> None:
        packet = packets.parse(raw)
        if packet is None:
            return
        if packet.protocol == packets.UDP and packet.target == socket.inet_aton(RESOLVER):
            self._answer_query(packet, arrival)
        elif packet.protocol == packets.TCP:
            rule = self._rules.get(packet.target)
            if rule is not None:
                self._answer_segment(packet, packets.parse_tcp(packet.payload), rule, arrival)

    def _answer_query(self, packet: Packet, arrival: float) -> None:
        query = packet.payload[8:]
        asked, kind = packets.dns_question(query)
        name = self._names.get(asked, Name(rcode=3))
        if name.silent:
            return
        found = name.addresses if kind == 1 else ()
        answer = packets.dns_answer(query, found, name.rcode)
        self._send(arrival + name.delay_ms / 1000, packets.udp_reply(packet, answer))

    def _answer_segment(self, packet: Packet, segment: Segment, rule: Rule, arrival: float) -> None:
        due = arrival + (rule.rtt_ms + self._jitter.random() * rule.jitter_ms) / 1000
        if segment.flags & SYN:
            self._answer_syn(packet, segment, rule, due)
        elif segment.flags & RST:
            return
        elif segment.flags & FIN or segment.data:
            # A target has nothing to say: it closes when the client does, or says something.
            self._send(due, packets.tcp_reply(packet, segment, segment.ack, FIN | ACK))

    def _answer_syn(self, packet: Packet, segment: Segment, rule: Rule, due: float) -> None:
        connection = (packet.target, segment.source_port)
        self._syns[connection] += 1
        before = [port for address, port in self._syns if address == packet.target]
        if (
            before.index(segment.source_port) < rule.silent_connects
            or self._syns[connection] <= rule.drop_syns
            or self._loss[packet.target].random() < rule.loss
        ):
            return
        if rule.behaviour in ICMP_CODES:
            code = ICMP_CODES[rule.behaviour]
            self._send(due, packets.icmp_unreachable(packet, code, socket.inet_aton(ROUTER)))
        elif rule.behaviour == "refuse":
            self._send(due, packets.tcp_reply(packet, segment, 0, RST | ACK))
        elif rule.behaviour != "silent":
            options = packets.syn_ack_options(segment, rule.timestamps, int(due * 1000))
            self._send(due, packets.tcp_reply(packet, segment, _SERVER_SEQ, SYN | ACK, options))
            if rule.behaviour == "reset":
                self._send(due, packets.tcp_reply(packet, segment, _SERVER_SEQ + 1, RST | ACK))

    def _send(self, due: float, packet: bytes) -> None:
        self._sender.push(due, self._device, packet)


def main() -> None:
    rules = Rules.from_json(sys.stdin.readline())
    netns.unshare(netns.CLONE_NEWNET | netns.CLONE_NEWNS)
    netns.use_resolv_conf(RESOLV_CONF)
    device = netns.open_tun("tun0")
    netns.ip("link", "set", "lo", "up")
    netns.ip("address", "add", f"{CLIENT}/15", "dev", "tun0")
    netns.ip("link", "set", "tun0", "up", "txqueuelen", "10000")
    netns.be_punctual()
    sender = Sender()
    responder = Responder(rules, device, sender)
    os.write(sys.stdout.fileno(), b"ready\n")
    serve([device], sender, responder.handle)


if __name__ == "__main__":
    main()
