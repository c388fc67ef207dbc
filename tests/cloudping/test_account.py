"""The account's regions, where no API lists them."""

from typing import Any

from cloudping.account import region_status


class Nothing:
    """A session whose every client would have to ask an endpoint that is not there."""

    def client(self, service: str, **_: Any) -> None:
        raise AssertionError(f"{service} has no endpoint in GovCloud")


def test_govcloud_has_no_account_api_and_all_of_its_regions() -> None:
    assert region_status(Nothing(), "us-gov-west-1") == {
        "us-gov-east-1": "ENABLED_BY_DEFAULT",
        "us-gov-west-1": "ENABLED_BY_DEFAULT",
    }
