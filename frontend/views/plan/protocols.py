"""How long an operation takes by protocol: whom the client asks, and for whom that one waits.

Each protocol is the same sum: the client's round trip to the replica that it asks, then, for each
phase, the round trip from that replica to the k-th nearest of all replicas, itself (at 0) the
first of them. Processing at the replicas is not in it.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Phase:
    """The asked replica waits for `quorum` replicas, itself included, with a probability."""

    quorum: int
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """An operation of `replicas` replicas.

    asked    `leader`: one replica for all clients; `nearest`: each client's own nearest, by the
             median; `chain`: the head, and the answer comes from the tail
    phases   one after another
    formula  with d(a, b) for a round trip, Q_k(a) for the k-th smallest from a to the replicas
    source   where the formula is from
    witnesses  of `nearest`: so many of the replicas count for quorums, and are asked by no client
    """

    name: str
    replicas: int
    asked: Literal["leader", "nearest", "chain"]
    phases: tuple[Phase, ...]
    formula: str
    source: str
    witnesses: int = 0

    @property
    def survives(self) -> int:
        """How many replicas may be lost before the operation cannot complete."""
        if self.asked == "chain":
            return self.replicas - 1
        return self.replicas - max((phase.quorum for phase in self.phases), default=1)


def _majority(replicas: int) -> int:
    return replicas // 2 + 1


def single_leader(replicas: int) -> Protocol:
    """A leader that waits for a majority: Raft, Multi-Paxos."""
    return Protocol(
        "Single leader, majority",
        replicas,
        "leader",
        (Phase(_majority(replicas)),),
        "d(c, l) + Q_{f+1}(l), f = ⌊n/2⌋",
        "Lamport 1998 (Paxos); Ongaro, Ousterhout 2014 (Raft)",
    )


def flexible(replicas: int, quorum: int) -> Protocol:
    """A leader that waits for `quorum` replicas; elections then need n + 1 - quorum."""
    return Protocol(
        "Single leader, flexible quorum",
        replicas,
        "leader",
        (Phase(_checked(quorum, replicas)),),
        "d(c, l) + Q_{q2}(l), q1 + q2 > n",
        "Howard, Malkhi, Spiegelman 2016 (Flexible Paxos)",
    )


def leaderless(replicas: int, conflicts: float) -> Protocol:
    """Through the nearest replica and a fast quorum; a share `conflicts` needs a second phase."""
    f = replicas // 2
    if not 0 <= conflicts <= 1:
        raise ValueError(f"conflicts={conflicts}: expected a share from 0 to 1")
    second = (Phase(f + 1, conflicts),) if conflicts else ()
    return Protocol(
        "Leaderless, fast quorum",
        replicas,
        "nearest",
        (Phase(max(f + (f + 1) // 2, 1)), *second),
        "d(c, a) + Q_{f+⌊(f+1)/2⌋}(a), and with the rate of conflicts Q_{f+1}(a)",
        "Moraru, Andersen, Kaminsky 2013 (EPaxos)",
    )


def quorum_read(replicas: int, quorum: int) -> Protocol:
    """A read from `quorum` replicas through the nearest."""
    return Protocol(
        f"Quorum read, R = {quorum}",
        replicas,
        "nearest",
        (Phase(_checked(quorum, replicas)),),
        "d(c, a) + Q_R(a)",
        "Gifford 1979 (weighted voting)",
    )


def quorum_write(replicas: int, quorum: int) -> Protocol:
    """A write to `quorum` replicas through the nearest."""
    return Protocol(
        f"Quorum write, W = {quorum}",
        replicas,
        "nearest",
        (Phase(_checked(quorum, replicas)),),
        "d(c, a) + Q_W(a), R + W > n",
        "Gifford 1979 (weighted voting)",
    )


def primary_write(replicas: int, acknowledged: int = 1) -> Protocol:
    """A write to the primary, which waits for `acknowledged` copies, its own included."""
    return Protocol(
        "Write to the primary",
        replicas,
        "leader",
        (Phase(_checked(acknowledged, replicas)),) if acknowledged > 1 else (),
        "d(c, p)" if acknowledged == 1 else f"d(c, p) + Q_{acknowledged}(p)",
        "Alsberg, Day 1976 (primary copy)",
    )


def local_read(replicas: int) -> Protocol:
    """A read from the nearest replica, which may be behind."""
    return Protocol("Read from the nearest", replicas, "nearest", (), "d(c, a)", "primary copy")


def chain_write(replicas: int) -> Protocol:
    """A write that passes all replicas in the best order; the tail answers the client."""
    return Protocol(
        "Chain",
        replicas,
        "chain",
        (),
        "½ d(c, h) + Σ ½ d(i, i+1) + ½ d(t, c)",
        "van Renesse, Schneider 2004 (chain replication)",
    )


def dynamodb_strong() -> Protocol:
    """A write to a DynamoDB global table with multi-Region strong consistency."""
    return Protocol(
        "DynamoDB global table, multi-Region strong consistency",
        3,
        "nearest",
        (Phase(2),),
        "d(c, a) + Q_2(a)",
        "AWS: a write returns once at least one other region has it; it gives no formula, and "
        "none for strongly consistent reads, which are slower than others as well",
    )


def aurora_dsql() -> Protocol:
    """A commit of an Aurora DSQL cluster of two regions with a witness."""
    return Protocol(
        "Aurora DSQL, two regions and a witness",
        3,
        "nearest",
        (Phase(2),),
        "d(c, a) + Q_2(a), a one of the two regions with an endpoint",
        "AWS: two peered regions have endpoints, the witness keeps the log and has none; that a "
        "commit waits for one other of the three is our reading, AWS gives no formula",
        witnesses=1,
    )


def _checked(quorum: int, replicas: int) -> int:
    if not 1 <= quorum <= replicas:
        raise ValueError(f"a quorum of {quorum} of {replicas} replicas: expected 1 to {replicas}")
    return quorum
