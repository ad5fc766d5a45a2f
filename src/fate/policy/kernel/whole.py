"""The whole visible DAG in one interface, plain or compiled; opened through `Kernel.whole`."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fate.domain.snapshot import F64, I64
from fate.policy.kernel import reference_project, reference_rolled, reference_whole
from fate.policy.kernel.problem import Plain, Problem
from fate.policy.kernel.reference_project import ANY, Aims, Places, Projection
from fate.policy.kernel.reference_rolled import Urgency


class Valued(NamedTuple):
    """A plan for all nodes with its value in seconds, lower is better."""

    places: Places
    value_s: float


class Whole(Protocol):
    """Plans for all nodes of one problem; every result is the same, plain or compiled."""

    def rolled(self, urgency: Urgency, factors: F64 | None = None) -> Places:
        """Return the plan that a greedy rule carries out; `factors` [N] multiply nodes' ranks."""
        ...

    def affinity(self) -> Places:
        """Return the plan in which each idle device takes the node it finds cheapest."""
        ...

    def project(self, places: Places) -> tuple[Projection, float]:
        """Run a plan to completion; return what happens, and what it is worth."""
        ...

    def search(self, places: Places, moves: I64, slack_s: F64 | None = None) -> Valued:
        """Return an improved plan.

        Args:
            places: the plan to start from.
            moves: [K, MOVE_WIDTH] random integers >= 0.
            slack_s: [K] the loss that each move may bring; None allows none.
        """
        ...


class ReferenceWhole:
    """Plain Python."""

    def __init__(self, p: Plain, workflow: Sequence[int], aims: Aims) -> None:
        self._p, self._aims = p, aims
        self._graph = reference_project.reverse(p, workflow)

    def rolled(self, urgency: Urgency, factors: F64 | None = None) -> Places:
        """See `Whole.rolled`."""
        ones = [1.0] * len(self._p.model)
        given = ones if factors is None else factors.tolist()
        return reference_rolled.rolled(self._p, self._graph, urgency, given)

    def affinity(self) -> Places:
        """See `Whole.affinity`."""
        nodes = len(self._p.model)
        projection, _ = self.project(Places([ANY] * nodes, [0.0] * nodes))
        return Places(projection.device, projection.turn)

    def project(self, places: Places) -> tuple[Projection, float]:
        """See `Whole.project`."""
        found = reference_project.project(self._p, self._graph, places)
        value_s = reference_project.worth(self._p, self._graph, found.finish_s, self._aims)
        return found, value_s

    def search(self, places: Places, moves: I64, slack_s: F64 | None = None) -> Valued:
        """See `Whole.search`."""
        rows, slacks = moves.tolist(), _slacks(moves, slack_s).tolist()
        return Valued(
            *reference_whole.search(self._p, self._graph, places, rows, slacks, self._aims)
        )


class CompiledWhole:
    """The same, compiled."""

    def __init__(self, p: Problem, workflow: Sequence[int], aims: Aims) -> None:
        from fate.policy.kernel import compiled_project, compiled_rolled, compiled_whole

        self._project, self._whole = compiled_project, compiled_whole
        self._rolled = compiled_rolled
        self._p, self._aims = p, (float(aims.mean), float(aims.tail))
        numbers, team = np.unique(np.array(workflow, np.int64), return_inverse=True)
        self._graph = compiled_project.reverse(p, team.astype(np.int64), len(numbers))

    def rolled(self, urgency: Urgency, factors: F64 | None = None) -> Places:
        """See `Whole.rolled`."""
        given = np.ones(len(self._p.ids)) if factors is None else factors
        return _listed(*self._rolled.rolled(self._p, self._graph, urgency, given))

    def affinity(self) -> Places:
        """See `Whole.affinity`."""
        nodes = len(self._p.ids)
        projection, _ = self.project(Places([ANY] * nodes, [0.0] * nodes))
        return Places(projection.device, projection.turn)

    def project(self, places: Places) -> tuple[Projection, float]:
        """See `Whole.project`."""
        seconds, turn, marks, value_s = self._project.run_out(
            self._p, self._graph, _packed(places), self._aims
        )
        ready_s, finish_s = seconds.T.tolist()
        _, device, before = marks.T.tolist()
        return Projection(finish_s, device, turn.tolist(), ready_s, before), float(value_s)

    def search(self, places: Places, moves: I64, slack_s: F64 | None = None) -> Valued:
        """See `Whole.search`."""
        tries = (moves, _slacks(moves, slack_s))
        device, turn, value_s = self._whole.search(
            self._p, self._graph, _packed(places), tries, self._aims
        )
        return Valued(_listed(device, turn), float(value_s))


def _slacks(moves: I64, slack_s: F64 | None) -> F64:
    return np.zeros(len(moves)) if slack_s is None else slack_s


def _packed(places: Places) -> tuple[I64, F64]:
    return np.array(places.device, np.int64), np.array(places.turn, np.float64)


def _listed(device: I64, turn: F64) -> Places:
    return Places(device.tolist(), turn.tolist())
