"""What an AWS account says of its regions, and the catalogue's table brought in line with it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from cloudping.errors import CloudPingError
from cloudping.items import Batch
from cloudping.regions import CATALOGUE, RegionState, RegionTable, partition_of, provisional

ENABLED: Final = frozenset({"ENABLED", "ENABLED_BY_DEFAULT"})
# GovCloud has no endpoint of Account Management (docs.aws.amazon.com/general/latest/gr/
# account.html) and no region to opt in to: an account there has all of them.
_WITHOUT_ACCOUNT_API: Final = frozenset({"aws-us-gov"})
# Public parameters that AWS keeps for every region.
_LONG_NAME = "/aws/service/global-infrastructure/regions/{}/longName"


# A service that does not answer must leave the watch's function time for what else it does.
_TIMEOUT_S: Final = 5
_ATTEMPTS: Final = 2


class AccountError(CloudPingError):
    """The account did not say which regions it has; the cause is chained."""


def client(session: Any, service: str, region: str) -> Any:
    """A client of a service, of boto3 or a session of it, that gives up after some 11 s."""
    from botocore.config import Config

    patience = Config(
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    return session.client(service, region_name=region, config=patience)


def region_status(session: Any, region: str) -> dict[str, str]:
    """Opt-in status (`ENABLED`, `ENABLED_BY_DEFAULT`, `DISABLED`, …) by region code.

    `session` is boto3 or a session of it, `region` one to ask in.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if (partition := partition_of(region)) in _WITHOUT_ACCOUNT_API:
        return {
            place.code: "ENABLED_BY_DEFAULT"
            for place in CATALOGUE.values()
            if place.partition == partition
        }
    try:
        pages = client(session, "account", region).get_paginator("list_regions")
        return {
            found["RegionName"]: found["RegionOptStatus"]
            for page in pages.paginate()
            for found in page["Regions"]
        }
    except (BotoCoreError, ClientError) as error:
        raise AccountError(f"the account's regions cannot be listed: {error}") from error


def long_name(session: Any, region: str, code: str) -> str:
    """What AWS calls a region, e.g. "Europe (Ireland)"; its code where nothing says."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client(session, "ssm", region).get_parameter(Name=_LONG_NAME.format(code))
    except (BotoCoreError, ClientError):
        return code
    return str(answer["Parameter"]["Value"])


def register(
    table: RegionTable,
    session: Any,
    region: str,
    status: Mapping[str, str],
    is_announced: bool = True,
) -> Batch[RegionState]:
    """Makes every region of the catalogue and of the account a target; returns those added.

    A region that is there keeps what is known of it, but for its opt-in status and for the place
    of one that the catalogue has learnt meanwhile. A broken item stays as it is; its error
    is among the `bad` of what is returned. `is_announced` says whether the operator knows of those
    added.
    """
    stored = table.all()
    known = {state.region.code: state for state in stored}
    added: Batch[RegionState] = Batch(bad=stored.bad)
    broken = {str(error.key) for error in stored.bad}
    for code in sorted((CATALOGUE.keys() | status.keys()) - broken):
        place, said = CATALOGUE.get(code), status.get(code, "unknown")
        state = known.get(code)
        if state is None:
            place = place or provisional(code, long_name(session, region, code))
            state = RegionState(
                place,
                is_source=False,
                is_target=True,
                opt_in_status=said,
                is_announced=is_announced,
            )
            table.put(state)
            added.append(state)
        elif place is not None and place != state.region:
            table.put(replace(state, region=place, opt_in_status=said))
        elif code in status and said != state.opt_in_status:
            table.note_opt_in(code, said)
    return added
