"""What CloudWatch makes of an alarm: its state, evaluation by evaluation, and whom it tells.

Follows "Configuring how CloudWatch alarms treat missing data" and "Evaluating an alarm" of the
CloudWatch user guide. CloudWatch looks at more periods than an alarm asks for; how many more is not
promised, and the guide's examples have two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

OK, ALARM, UNKNOWN = "OK", "ALARM", "INSUFFICIENT_DATA"
FURTHER_PERIODS = 2
_ACTIONS = {OK: "OKActions", ALARM: "AlarmActions", UNKNOWN: "InsufficientDataActions"}
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}


def judge(properties: Mapping[str, Any], values: Sequence[float | None], now: str) -> str:
    """The state after one evaluation; `values` are those of the evaluation range, oldest first."""
    needed = int(properties["EvaluationPeriods"])
    to_alarm = int(properties.get("DatapointsToAlarm", needed))
    breaches = _COMPARE[properties["ComparisonOperator"]]
    known = [value for value in values if value is not None][-needed:]
    breaching = sum(breaches(value, float(properties["Threshold"])) for value in known)
    missing = needed - len(known)
    treatment = properties.get("TreatMissingData", "missing")
    if not known:
        return {"missing": UNKNOWN, "ignore": now, "breaching": ALARM, "notBreaching": OK}[
            treatment
        ]
    if breaching >= to_alarm:
        return ALARM
    match treatment:
        case "breaching":
            return ALARM if breaching + missing >= to_alarm else OK
        case "missing":
            return ALARM if breaching >= min(to_alarm, len(known)) else OK
        case "ignore" if breaching + missing >= to_alarm:
            return now
    return OK


@dataclass(frozen=True, slots=True)
class Message:
    """What the topic gets when an alarm changes its state."""

    at: datetime
    alarm: str
    state: str


@dataclass
class Alarm:
    """One alarm from its creation on; `points` are what its metric was given."""

    properties: Mapping[str, Any]
    created: datetime
    points: list[tuple[datetime, float]] = field(default_factory=list)
    state: str = UNKNOWN

    @property
    def name(self) -> str:
        return str(self.properties["AlarmName"])

    def evaluate(self, at: datetime) -> Message | None:
        """What is sent now, if anything: actions are taken on a change of state only."""
        period = timedelta(seconds=int(self.properties["Period"]))
        last = at - timedelta(seconds=at.timestamp() % period.total_seconds())  # is still to end
        count = int(self.properties["EvaluationPeriods"]) + FURTHER_PERIODS
        values = [self._value(last - period * back, period) for back in range(count, 0, -1)]
        state = judge(self.properties, values, self.state)
        if state == self.state:
            return None
        self.state = state
        is_told = bool(self.properties.get(_ACTIONS[state]))
        return Message(at, self.name, state) if is_told else None

    def _value(self, start: datetime, period: timedelta) -> float | None:
        found = [value for at, value in self.points if start <= at < start + period]
        if not found:
            return None
        match self.properties["Statistic"]:
            case "Maximum":
                return max(found)
            case "Minimum":
                return min(found)
        return sum(found)
