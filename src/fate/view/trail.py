"""What the plans of a run expected, and the tables of its decisions: values that views show.

`drivers.trail` recomputes them from a journal.
"""

from collections.abc import Container, Iterable

import msgspec

from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.domain.plan import Plan
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Weights, plain
from fate.view.explain import Decision, indices, walk
from fate.view.waits import Aside, Held


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when a plan expected a chunk to run, on the run's clock [s]."""

    version: int
    device: str
    start_s: float
    end_s: float


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with the plans before it that left the same chunk waiting.

    `aside` are spells in which a device got no work while the chunk was ready.
    """

    decision: Decision
    held: tuple[Held, ...] = ()
    aside: tuple[Aside, ...] = ()


def explained(decision: Decision, held: tuple[Held, ...], asides: Iterable[Aside]) -> Explained:
    """Return a decision with what kept its chunk waiting: plans, and devices put aside."""
    ready_s = decision.at_s - decision.waited_s
    return Explained(
        decision=decision,
        held=held,
        aside=tuple([a for a in asides if a.start_s < decision.at_s and a.end_s > ready_s]),
    )


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions behind the bars of a history, by position in its bars.

    Attributes:
        expected: by the plan that started the bar.
        first: by the first plan that had the same chunk in view, where it differs.
        tables: decisions in full.
        note: why some bars have no table.
    """

    expected: dict[int, Expected] = {}
    first: dict[int, Expected] = {}
    tables: dict[int, Explained] = {}
    note: str = ""


def expectations(
    cluster: Cluster, snapshot: Snapshot, plan: Plan, wanted: Container[Chunk] | None = None
) -> dict[Chunk, Expected]:
    """Return where and when a plan expected its chunks to run, or at least those `wanted`."""
    p = plain(snapshot, Weights(depth=0), lookahead=False)
    found: dict[Chunk, Expected] = {}
    for device, order in enumerate(indices(snapshot, plan)):
        name = cluster.devices[device].id
        if wanted is not None:
            last = max((n for n, c in enumerate(order) if snapshot.chunks[c] in wanted), default=-1)
            order = order[: last + 1]
        for node, placed in walk(p, device, order):
            found[snapshot.chunks[node]] = Expected(
                version=snapshot.version,
                device=name,
                start_s=placed.loaded_s,
                end_s=placed.finish_s,
            )
    return found
