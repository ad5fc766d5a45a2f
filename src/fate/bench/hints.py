"""Policies that are shown part of the graph: what callers have not declared is seen when ready.

The core knows all edges, or stages would start before their inputs exist; an edge that a caller
leaves out shows in what planners see. A stage whose edges are missing, and all below it, is in no
snapshot until it is ready, and what it adds to the paths above it is not in their `tail_s`.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fate.bench.workloads.lengths import generator
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import F64, I32, Snapshot
from fate.policy.base import Lookahead, Policy

#: Arrays of a snapshot with a row for each node.
_BY_NODE = (
    "model", "first_tokens", "rest_tokens", "head_tokens", "rest_items", "output_tokens",
    "transfer_s", "output_bytes", "instance", "workflow", "eligible", "released_at_s", "prompt",
    "moved", "move_s",
)  # fmt: skip
#: What the name of a chunk carries behind its instance's.
_CHUNK = re.compile(r"\[\d+:\d+\]$")


class Undeclared:
    """A policy that sees only part of what is not ready yet.

    Which stages have lost their edges is drawn by their names, so that all policies miss the same.
    """

    def __init__(self, policy: Policy, share: float, seed: int) -> None:
        """Wrap a policy.

        Args:
            policy: plans on what is left.
            share: of stages without their edges, in [0, 1].
            seed: draws them.
        """
        self._policy, self._share, self._seed = policy, share, seed
        self._drawn: dict[str, bool] = {}

    @property
    def name(self) -> str:
        """The policy's own."""
        return self._policy.name

    @property
    def eager(self) -> bool:
        """As the policy."""
        return self._policy.eager

    @property
    def inline(self) -> bool:
        """As the policy."""
        return self._policy.inline

    @property
    def lookahead(self) -> Lookahead:
        """As the policy; a rule must be shown stages for its ranks to be without some."""
        return "near" if self._policy.lookahead == "none" else self._policy.lookahead

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Plan on what was declared."""
        ready = snapshot.frontier
        missing = [
            ready + i for i, name in enumerate(snapshot.node_names[ready:]) if self._of(name)
        ]
        return self._policy.plan(without(snapshot, missing), memo)

    def _of(self, name: str) -> bool:
        """Whether a stage's edges are missing."""
        stage = _CHUNK.sub("", name)
        if stage not in self._drawn:
            draw = generator("undeclared", self._seed, stage).random()
            self._drawn[stage] = draw < self._share
        return self._drawn[stage]


def without(snapshot: Snapshot, missing: Sequence[int]) -> Snapshot:
    """Return a snapshot without some waiting nodes and all that follow from them.

    Args:
        snapshot: the whole picture.
        missing: rows >= F.
    """
    if not missing:
        return snapshot
    gone = _closure(snapshot, missing)
    kept = np.flatnonzero(~gone)
    now = snapshot.contents_now
    arrays = {name: np.ascontiguousarray(getattr(snapshot, name)[kept]) for name in _BY_NODE}
    return dataclasses.replace(
        snapshot,
        node_names=tuple([snapshot.node_names[row] for row in kept]),
        tail_s=_tails(snapshot, gone)[kept],
        held=np.concatenate([snapshot.held[:now], snapshot.held[now:][kept]]),
        **arrays,
        **_edges(snapshot, gone, kept),
    )


def _children(snapshot: Snapshot, row: int) -> range:
    return range(int(snapshot.child_ptr[row]), int(snapshot.child_ptr[row + 1]))


def _closure(snapshot: Snapshot, missing: Sequence[int]) -> NDArray[np.bool_]:
    """Return [N] whether a node is missing, or behind one that is."""
    gone = np.zeros(len(snapshot.model), np.bool_)
    left = list(missing)
    while left:
        row = left.pop()
        if not gone[row]:
            gone[row] = True
            left += [int(snapshot.child[edge]) for edge in _children(snapshot, row)]
    return gone


def _tails(snapshot: Snapshot, gone: NDArray[np.bool_]) -> F64:
    """Return [N] the longest paths through what is kept; those that lost nothing stay."""
    tails: dict[int, tuple[float, bool]] = {}
    order = _bottom_up(snapshot)
    for row in order:
        below = [
            (int(snapshot.child[e]), float(snapshot.child_after_s[e]))
            for e in _children(snapshot, row)
        ]
        known = [(child, after_s) for child, after_s in below if not gone[child]]
        changed = len(known) < len(below) or any(tails[child][1] for child, _ in known)
        tail_s = float(snapshot.tail_s[row])
        if changed:
            paths = [after_s + _own_seconds(snapshot, c) + tails[c][0] for c, after_s in known]
            tail_s = min(max(paths, default=0.0), tail_s)
        tails[row] = (tail_s, changed)
    return np.array([tails[row][0] for row in range(len(snapshot.model))], np.float64)


def _bottom_up(snapshot: Snapshot) -> list[int]:
    """Return all rows, every node behind its children."""
    waits = np.zeros(len(snapshot.model), np.int64)
    for row in range(len(waits)):
        waits[row] = len(_children(snapshot, row))
    parents: list[list[int]] = [[] for _ in waits]
    for row in range(len(waits)):
        for edge in _children(snapshot, row):
            parents[int(snapshot.child[edge])].append(row)
    order = [row for row in range(len(waits)) if not waits[row]]
    for row in order:
        for parent in parents[row]:
            waits[parent] -= 1
            if not waits[parent]:
                order.append(parent)
    return order


def _own_seconds(snapshot: Snapshot, row: int) -> float:
    """Return the seconds of a node, the mean over the devices that can run it."""
    model, seconds = int(snapshot.model[row]), list[float]()
    items = 1.0 + float(snapshot.rest_items[row])
    first, output = float(snapshot.first_tokens[row]), float(snapshot.output_tokens[row]) / items
    for device in np.flatnonzero(snapshot.eligible[row]):
        prefill = [float(each) for each in snapshot.prefill[device, model]]
        decode = [float(each) for each in snapshot.decode[device, model]]
        one = prefill_seconds(first, 0.0, prefill[0], prefill[1], prefill[2])
        one += decode_seconds(output, first, decode[0], decode[1], decode[2])
        seconds.append(items * one)
    return sum(seconds) / len(seconds) if seconds else 0.0


def _edges(
    snapshot: Snapshot, gone: NDArray[np.bool_], kept: NDArray[np.intp]
) -> dict[str, I32 | F64]:
    """Return the edges among what is kept, in CSR form."""
    place = np.full(len(gone), -1, np.int32)
    place[kept] = np.arange(len(kept), dtype=np.int32)
    edges = [[e for e in _children(snapshot, int(r)) if not gone[snapshot.child[e]]] for r in kept]
    flat = np.array([edge for row in edges for edge in row], np.int64)
    pointers = np.concatenate([[0], np.cumsum([len(row) for row in edges])])
    return {
        "child_ptr": pointers.astype(np.int32),
        "child": place[snapshot.child[flat]],
        "child_share": snapshot.child_share[flat],
        "child_after_s": snapshot.child_after_s[flat],
    }
