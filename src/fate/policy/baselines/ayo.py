"""Ayo (Teola): primitives of one query after the other, those closest to its end first.

Tan et al., "Towards end-to-end optimization of LLM-based applications with Ayo", ASPLOS 2025
(arXiv:2407.00326, as Teola); engine scheduler and ranks read in the code, NetX-lab/Ayo.
"""

from fate.policy.serving import Desk, InTurn, ServingPolicy
from fate.policy.visible import visible


def _oldest_query_deepest_first(desk: Desk) -> list[int]:
    """Sort by arrival of the workflow, then by edges to the end, fewest first."""
    below, workflow = visible(desk.snapshot).below(), desk.snapshot.workflow.tolist()
    return sorted(range(desk.frontier), key=lambda node: (workflow[node], below[node], node))


def ayo() -> ServingPolicy:
    """Serve the oldest workflow, of it what is closest to the end, on devices in turn.

    Source: Ayo (ASPLOS 2025), `topology_aware` scheduling as in its code. Rule: workflows by
    arrival; within one the ready calls with the fewest edges to its end first; instances in turn,
    on arrival, for good; each serves what is most urgent in its queue. Deviations: edges on the
    longest path stand for positions in a topological order; batches hold one call; the graph
    passes (pruning, splitting of stages and prefills, streaming of decodes) are not made:
    workflows run as written for every policy; engines are devices that can host the model.
    """
    return ServingPolicy(
        name="ayo",
        urgency=_oldest_query_deepest_first,
        route=InTurn,
        binding="arrival",
        lookahead="all",
    )


def ayo_late() -> ServingPolicy:
    """Serve the oldest workflow, of it what is closest to the end, on idle devices in turn.

    Source: as `ayo`. Rule: the same urgency; each idle device in turn takes what is most urgent.
    Deviations: as `ayo`; late binding is ours, and since turns know no load, nothing waits for a
    busy device.
    """
    return ServingPolicy(
        name="ayo-late",
        urgency=_oldest_query_deepest_first,
        route=InTurn,
        binding="late",
        lookahead="all",
        idle_only=True,
    )
