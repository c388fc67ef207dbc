"""Questions from addresses: what they mean, and one line for each that means nothing."""

import pytest

from cloudping.regions import CATALOGUE
from frontend.views.plan import ask

SOURCES = {code for code, region in CATALOGUE.items() if region.partition == "aws"}


def question(**given: str) -> ask.Question:
    return ask.question({"clients": "us-east-1", **given}, CATALOGUE, SOURCES)


def test_clients_are_codes_names_and_groups_with_weights() -> None:
    clients = dict(question(clients="Europe:2, us-east-1:3, Tokyo, eu-west-1:0.5").clients)
    assert clients.pop("us-east-1") == 3
    assert clients.pop("ap-northeast-1") == 1
    assert clients.pop("eu-west-1") == 0.5
    assert set(clients.values()) == {2}
    assert {CATALOGUE[code].geography for code in clients} == {"Europe"}


def test_what_may_be_a_replica_is_the_clients_partition_or_what_is_said() -> None:
    assert set(question().candidates) == SOURCES
    assert set(question(may="Europe", never="eu-west-1,Milan").candidates) == {
        code for code in SOURCES
        if CATALOGUE[code].geography == "Europe" and code not in ("eu-west-1", "eu-south-1")
    }  # fmt: skip
    assert question(must="eu-west-1, South America").required == (
        frozenset({"eu-west-1"}),
        frozenset({"sa-east-1"}),
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clients": ""}, "clients: name at least one region"),
        ({"clients": "us-est-1"}, "clients='us-est-1': .*did you mean .*us-east-1"),
        ({"clients": "us-east-1:none"}, "clients='us-east-1:none': a weight is a number above 0"),
        ({"clients": "us-east-1:0"}, "a weight is a number above 0"),
        ({"clients": "us-east-1:nan"}, "a weight is a number above 0"),
        ({"replicas": "8"}, "replicas='8': expected a whole number from 1 to 7"),
        ({"replicas": "2.5"}, "replicas='2.5'"),
        ({"protocol": "paxos"}, "protocol='paxos': expected one of leader, flexible"),
        ({"figure": "p_98"}, "figure='p_98'"),
        ({"timeframe": "now"}, "timeframe='now': expected one of 1D, 1W, 1M, 1Y"),
        ({"objective": "best"}, "objective='best': expected one of worst, mean"),
        ({"round_trips": "0"}, "round_trips='0'"),
        ({"protocol": "write", "quorum": "4"}, "quorum=4: a quorum of 4 of 3 replicas"),
        ({"conflicts": "101"}, "conflicts='101': expected a number from 0 to 100"),
        ({"survive": "2"}, "survive=2: Single leader, majority of 3 survives the loss of 1"),
        ({"must": "Atlantis"}, "must='Atlantis'"),
        ({"never": "Atlantis"}, "never='Atlantis'"),
        ({"may": "Atlantis"}, "may='Atlantis'"),
        ({"may": "South America"}, "replicas=3: only 1 regions may be one"),
        ({"must": "eu-west-1,eu-west-2,eu-west-3,us-east-1"}, "4 do not fit into 3 replicas"),
        ({"apart_km": "far"}, "apart_km='far'"),
        ({"apart_ms": "-1"}, "apart_ms='-1'"),
        ({"apart": "continents"}, "apart='continents'"),
        ({"mine": "us-east-1"}, "mine=us-east-1: expected 3 regions"),
        ({"mine": "us-east-1,us-east-2,x"}, "mine='x'"),
        ({"protocol": "chain", "replicas": "7"}, "replicas=7: a chain may have 5 at most"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_said_in_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        question(**given)
    assert "\n" not in str(raised.value)
