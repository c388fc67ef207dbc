"""Which installation a command means, in the account of the credentials; calls in parallel."""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from threading import local
from typing import Any, TypeVar

from cloudping.errors import CloudPingError
from cloudping.regions import partition_of, region
from cloudping.settings import load
from infra.aws.installation import Installation, said

# botocore's own are 60 s, five times: five minutes for each call to a region that is down.
CONNECT_TIMEOUT_S, ATTEMPTS = 4, 4

T = TypeVar("T")


class AccountError(CloudPingError):
    """AWS refused what is needed; says what, where and why."""


@dataclass(frozen=True)
class Account:
    """The account of the credentials with the installation in it, and the way to reach both."""

    installation: Installation
    number: str
    partition: str
    asked: str  # a region that answers these credentials

    def client(self, service: str, code: str | None = None) -> Any:
        """A client for the home region or another one; safe to call from any thread."""
        return session().client(service, region_name=code or self.installation.home_region)

    @property
    def is_home(self) -> bool:
        """True in the partition that has the tables; elsewhere there are probes only."""
        return self.partition == partition_of(self.installation.home_region)


_threads = local()


@cache
def _loader(data_path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(data_path)


def session() -> Any:
    """This thread's boto3 session: sessions are not to be shared between threads.

    With little patience for a connection: a region that is down must not hold up the others.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    if not hasattr(_threads, "session"):
        core = botocore.session.get_session()
        # Read once for all threads: services' models are most of what a client costs.
        core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
        retries: Any = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        core.set_default_client_config(Config(connect_timeout=CONNECT_TIMEOUT_S, retries=retries))
        _threads.session = boto3.Session(botocore_session=core)
    return _threads.session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prefix",
        default=os.environ.get("CLOUDPING_PREFIX", ""),
        help="before every name, so that two installations can share an account "
        "(default: CLOUDPING_PREFIX, else none)",
    )
    parser.add_argument(
        "--regions",
        metavar="CODE,CODE",
        help="only the probes of these regions (default: all that the account has enabled)",
    )


def find(args: argparse.Namespace, home_credentials: str = "") -> Account:
    """The installation of the arguments and the environment, in the account of the credentials.

    Raises SettingError for a bad setting, AccountError where AWS knows no such caller.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    settings = load({**os.environ, "CLOUDPING_PREFIX": args.prefix, "PROBE_REGION": ""})
    installation = Installation(
        prefix=settings.table_prefix,
        home_region=settings.home_region,
        environment=said(os.environ),
        home_credentials=home_credentials,
    )
    installation.check_names()
    codes = chosen(args.regions)
    # Nothing of another partition knows these credentials: ask where the work is to be done.
    asked = codes[0] if codes else session().region_name or settings.home_region
    try:
        identity = session().client("sts", region_name=asked).get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise AccountError(
            f"no AWS account to work in ({error}); set AWS_PROFILE or credentials for {asked}"
        ) from error
    partitions = {partition_of(code) for code in codes} or {partition_of(asked)}
    if len(partitions) > 1:
        raise AccountError(
            f"{args.regions}: {', '.join(sorted(partitions))} have accounts of their own; "
            "one command for each"
        )
    return Account(installation, identity["Account"], partitions.pop(), asked)


def chosen(text: str | None) -> list[str]:
    """Region codes of --regions; raises UnknownRegionError for one that cannot be a region's."""
    codes = [code.strip() for code in (text or "").split(",") if code.strip()]
    for code in codes:
        region(code)
    return codes


def in_parallel(
    work: Callable[[T], Any], items: Sequence[T], workers: int = 10
) -> Iterator[tuple[T, Any]]:
    """Yields (item, result or the exception that AWS raised) as they end."""
    from botocore.exceptions import BotoCoreError, ClientError

    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            futures = {pool.submit(work, item): item for item in items}
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except (BotoCoreError, ClientError, CloudPingError) as error:
                    yield futures[future], error
        finally:
            pool.shutdown(cancel_futures=True)
