"""The order of sets that give the same figure: by medians, first as they are, then with a loss.

A replica beyond the quorum changes nothing while all are there; what is worth having there shows
when a member is lost.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from frontend.views.plan.evaluate import Evaluator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Ties:
    """Scores by the medians of single round trips: a sum of medians is good enough to choose."""

    def __init__(self, evaluator: Evaluator, codes: Sequence[str]) -> None:
        goal, measured = evaluator.goal, evaluator.measured
        self._protocol, self._goal, self._codes = evaluator.protocol, goal, list(codes)
        self._own = np.array(
            [[measured(c, code).percentile(50) for code in codes] for c in goal.clients]
        )
        self._between = np.array(
            [[0.0 if a == b else measured(a, b).percentile(50) for b in codes] for a in codes]
        )
        weights = np.array(list(goal.clients.values()))
        self._weights = weights / weights.sum()

    def score(self, replicas: Sequence[str], asked: Sequence[str]) -> tuple[float, float]:
        """The clients' mean, and the figure after the worst loss, ms; low is better."""
        members = np.array([[self._codes.index(code) for code in replicas]])
        at = [self._codes.index(code) for code in asked]
        return round(self._mean(members, at), 6), round(float(self.lost(members)[0]), 6)

    def lost(self, members: Ints) -> Floats:
        """N, of N sets (N x n indices into the codes): the figure after the worst loss, ms."""
        number, n = members.shape
        worst: Floats = np.zeros(number)
        if n == 1 or self._protocol.asked == "chain":
            return worst
        for k in range(n):
            left = np.delete(members, k, axis=1)
            worst = np.maximum(worst, self._best(left))
        return worst

    def _best(self, members: Ints) -> Floats:
        """N: by the best leader, or each client through its nearest."""
        ways = np.array([self._waits(members, k) for k in range(members.shape[1])])
        own = self._own[:, members]  # C x N x n
        if self._protocol.asked == "leader":
            through = own + ways.T
            per_leader = (
                through.max(axis=0)
                if self._goal.objective == "worst"
                else np.tensordot(self._weights, through, 1)
            )
            best: Floats = per_leader.min(axis=1)
            return best
        nearest = own.argmin(axis=2)
        rows = np.arange(len(members))
        figures = np.array(
            [own[c, rows, near] + ways[near, rows] for c, near in enumerate(nearest)]
        )
        combined: Floats = (
            figures.max(axis=0) if self._goal.objective == "worst" else self._weights @ figures
        )
        return combined

    def _waits(self, members: Ints, k: int) -> Floats:
        """N: from the k-th member of each set, all phases that are certain."""
        away = np.sort(self._between[members[:, k][:, None], members], axis=1)
        quorums = [ph.quorum for ph in self._protocol.phases if ph.probability == 1]
        if any(quorum > away.shape[1] for quorum in quorums):
            return np.full(len(members), np.inf)
        return sum((away[:, quorum - 1] for quorum in quorums), np.zeros(len(members)))

    def _mean(self, members: Ints, asked: list[int]) -> float:
        own = self._own[:, members[0]]
        if self._protocol.asked == "chain":
            return float(self._weights @ (self._own[:, asked[0]] + self._own[:, asked[-1]]))
        ways = np.array([self._waits(members, k)[0] for k in range(members.shape[1])])
        places = members[0].tolist()
        may = [places.index(at) for at in asked] or range(len(places))
        if self._protocol.asked == "leader":
            through = own[:, may[0]] + ways[may[0]]
        else:
            near = np.array(may)[own[:, may].argmin(axis=1)]
            through = own[np.arange(len(own)), near] + ways[near]
        return float(self._weights @ through)
