"""The wire format and the translation of errors."""

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from cloudping import dynamo
from cloudping.errors import StoreError

values = st.recursive(
    st.none() | st.booleans() | st.text() | st.decimals(-(10**6), 10**6, places=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1), values))
def test_wire_and_back_is_what_boto3_makes_of_it(item: dict[str, Any]) -> None:
    wire = dynamo.to_wire(item)
    assert dynamo.from_wire(wire) == item
    assert dynamo.from_wire(wire) == {
        name: TypeDeserializer().deserialize(value) for name, value in wire.items()
    }


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(0.1 + 0.2, 3, "0.3"), (0.0, 3, "0"), (123.4567, 2, "123.46"), (1200, 0, "1200")],
)
def test_decimal_has_no_binary_tail(value: float, places: int, text: str) -> None:
    number = dynamo.decimal(value, places)
    assert number == Decimal(text)
    assert f"{number:f}" == text


def test_pages_follow_the_last_key() -> None:
    asked = []

    def query(**request: Any) -> dict[str, Any]:
        asked.append(request.get("ExclusiveStartKey"))
        if len(asked) == 1:
            return {"Items": [{"n": {"N": "1"}}], "LastEvaluatedKey": {"k": {"S": "1"}}}
        return {"Items": [{"n": {"N": "2"}}]}

    assert list(dynamo.pages(query, "T")) == [{"n": Decimal(1)}, {"n": Decimal(2)}]
    assert asked == [None, {"k": {"S": "1"}}]


def test_no_connection_is_a_store_error() -> None:
    with (
        pytest.raises(StoreError, match=r"put_item on table T failed: Could not connect"),
        dynamo.translated("T", "put_item"),
    ):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
