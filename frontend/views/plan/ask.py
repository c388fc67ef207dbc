"""What a planner may be asked, from the parameters of an address; pure.

Raises ValueError with one line that says which parameter was wrong, with its value.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cloudping.distribution import minimum_samples
from cloudping.regions import Region, suggest
from cloudping.summaries import TIMEFRAMES
from frontend.views.lookup import matches
from frontend.views.plan import protocols
from frontend.views.plan.evaluate import Objective
from frontend.views.plan.protocols import Protocol

MAX_REPLICAS: Final = 7
MAX_CLIENTS: Final = 40
MAX_ROUND_TRIPS: Final = 5
# A chain has n! orders: from six on, 5 s prove nothing.
MAX_CHAIN: Final = 5
FIGURES: Final = {"p_50": 50, "p_90": 90, "p_95": 95, "p_99": 99}
DEFAULT_TIMEFRAME: Final = "1M"
PARAMETERS: Final = ("clients", "replicas", "protocol", "figure", "timeframe", "objective",
                     "round_trips", "quorum", "conflicts", "survive", "must", "never", "may",
                     "apart_km", "apart_ms", "apart", "mine")  # fmt: skip

# Which regions may form one table: https://docs.aws.amazon.com/AWSCloudFormation/latest/
# UserGuide/aws-properties-dynamodb-globaltable-globaltablewitness.html (read November 2026).
DYNAMODB_SETS: Final = (
    frozenset({"us-east-1", "us-east-2", "us-west-2"}),
    frozenset({"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1"}),
    frozenset({"ap-northeast-1", "ap-northeast-2", "ap-northeast-3"}),
)
# As announced with general availability in May 2025; AWS adds to them.
DSQL_SETS: Final = (
    frozenset({"us-east-1", "us-east-2", "us-west-2"}),
    frozenset({"eu-west-1", "eu-west-2", "eu-west-3"}),
    frozenset({"ap-northeast-1", "ap-northeast-2", "ap-northeast-3"}),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A protocol as it is chosen.

    make      from the question
    replicas  how many it has, where that is given
    sets      regions that may stand together, where that is given
    rules     AWS's, in words
    link      AWS's page
    """

    label: str
    make: Callable[["Question"], Protocol]
    replicas: int | None = None
    sets: tuple[frozenset[str], ...] = ()
    rules: str = ""
    link: str = ""


KINDS: Final[Mapping[str, Kind]] = {
    "leader": Kind(
        "Single leader with a majority (Raft, Multi-Paxos)",
        lambda q: protocols.single_leader(q.replicas),
    ),
    "flexible": Kind(
        "Single leader with a quorum of your choice (Flexible Paxos)",
        lambda q: protocols.flexible(q.replicas, q.quorum or q.replicas // 2 + 1),
    ),
    "leaderless": Kind(
        "Leaderless with a fast quorum (EPaxos)",
        lambda q: protocols.leaderless(q.replicas, q.conflicts / 100),
    ),
    "read": Kind(
        "Quorum read (R replicas)",
        lambda q: protocols.quorum_read(q.replicas, q.quorum or q.replicas // 2 + 1),
    ),
    "write": Kind(
        "Quorum write (W replicas)",
        lambda q: protocols.quorum_write(q.replicas, q.quorum or q.replicas // 2 + 1),
    ),
    "primary": Kind(
        "Primary with read replicas, copied later",
        lambda q: protocols.local_read(q.replicas),
        rules="The primary is the region that is best for writes; then the replicas are those that "
        "are best for reads. As with read replicas of Amazon RDS and Aurora global databases, "
        "writes wait for no copy, and reads may be behind.",
        link="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-global-database.html",
    ),
    "chain": Kind("Chain replication", lambda q: protocols.chain_write(q.replicas)),
    "dynamodb": Kind(
        "DynamoDB global table with strong consistency",
        lambda _: protocols.dynamodb_strong(),
        3,
        DYNAMODB_SETS,
        "Exactly three regions of one set, as three replicas or as two and a witness: US (N. "
        "Virginia, Ohio, Oregon), EU (Ireland, London, Paris, Frankfurt), AP (Tokyo, Seoul, "
        "Osaka).",
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html",
    ),
    "dsql": Kind(
        "Aurora DSQL, two regions and a witness",
        lambda _: protocols.aurora_dsql(),
        3,
        DSQL_SETS,
        "Two regions with endpoints and a witness, of one set; the sets here are those announced "
        "in May 2025 (US: N. Virginia, Ohio, Oregon; EU: Ireland, London, Paris; AP: Tokyo, Seoul, "
        "Osaka): look up whether AWS has added to them.",
        "https://docs.aws.amazon.com/aurora-dsql/latest/userguide/configuring-multi-region-clusters.html",
    ),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What to plan for; regions are resolved to codes.

    clients      code and weight, in the order of the codes
    candidates   codes that may be replicas
    required     groups of codes, of each of which one must be a replica
    apart_km, apart_ms   least distance and least median round trip of two replicas
    geographies  all replicas in different ones
    survive      losses after which an operation must still complete
    mine         a set to compare with, or empty
    """

    clients: tuple[tuple[str, float], ...]
    candidates: tuple[str, ...]
    kind: str = "leader"
    replicas: int = 3
    figure: str = "p_99"
    timeframe: str = DEFAULT_TIMEFRAME
    objective: Objective = "worst"
    round_trips: int = 1
    quorum: int = 0
    conflicts: float = 0
    survive: int = 0
    required: tuple[frozenset[str], ...] = ()
    apart_km: float = 0
    apart_ms: float = 0
    geographies: bool = False
    mine: tuple[str, ...] = ()

    @property
    def p(self) -> int:
        return FIGURES[self.figure]

    @property
    def least_samples(self) -> int:
        """That a pair needs for the figure, as everywhere on the site."""
        return minimum_samples(self.p)

    @property
    def protocol(self) -> Protocol:
        return KINDS[self.kind].make(self)


# To show each protocol's formula before anything was asked.
EXAMPLE: Final = Question((), ())


def question(
    given: Mapping[str, str], regions: Mapping[str, Region], sources: set[str]
) -> Question:
    """A question from the parameters of an address; `sources` are the regions with probes."""
    kind = _one_of(given, "protocol", KINDS, "leader")
    places = [regions[code] for code in sorted(sources)]
    clients = _clients(given, places)
    partitions = {regions[code].partition for code, _ in clients}
    may = given.get("may", "").strip()
    usable = [r for r in places if (matches(r, may) if may else r.partition in partitions)]
    if may and not usable:
        raise _nothing("may", may)
    never = given.get("never", "").strip()
    if never:
        if not any(matches(r, never) for r in places):
            raise _nothing("never", never)
        usable = [r for r in usable if not matches(r, never)]
    found = Question(
        clients=clients,
        candidates=tuple(r.code for r in usable),
        kind=kind,
        replicas=KINDS[kind].replicas or int(_number(given, "replicas", 3, 1, MAX_REPLICAS, True)),
        figure=_one_of(given, "figure", FIGURES, "p_99"),
        timeframe=_one_of(given, "timeframe", TIMEFRAMES, DEFAULT_TIMEFRAME),
        objective=_one_of(given, "objective", ("worst", "mean"), "worst"),  # type: ignore[arg-type]  # one of these
        round_trips=int(_number(given, "round_trips", 1, 1, MAX_ROUND_TRIPS, True)),
        quorum=int(_number(given, "quorum", 0, 1, MAX_REPLICAS, True)),
        conflicts=_number(given, "conflicts", 0, 0, 100),
        survive=int(_number(given, "survive", 0, 0, MAX_REPLICAS - 1, True)),
        required=_groups(given, usable),
        apart_km=_number(given, "apart_km", 0, 0, 20_000),
        apart_ms=_number(given, "apart_ms", 0, 0, 1000),
        geographies=_one_of(given, "apart", ("any", "geography"), "any") == "geography",
        mine=_mine(given, sources),
    )
    _check(found)
    return found


def address(given: Mapping[str, str], q: Question) -> dict[str, str]:
    """The parameters again, without what is the default and with the clients by their codes."""
    clients = [code if weight == 1 else f"{code}:{weight:g}" for code, weight in q.clients]
    default = {
        "replicas": "3",
        "protocol": "leader",
        "figure": "p_99",
        "timeframe": DEFAULT_TIMEFRAME,
        "objective": "worst",
        "round_trips": "1",
        "quorum": "",
        "apart": "any",
    }
    wanted = {**given, "clients": ",".join(clients), "mine": ",".join(q.mine)}
    return {n: wanted[n] for n in PARAMETERS if wanted.get(n, "") not in ("", default.get(n, "0"))}


def _check(q: Question) -> None:
    """What cannot be answered, whatever was measured."""
    if q.kind == "chain" and q.replicas > MAX_CHAIN:
        raise ValueError(f"replicas={q.replicas}: a chain may have {MAX_CHAIN} at most here.")
    try:
        protocol = q.protocol
    except ValueError as error:
        raise ValueError(f"quorum={q.quorum}: {error}.") from None
    if protocol.survives < q.survive:
        raise ValueError(
            f"survive={q.survive}: {protocol.name} of {q.replicas} survives the loss of "
            f"{protocol.survives}; more replicas or a smaller quorum survive more."
        )
    if len(q.candidates) < q.replicas:
        raise ValueError(
            f"replicas={q.replicas}: only {len(q.candidates)} regions may be one; widen `may`."
        )
    if q.mine and len(q.mine) != q.replicas:
        raise ValueError(f"mine={','.join(q.mine)}: expected {q.replicas} regions.")
    if len(q.required) > q.replicas:
        raise ValueError(f"must: {len(q.required)} do not fit into {q.replicas} replicas.")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _clients(given: Mapping[str, str], places: Iterable[Region]) -> tuple[tuple[str, float], ...]:
    """`us-east-1:3, Europe`: codes, names or groups, each with a weight (1 when left out)."""
    places = list(places)
    weights: dict[str, float] = {}
    for word in _words(given.get("clients", "")):
        name, _, weight = word.partition(":")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if not 0 < value <= 1e6:
            raise ValueError(f"clients={word!r}: a weight is a number above 0, like us-east-1:2.")
        found = [r.code for r in places if matches(r, name)]
        if not found:
            raise _nothing("clients", name)
        # A region's own weight counts, whatever group it is in as well.
        for code in found:
            if code not in weights or len(found) == 1:
                weights[code] = value
    if not weights:
        raise ValueError("clients: name at least one region, like clients=us-east-1,eu-west-1:2.")
    if len(weights) > MAX_CLIENTS:
        raise ValueError(f"clients: {len(weights)} regions, expected {MAX_CLIENTS} at most.")
    return tuple(sorted(weights.items()))


def _groups(given: Mapping[str, str], usable: Iterable[Region]) -> tuple[frozenset[str], ...]:
    groups = []
    for word in _words(given.get("must", "")):
        group = frozenset(r.code for r in usable if matches(r, word))
        if not group:
            raise _nothing("must", word)
        groups.append(group)
    return tuple(groups)


def _mine(given: Mapping[str, str], sources: set[str]) -> tuple[str, ...]:
    codes = dict.fromkeys(_words(given.get("mine", "")))
    for code in codes:
        if code not in sources:
            raise _nothing("mine", code)
    return tuple(sorted(codes))


def _nothing(name: str, text: str) -> ValueError:
    near = suggest(text)
    hint = f"; did you mean {', '.join(near)}?" if near else "."
    return ValueError(f"{name}={text!r}: no region with a probe that may be used has that{hint}")


def _one_of(given: Mapping[str, str], name: str, allowed: Iterable[str], default: str) -> str:
    value = given.get(name) or default
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(allowed)}.")
    return value


def _number(
    given: Mapping[str, str],
    name: str,
    default: float,
    low: float,
    high: float,
    whole: bool = False,
) -> float:
    text = given.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name}={text!r}: expected {kind} from {low:g} to {high:g}.")
    return value
