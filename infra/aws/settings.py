"""The settings of an installation, kept where every deployer finds them: in its operations stack.

Whoever deploys has to read that stack anyway, so keeping them there needs no right of its own; they
go with the installation, and CloudFormation shows who changed them when. What the environment of a
deployment says is kept from then on; what it does not say stays as it was. Only what differs from
the default is kept.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cloudping.errors import CloudPingError, SettingError
from cloudping.settings import load
from infra.aws import stacks
from infra.aws.account import Account
from infra.aws.installation import KEPT

STACK, PARAMETER = "operations", "Settings"


def stored(account: Account) -> dict[str, str]:
    """What the last deployment kept; nothing without a stack, or in another partition."""
    if not account.is_home:
        return {}
    name = account.installation.stack_name(STACK)
    stack = stacks.describe(account.client("cloudformation"), name) or {}
    for parameter in stack.get("Parameters", ()):
        if parameter["ParameterKey"] == PARAMETER:
            return _parsed(parameter["ParameterValue"], name)
    return {}


def _parsed(text: str, name: str) -> dict[str, str]:
    try:
        found = json.loads(text)
        return {key: str(found[key]) for key in KEPT if key in found}
    except (TypeError, ValueError):
        raise CloudPingError(
            f"the parameter {PARAMETER} of stack {name} is not what deploy keeps there: {text!r}"
        ) from None


def settled(account: Account, before: Mapping[str, str], reset: Iterable[str] = ()) -> Account:
    """The account with what was stored `before` and what is said now, which wins; less `reset`.

    Raises SettingError for a value that cannot be, and for a name to reset that is not kept.
    """
    now = {**before, **account.installation.environment}
    for name in reset:
        if name not in KEPT:
            raise SettingError("--reset", name, f"one of {', '.join(KEPT)}")
        now.pop(name, None)
    # In one order, whoever said what: a package is made anew where its settings look different.
    now = {name: now[name] for name in KEPT if now.get(name, KEPT[name]) != KEPT[name]}
    installation = replace(account.installation, environment=now)
    load(installation.environ)
    return replace(account, installation=installation)


def text(environment: Mapping[str, str]) -> str:
    """How settings are kept: the same for the same settings."""
    return json.dumps(dict(environment), sort_keys=True)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each setting that is not at its default, and for each that changes."""
    lines = []
    for name, default in KEPT.items():
        old, new = before.get(name, default), now.get(name, default)
        if old != new:
            lines.append(f"setting {name}: {old or 'none'} -> {new or 'none'}")
        elif new != default:
            lines.append(f"setting {name}={new}")
    return lines


def site_parameters(environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the front end's stack for what the site reads of the settings."""
    return {
        name.title().replace("_", ""): environment.get(name, default)
        for name, default in KEPT.items()
        if name.startswith("FRONTEND_") or name == "AGGREGATOR_INTERVAL_MINUTES"
    }
