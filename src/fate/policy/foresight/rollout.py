"""Letting a policy for the frontier run the whole visible DAG, on estimates.

At every projected event in which a device is idle and work is ready, the policy plans the ready
nodes in the state as it would be then, and the heads of its lists start. What comes out is a plan
for all nodes: the device and the turn that each was given.
"""

import dataclasses
from math import inf
from typing import Any

import numpy as np

from fate.domain.graph import Chunk
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Policy
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference_project import ANY, Places, Run, reverse

#: Columns of a snapshot with a row for each node that a plan of the frontier needs.
_ROWS = (
    "model",
    "first_tokens",
    "rest_tokens",
    "head_tokens",
    "rest_items",
    "output_tokens",
    "tail_s",
    "output_bytes",
    "instance",
    "workflow",
    "eligible",
    "moved",
    "move_s",
    "prompt",
)
#: Columns of the frontier about the past, of no concern to what is planned ahead.
_PAST = ("waited_s", "must_start", "attained_s", "path_s", "age_s", "gap_s", "home", "parents_on")


def roll_out(snapshot: Snapshot, policy: Policy) -> Places:
    """Return the plan for all nodes that a policy would carry out, planning anew at every event."""
    p = plain(snapshot, Weights(depth=0))
    nodes = len(p.model)
    graph = reverse(p, snapshot.workflow.tolist())
    run = Run(p, graph, Places([ANY] * nodes, [0.0] * nodes))
    memo: Memo | None = None
    while True:
        while run.ready[ANY] and run.idle():
            plan = policy.plan(_picture(snapshot, run), memo)
            memo = plan.memo
            if not _start_heads(run, plan):
                break
        run.now_s = run.next_s()
        if not run.now_s < inf:
            return Places(run.device, run.turn)
        run.end_all()


def _start_heads(run: Run, plan: Plan) -> int:
    """Start the heads of a plan's lists while slots are free; return how many started."""
    before = run.started
    for device, order in enumerate(plan.orders):
        for chunk in order:
            if device not in run.idle() or not run.start(int(chunk.instance), device):
                break
    return run.started - before


def _picture(snapshot: Snapshot, run: Run) -> Snapshot:
    """Return what a policy would see in the middle of a run: the ready nodes, nothing ahead.

    Chunks bear the numbers of their nodes.
    """
    ready = sorted(run.ready[ANY])
    count = len(ready)
    gathered = [
        [run.gather_seconds(node, device) for device in range(snapshot.devices)] for node in ready
    ]
    left = snapshot.held[snapshot.contents_now :][ready]
    values: dict[str, Any] = {name: getattr(snapshot, name)[ready] for name in _ROWS}
    for name in _PAST:
        array = getattr(snapshot, name)
        values[name] = np.zeros((count, *array.shape[1:]), array.dtype)
    return dataclasses.replace(
        snapshot,
        now_s=run.now_s,
        clock=max(bench.clock for bench in run.benches),
        ready_total=count,
        chunks=tuple([Chunk(str(node), 0, 1) for node in ready]),
        node_names=tuple([snapshot.node_names[node] for node in ready]),
        transfer_s=snapshot.transfer_s[ready] + np.array(gathered),
        released_at_s=np.zeros(count),
        held=np.concatenate([snapshot.held, left]),
        child_ptr=np.zeros(count + 1, np.int32),
        child=np.zeros(0, np.int32),
        child_share=np.zeros(0),
        child_after_s=np.zeros(0),
        running_instance=np.full_like(snapshot.running_instance, -1),
        **values,
        **_state(run),
    )


def _state(run: Run) -> dict[str, Any]:
    """Return the arrays of the devices' states."""
    benches = run.benches
    return {
        "free_at_s": np.array([bench.free_at_s for bench in benches], np.float64),
        "resident": np.array([bench.resident for bench in benches], np.uint8),
        "used_at": np.array([bench.used_at for bench in benches], np.int64),
        "content": np.array([bench.content for bench in benches], np.int32),
        "content_used_at": np.array([bench.content_used_at for bench in benches], np.int64),
        "cached_at": np.array([bench.cached_at for bench in benches], np.int64),
    }
