"""A delay link: real clients on one side, real servers on the other, a known round trip between.

Two namespaces, a TUN device in each; half the delay each way, by the target's address. Every
address of the benchmarking range is local on the server side. Rules and life as the responder's;
what it says is `ready` and the path of the server side's namespace.
"""

import os
import random
import socket
import sys

from tests.testbed import netns, packets
from tests.testbed.punctual import Sender, serve
from tests.testbed.rules import NETWORK, Rules

CLIENT_SIDE, SERVER_SIDE = "192.0.2.1", "192.0.2.2"  # RFC 5737


class Link:
    """Carries packets across; loses those that the rules lose."""

    def __init__(self, rules: Rules, client: int, server: int, sender: Sender) -> None:
        self._rules = {socket.inet_aton(at): rule for at, rule in rules.targets.items()}
        self._random = random.Random(rules.seed)  # noqa: S311 - repeatable, not secret
        self._other = {client: server, server: client}
        self._client = client
        self._sender = sender

    def handle(self, device: int, raw: bytes, arrival: float) -> None:
        packet = packets.parse(raw)
        if packet is None:
            return
        onward = device == self._client
        rule = self._rules.get(packet.target if onward else packet.source)
        if rule is None or rule.behaviour == "silent" or self._random.random() < rule.loss:
            return
        half_ms = rule.rtt_ms / 2 + self._random.random() * rule.jitter_ms / 2
        self._sender.push(arrival + half_ms / 1000, self._other[device], raw)


def main() -> None:
    rules = Rules.from_json(sys.stdin.readline())
    netns.unshare(netns.CLONE_NEWNET | netns.CLONE_NEWNS)
    server = netns.open_tun("tun0")
    for arguments in (
        f"address add {SERVER_SIDE} peer {CLIENT_SIDE} dev tun0",
        "link set lo up",
        "link set tun0 up txqueuelen 10000",
        f"route add local {NETWORK} dev lo",
    ):
        netns.ip(*arguments.split())
    server_side = os.open("/proc/self/ns/net", os.O_RDONLY)
    netns.unshare(netns.CLONE_NEWNET)
    client = netns.open_tun("tun0")
    for arguments in (
        f"address add {CLIENT_SIDE} peer {SERVER_SIDE} dev tun0",
        "link set lo up",
        "link set tun0 up txqueuelen 10000",
        f"route add {NETWORK} dev tun0",
    ):
        netns.ip(*arguments.split())
    netns.be_punctual()
    sender = Sender()
    os.write(sys.stdout.fileno(), f"ready /proc/{os.getpid()}/fd/{server_side}\n".encode())
    serve([client, server], sender, Link(rules, client, server, sender).handle)


if __name__ == "__main__":
    main()
