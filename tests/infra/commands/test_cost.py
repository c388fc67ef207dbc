"""The bill: what it is made of, its bounds, and the item sizes against DynamoDB's own rules."""

from decimal import Decimal

import pytest

from infra.__main__ import main
from infra.commands import cost
from infra.commands.cost import Plan


def total(plan: Plan) -> float:
    return sum(line.usd for line in cost.pipeline_lines(plan))


def test_five_minutes_with_a_year_of_history_stay_under_17_usd_50() -> None:
    """docs/deploying.md says line by line what keeps it there."""
    assert 10 < total(Plan(regions=34, minutes=5)) < 17.50


def test_silent_targets_make_every_run_longer() -> None:
    none, one, two = (total(Plan(34, 5, silent=silent)) for silent in (0, 1, 2))
    assert 2 < one - none < 4
    assert 0 < two - one < 0.5


def test_prices_are_means_over_the_regions_that_measure() -> None:
    assert cost._mean({}, 0.5) == pytest.approx(0.5)
    assert cost._mean({"Asia Pacific": 1.0}, 0.0) == pytest.approx(14 / 34)


def test_six_hours_cost_a_quarter_of_that() -> None:
    assert total(Plan(regions=34, minutes=360)) < 0.3 * total(Plan(regions=34, minutes=5))


def test_the_bill_grows_with_regions_cadence_and_history() -> None:
    base = Plan(regions=10, minutes=10)
    assert total(Plan(regions=20, minutes=10)) > total(base)
    assert total(Plan(regions=10, minutes=5)) > total(base)
    assert total(Plan(regions=10, minutes=10, months=24)) > total(base)


def test_every_service_of_the_pipeline_is_in_it() -> None:
    services = " ".join(line.service for line in cost.pipeline_lines(Plan(34, 5)))
    for named in ("writes", "reads", "storage", "recovery", "Lambda", "logs", "alarms", "transfer"):
        assert named in services
    site = " ".join(line.service for line in cost.site_lines(Plan(34, 5)))
    for named in ("Fargate", "Load balancer", "addresses", "CloudWatch alarms", "Image"):
        assert named in site
        assert named not in services


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"a": "xyz"}, 4),  # UTF-8 bytes of name and value
        ({"a": None}, 2),
        ({"a": True}, 2),
        ({"a": Decimal("123.45")}, 1 + 3 + 1),  # a byte for two digits, and one
        ({"a": Decimal("-1")}, 1 + 1 + 1 + 1),  # and one for the sign
        ({"a": [1, 2]}, 1 + 3 + 2 * (1 + 2)),  # 3 for the list, 1 for each entry
        ({"a": {"b": "c"}}, 1 + 3 + 1 + 1 + 1),
        ({"a": b"1234"}, 5),
    ],
)
def test_item_sizes_follow_dynamodbs_rules(item: dict[str, object], size: int) -> None:
    assert cost.item_bytes(item) == size


def test_a_run_is_one_item_of_4_to_6_kb() -> None:
    size, logged = cost.run_bytes(Plan(34, 5))
    assert 4000 < size < 6 * 1024
    assert logged < 8 * 1024


def test_the_command_prints_both_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--cadence", "6h", "--regions", "34"]) == 0
    said = capsys.readouterr().out
    assert "a run every 360 min" in said
    assert "sum of measuring and figures" in said
    assert "sum of front end" in said


def test_a_cadence_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cost", "--cadence", "often"])
    assert "'often' is not e.g. 5m or 6h" in capsys.readouterr().err
