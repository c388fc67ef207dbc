"""The errors raised on purpose; each says what was wrong, with the value, and what to do."""

MAX_SHOWN = 200  # of a value: an item may have 400 KB


class CloudPingError(Exception):
    """Base of all errors below: one line for the operator, never a trace."""


class SettingError(CloudPingError):
    """A setting does not parse or is out of range."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"{name}={value!r} is not usable: expected {expected}")
        self.name = name
        self.value = value


class ItemError(CloudPingError):
    """A stored item does not follow its schema; carries table, key, attribute and value."""

    def __init__(
        self, table: str, key: object, attribute: str, value: object, expected: str
    ) -> None:
        shown = repr(value)[:MAX_SHOWN]
        super().__init__(f"{table} item {key}: {attribute} is {shown}, expected {expected}")
        self.table = table
        self.key = key
        self.attribute = attribute
        self.value = value


class NewerError(ItemError):
    """An item that a newer CloudPing wrote: it is whole, and must not be made anew by this one."""


class UnknownRegionError(CloudPingError):
    """A region code that the catalogue does not have."""

    def __init__(self, code: str, suggestions: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {', '.join(suggestions)}?" if suggestions else ""
        super().__init__(f"unknown region {code!r}{hint}")
        self.code = code
        self.suggestions = suggestions


class StoreError(CloudPingError):
    """DynamoDB did not do what was asked; the cause is chained."""

    def __init__(self, table: str, operation: str, reason: str) -> None:
        super().__init__(f"{operation} on table {table} failed: {reason}")
        self.table = table
        self.operation = operation


class ConditionError(StoreError):
    """The item is not as the writer of a conditional write had it: somebody else was first."""
