"""Plans built by greedy rules: a table of rules, then rules near the best one, with other ranks.

Carrying out a rule costs as much as some thirty projections and keeps what makes rules good; a
random change to a plan rarely does. So rules are searched first: those of the table, then the best
one with its weight of ranks and some nodes' ranks changed at random, which stays if its plan is
worth no less (random keys: Bean, ORSA Journal on Computing 6(2), 1994).
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from fate.domain.snapshot import F64
from fate.policy.kernel.reference_project import Places
from fate.policy.kernel.reference_rolled import (
    EVERYTHING,
    LATE_EFT,
    ROLLED_MIN_MIN,
    SUFFERAGE,
    Urgency,
)
from fate.policy.kernel.whole import Valued, Whole

#: Rules of others, by name.
GREEDY: Final = {"late-eft": LATE_EFT, "min-min": ROLLED_MIN_MIN, "sufferage": SUFFERAGE}
_WINDOWS, _RANKS, _HASTES = (16, 32, 8, 64, EVERYTHING), (0.0, 0.1, 0.4), (0.0, 0.3)
#: Mixtures of the three.
_TABLE: Final = tuple(
    Urgency(1.0, rank, haste, window) for window in _WINDOWS for rank in _RANKS for haste in _HASTES
)
#: Spread of the logarithm of what the weight of ranks, and a node's rank, are multiplied by.
_WEIGHT_SPREAD, _RANK_SPREAD = 0.3, 0.5
#: Part of the nodes whose ranks change, and of the rules whose window does; the least weight of
#: ranks, so that they matter.
_CHANGED, _REWINDOWED, _LEAST_WEIGHT = 0.05, 0.2, 0.02


class Ruled(NamedTuple):
    """A rule with a factor for each node's rank [N], and the value of the plan it makes [s]."""

    value_s: float
    places: Places
    urgency: Urgency
    factors: F64


@dataclass(frozen=True, slots=True)
class Construction:
    """A search among rules.

    Attributes:
        nodes: how many nodes there are.
        whole: carries out rules and values plans.
        draw: all chance there is.
    """

    nodes: int
    whole: Whole
    draw: np.random.Generator

    def greedy(self) -> dict[str, Ruled]:
        """Return what the rules of others make, by name."""
        ones = np.ones(self.nodes)
        return {name: self._ruled(urgency, ones) for name, urgency in GREEDY.items()}

    def improve(self, best: Ruled, rules: int) -> Valued:
        """Return the best plan that so many rules more make."""
        ones = np.ones(self.nodes)
        for urgency in _TABLE[:rules]:
            best = min(best, self._ruled(urgency, ones), key=lambda ruled: ruled.value_s)
        for _ in range(rules - len(_TABLE)):
            tried = self._ruled(self._near(best.urgency), self._changed(best.factors))
            if tried.value_s <= best.value_s:
                best = tried
        return Valued(best.places, best.value_s)

    def _ruled(self, urgency: Urgency, factors: F64) -> Ruled:
        places = self.whole.rolled(urgency, factors)
        return Ruled(self.whole.project(places)[1], places, urgency, factors)

    def _near(self, urgency: Urgency) -> Urgency:
        if not urgency.loss:
            return urgency
        rank = max(urgency.rank, _LEAST_WEIGHT) * math.exp(_WEIGHT_SPREAD * self.draw.normal())
        window = urgency.window
        if self.draw.random() < _REWINDOWED:
            window = _WINDOWS[self.draw.integers(len(_WINDOWS))]
        return urgency._replace(rank=rank, window=window)

    def _changed(self, factors: F64) -> F64:
        some = self.draw.random(self.nodes) < _CHANGED
        return factors * np.where(some, np.exp(_RANK_SPREAD * self.draw.normal(size=self.nodes)), 1)
