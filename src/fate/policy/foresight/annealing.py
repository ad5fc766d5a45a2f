"""Annealing over plans for the whole visible DAG.

A chain of random moves from plan to plan; each may bring a loss drawn from an exponential
distribution whose mean falls to zero in a line (Kirkpatrick, Gelatt, Vecchi, "Optimization by
simulated annealing", Science 220, 1983: a loss is taken with the same probability).
"""

import numpy as np

from fate.policy.kernel.reference_project import seconds_of
from fate.policy.kernel.reference_whole import MOVE_WIDTH
from fate.policy.kernel.whole import Valued, Whole

#: Mean loss that is taken in the beginning, as a share of the value, by chains of so many moves or
#: more for each node. Shorter ones take less: what they lose they have no time to win back.
_HEAT, _LONG = 0.002, 240


def anneal(whole: Whole, start: Valued, projections: int, draw: np.random.Generator) -> Valued:
    """Return the best plan that a chain of so many moves meets, the start included.

    Args:
        whole: values plans.
        start: where the chain begins.
        projections: moves, each of which takes a projection.
        draw: all chance there is.
    """
    moves = draw.integers(0, 1 << 31, (projections, MOVE_WIDTH))
    length = projections / max(len(start.places.device) * _LONG, 1)
    heat_s = _HEAT * min(length, 1.0) ** 2 * seconds_of(start.value_s)
    cooling = np.linspace(1.0, 0.0, projections)
    losses = draw.exponential(size=projections)
    return whole.search(start.places, moves, heat_s * cooling * losses)
