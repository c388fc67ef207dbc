from cloudping.regions import CATALOGUE
from frontend.views.order import by_proximity


def test_proximity_puts_neighbours_together() -> None:
    order = [r.code for r in by_proximity(list(CATALOGUE.values()), {})]
    at = {code: k for k, code in enumerate(order)}
    for a, b in (
        ("eu-west-1", "eu-west-2"),
        ("us-east-1", "us-east-2"),
        ("ap-east-1", "ap-east-2"),
    ):
        assert abs(at[a] - at[b]) <= 3
    assert abs(at["eu-west-1"] - at["ap-northeast-1"]) > 5
