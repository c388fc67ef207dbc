"""What the test bed's targets and names do: handed to the responder and link processes as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

# RFC 2544's range for benchmarks; the client has .0.1, the resolver .0.53.
NETWORK = "198.18.0.0/15"
CLIENT = "198.18.0.1"
ROUTER = "198.18.0.254"
RESOLVER = "198.18.0.53"

Behaviour = Literal[
    "accept",
    "reset",  # accepted and reset at once
    "refuse",  # RST in answer to the SYN
    "silent",
    "net_unreachable",
    "host_unreachable",
    "port_unreachable",
    "prohibited",
]
ICMP_CODES: Mapping[str, int] = {
    "net_unreachable": 0,
    "host_unreachable": 1,
    "port_unreachable": 3,
    "prohibited": 13,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A target: its round trip, up to `jitter_ms` more at random, and what it does with a SYN.

    `loss` is the probability that a SYN vanishes; the first `drop_syns` of each connection always
    do, and all of the first `silent_connects` connections. Without `timestamps` the target refuses
    TCP timestamps.
    """

    rtt_ms: float = 1.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    behaviour: Behaviour = "accept"
    drop_syns: int = 0
    silent_connects: int = 0
    timestamps: bool = True


@dataclass(frozen=True, slots=True)
class Name:
    """A name: its addresses and how long the answer takes, an error code, or silence."""

    addresses: tuple[str, ...] = ()
    delay_ms: float = 1.0
    rcode: int = 0
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything a bed does: targets by address, names, and the seed of its randomness."""

    targets: Mapping[str, Rule]
    names: Mapping[str, Name] = field(default_factory=dict)
    seed: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Rules":
        content = json.loads(text)
        return cls(
            targets={address: Rule(**rule) for address, rule in content["targets"].items()},
            names={
                name: Name(**{**entry, "addresses": tuple(entry["addresses"])})
                for name, entry in content["names"].items()
            },
            seed=content["seed"],
        )


def addresses(count: int) -> list[str]:
    """The first so many target addresses of the bed."""
    return [f"198.18.{1 + number // 250}.{1 + number % 250}" for number in range(count)]


def spread_ms(count: int, low: float = 1.0, high: float = 300.0) -> Sequence[float]:
    """Round trips spread evenly on a logarithmic scale, rounded to 0.1 ms."""
    if count == 1:
        return [low]
    return [round(low * (high / low) ** (at / (count - 1)), 1) for at in range(count)]
