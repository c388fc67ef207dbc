"""IAM's decision on a request, for the elements that this project's policies use.

Follows "Policy evaluation logic" of the IAM user guide for one account: an explicit deny anywhere
decides; otherwise the identity's policies must allow, and so must the permissions boundary where
there is one. An element or an operator that is not known here is an error, not a guess.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from typing import Any

Document = Mapping[str, Any]
Statement = Mapping[str, Any]

_KNOWN_ELEMENTS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "Condition"})


@dataclass(frozen=True, slots=True)
class Request:
    """One action on one resource; `context` has every condition key's values (lower-case keys)."""

    action: str
    resource: str
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} {dict(self.context) or ''}".rstrip()


def allows(
    policies: Iterable[Document], request: Request, boundary: Document | None = None
) -> bool:
    """True when the policies, cut by the boundary, let the request through."""
    identity = [statement for policy in policies for statement in statements(policy)]
    bound = list(statements(boundary)) if boundary is not None else []
    if any(s["Effect"] == "Deny" and applies(s, request) for s in [*identity, *bound]):
        return False
    allowed = any(s["Effect"] == "Allow" and applies(s, request) for s in identity)
    return allowed and (
        boundary is None or any(s["Effect"] == "Allow" and applies(s, request) for s in bound)
    )


def statements(policy: Document) -> list[Statement]:
    return listed(policy["Statement"])


def applies(statement: Statement, request: Request) -> bool:
    """True when the statement speaks of the request, whatever its effect."""
    if unknown := statement.keys() - _KNOWN_ELEMENTS:
        raise ValueError(f"{statement.get('Sid')}: {sorted(unknown)} are not evaluated here")
    return (
        _action_matches(statement, request.action)
        and any(matches(pattern, request.resource) for pattern in listed(statement["Resource"]))
        and all(
            _condition_holds(operator, key, listed(values), request)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _action_matches(statement: Statement, action: str) -> bool:
    def any_of(patterns: Any) -> bool:
        return any(matches(pattern.lower(), action.lower()) for pattern in listed(patterns))

    if "NotAction" in statement:
        return not any_of(statement["NotAction"])
    return any_of(statement["Action"])


def matches(pattern: str, text: str) -> bool:
    """IAM's wildcards: `*` for any characters, `?` for one; a `[` is no class."""
    return _compiled(pattern).fullmatch(text) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.replace("[", "[[]")))


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda pattern, value: pattern == value,
    "StringLike": matches,
    "ArnLike": matches,
    "Bool": lambda pattern, value: pattern.lower() == value.lower(),
}


def _condition_holds(operator: str, key: str, patterns: Sequence[str], request: Request) -> bool:
    values = request.context.get(key.lower(), ())
    quantifier, _, name = operator.rpartition(":")
    if_exists = name.endswith("IfExists")
    test = _OPERATORS[name.removesuffix("IfExists")]

    def fits(value: str) -> bool:
        return any(test(str(pattern), value) for pattern in patterns)

    if if_exists and not values:
        return True
    if quantifier == "ForAllValues":
        return all(map(fits, values))  # true where the key is missing: so IAM has it
    if quantifier == "ForAnyValue":
        return any(map(fits, values))
    if quantifier or len(values) > 1:
        raise ValueError(f"{operator} of {key}: {values} needs ForAllValues or ForAnyValue")
    return any(map(fits, values))


def without(policy: Document, at: int) -> Document:
    """The policy without one of its statements."""
    kept = [s for number, s in enumerate(statements(policy)) if number != at]
    return {**policy, "Statement": kept}


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
