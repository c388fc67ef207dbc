"""tables.yaml: what an emulator ignores is asserted on the template itself."""

from typing import Any

import pytest

from cloudping.buckets import DistributionTable
from cloudping.changes import ChangeTable
from cloudping.regions import RegionTable
from cloudping.runs import RunTable
from cloudping.summaries import HistoryTable, SummaryTable
from tests.conftest import load_template

TABLES = (RunTable, RegionTable, DistributionTable, SummaryTable, HistoryTable, ChangeTable)
TEMPLATE = load_template("tables.yaml")
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def test_there_is_one_table_for_each_schema() -> None:
    names = {r["Properties"]["TableName"]["Fn::Sub"] for r in RESOURCES.values()}
    assert names == {"${Prefix}" + table.NAME for table in TABLES}


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=RESOURCES)
def test_every_table_is_on_demand_and_protected(resource: dict[str, Any]) -> None:
    properties = resource["Properties"]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["PointInTimeRecoverySpecification"] == {
        "PointInTimeRecoveryEnabled": {"Ref": "PointInTimeRecovery"}
    }
    assert properties["SSESpecification"] == {"SSEEnabled": {"Ref": "ManagedKey"}}
    assert properties["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert resource["UpdateReplacePolicy"] == "Retain"
    # Kept whatever happens to the stack, but for a first creation that fails: kept then, the empty
    # table would stand in the way of the next try.
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"


def test_defaults_protect() -> None:
    parameters = TEMPLATE["Parameters"]
    assert parameters["PointInTimeRecovery"]["Default"] == "true"
    assert parameters["DeletionProtection"]["Default"] == "true"


def test_only_raw_runs_may_expire() -> None:
    with_ttl = {
        name for name, r in RESOURCES.items() if "TimeToLiveSpecification" in r["Properties"]
    }
    assert with_ttl == {"PingTest"}
    assert RESOURCES["PingTest"]["Properties"]["TimeToLiveSpecification"] == {
        "AttributeName": "expires_at",
        "Enabled": True,
    }


def test_keys_and_indexes_as_designed(dynamodb: Any) -> None:
    def keys(schema: list[dict[str, str]]) -> list[str]:
        return [entry["AttributeName"] for entry in schema]

    found = {}
    for table in TABLES:
        description = dynamodb.describe_table(TableName=table.NAME)["Table"]
        found[table.NAME] = keys(description["KeySchema"])
        for index in description.get("GlobalSecondaryIndexes", ()):
            found[index["IndexName"]] = keys(index["KeySchema"])
    assert found == {
        "PingTest": ["region", "timestamp"],
        "region-written_at-index": ["region", "written_at"],
        "cloudping_regions": ["region"],
        "active_from-region-index": ["active_from", "region"],
        "active_to-region-index": ["active_to", "region"],
        "cloudping_distributions": ["region", "bucket"],
        "cloudping_stored_avgs": ["timeframe", "index"],
        "cloudping_history": ["pair", "month"],
        "cloudping_changes": ["year", "id"],
    }


def test_what_is_written_once_and_kept_is_in_the_cheaper_class() -> None:
    """The others are rewritten every hour, which costs a quarter more in that class."""
    classes = {name: r["Properties"].get("TableClass") for name, r in RESOURCES.items()}
    assert classes.pop("PingTest") == "STANDARD_INFREQUENT_ACCESS"
    assert set(classes.values()) == {None}
