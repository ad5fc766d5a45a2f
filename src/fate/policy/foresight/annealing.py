"""Annealing over plans for the whole visible DAG: descents, and kicks out of where they end.

A step changes a few nodes at random and descends from there by the compiled search; what it ends
in is taken if it is better, or with the probability that its loss has at the temperature (Martin,
Otto, Felten, "Large-step Markov chains for the traveling salesman problem", 1991).
"""

import math
from dataclasses import dataclass

import numpy as np

from fate.domain.snapshot import U8
from fate.policy.kernel.reference_project import Places
from fate.policy.kernel.reference_whole import MOVE_WIDTH
from fate.policy.kernel.whole import Valued, Whole

#: Loss, as a share of the value, that is taken with probability 1/e at the start; at the end of
#: the annealing nothing worse is taken.
_HEAT = 0.01
#: Share of the nodes that a step changes, and how many at least.
_KICK, _KICKED = 0.02, 3


@dataclass(frozen=True, slots=True)
class Annealing:
    """A chain of local optima.

    Attributes:
        eligible: [N, D] devices that may run a node.
        whole: values and descends.
        draw: all chance there is.
        descent: projections of a descent.
    """

    eligible: U8
    whole: Whole
    draw: np.random.Generator
    descent: int

    def run(self, places: Places, projections: int) -> Valued:
        """Return the best plan found and its value [s]; at least one descent is made."""
        at = best = self._descend(places)
        steps = projections // self.descent
        for step in range(1, steps):
            tried = self._descend(self._kicked(at.places))
            heat_s = _HEAT * best.value_s * (1.0 - step / steps)
            loss_s = tried.value_s - at.value_s
            if loss_s <= 0.0 or self.draw.random() < math.exp(-loss_s / heat_s):
                at = tried
            if tried.value_s < best.value_s:
                best = tried
        return best

    def _descend(self, places: Places) -> Valued:
        moves = self.draw.integers(0, 1 << 31, (self.descent, MOVE_WIDTH))
        return self.whole.search(places, moves)

    def _kicked(self, places: Places) -> Places:
        """Give a few nodes another device, or a turn before that of another node."""
        device, turn = list(places.device), list(places.turn)
        nodes = len(device)
        for _ in range(max(_KICKED, round(_KICK * nodes))):
            node, other = self.draw.integers(nodes, size=2).tolist()
            hosts = np.flatnonzero(self.eligible[node]).tolist()
            if self.draw.random() < 0.5:
                device[node] = int(self.draw.choice(hosts)) if hosts else device[node]
            else:
                turn[node] = turn[other] - 0.5
        return Places(device, turn)
