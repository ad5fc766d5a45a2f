"""TOPAS, reconstructed from its abstract: what shortens tasks most for the KV it takes goes first.

"TOPAS: Workflow-aware prefix-state scheduling for multi-agent LLM serving". Neither text nor code
is public: weights are ours.
"""

from math import inf

from fate.cost.terms import prefill_seconds
from fate.domain.errors import FateError
from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import appraise, commit
from fate.policy.kernel.reference_state import benches
from fate.policy.serving import Desk, names, own_seconds
from fate.policy.visible import Visible, visible

#: Seconds of waiting that double a task's weight, and what a second of saved prefill counts.
AGING_S, REUSE = 60.0, 1.0


class Topas:
    """Value per token of KV, earliest finish; `fate.policy.base.Policy` says what it promises.

    Source: reconstruction from the abstract of TOPAS; parameters are ours. Rule: every ready call
    is worth (1 + wait of its task / 60 s) x (by how much it shortens the task's longest remaining
    service path) + the prefill its cached prefix saves + the prefill that its content saves
    children whose other parents are done or running, per token of KV it takes. Calls are taken by
    worth, most first, each to the device where it ends first under the state the lists leave
    behind; everything is decided again until a call starts. Deviations: the joint choice of
    prefixes to keep and calls to admit is greedy; prefixes are evicted least recently used as for
    every policy, so that what is kept is not chosen; no preemption; the original has one device
    and one model.
    """

    name = "topas"
    eager = False
    inline = True
    lookahead: Lookahead = "all"

    def __init__(self, aging_s: float = AGING_S, reuse: float = REUSE) -> None:
        if not aging_s > 0.0 or not reuse >= 0.0:
            raise FateError(
                "policy topas: aging_s must be positive and reuse not negative, not "
                f"{aging_s} and {reuse}"
            )
        self._weights = aging_s, reuse

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Build lists for every device, busy ones too."""
        del memo
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        worth = _worth(snapshot, p, visible(snapshot), self._weights)
        state, orders = benches(p), [list[int]() for _ in range(p.devices)]
        for node in sorted(range(p.frontier), key=lambda n: (-worth[n], n)):
            options = [appraise(p, state[device], device, node) for device in range(p.devices)]
            ends_s = [inf if option is None else option.finish_s for option in options]
            device = ends_s.index(min(ends_s))
            chosen = options[device]
            if chosen is not None:
                commit(p, state[device], node, chosen)
                orders[device].append(node)
        return Plan(policy=self.name, orders=names(snapshot, orders), search=Search(base=self.name))


def _worth(snapshot: Snapshot, p: Plain, dag: Visible, weights: tuple[float, float]) -> list[float]:
    """Return [F] the worth of admitting each chunk, per token of KV."""
    aging_s, reuse = weights
    own_s, shorter_s = own_seconds(snapshot).tolist(), _shorter_seconds(snapshot)
    wait_s = (snapshot.age_s - snapshot.path_s).tolist()
    desk, worth = Desk(snapshot), list[float]()
    for node in range(p.frontier):
        if not own_s[node] < inf:
            worth.append(0.0)
            continue
        weight = 1.0 + max(wait_s[node], 0.0) / aging_s
        reuse_s = _saved_seconds(p, desk, node) + _handed_on_seconds(snapshot, p, dag, node)
        tokens = p.first_tokens[node] + p.rest_tokens[node] + p.output_tokens[node]
        worth.append((weight * shorter_s[node] + reuse * reuse_s) / max(tokens, 1.0))
    return worth


def _shorter_seconds(snapshot: Snapshot) -> list[float]:
    """Return [F] by how much each chunk shortens its task's longest remaining path.

    All of its service where the longest path goes through it, less by what other paths exceed
    its own.
    """
    own_s, tail_s = own_seconds(snapshot).tolist(), snapshot.tail_s.tolist()
    workflow, longest_s = snapshot.workflow.tolist(), dict[int, float]()
    for node in range(snapshot.frontier):
        if own_s[node] < inf:
            path_s = own_s[node] + tail_s[node]
            longest_s[workflow[node]] = max(longest_s.get(workflow[node], 0.0), path_s)
    return [
        max(2.0 * own_s[node] + tail_s[node] - longest_s[workflow[node]], 0.0)
        if own_s[node] < inf
        else 0.0
        for node in range(snapshot.frontier)
    ]


def _saved_seconds(p: Plain, desk: Desk, node: int) -> float:
    """Return the most prefill that a prefix held by some device saves."""
    saved_s, model = 0.0, p.model[node]
    for device in desk.hosts(node):
        cached = desk.cached(node, device)
        if cached > 0.0:
            saved_s = max(saved_s, prefill_seconds(cached, 0.0, *p.prefill[device][model]))
    return saved_s


def _handed_on_seconds(snapshot: Snapshot, p: Plain, dag: Visible, node: int) -> float:
    """Return the prefill that a chunk's content saves children that wait for nothing else."""
    saved_s, model = 0.0, p.model[node]
    device = p.eligible[node].index(1) if 1 in p.eligible[node] else 0
    for child in dag.children[node]:
        if len(dag.parents[child]) == 1 and snapshot.model[child] == model:
            tokens = float(snapshot.shared(child, p.contents_now + node))
            if tokens > 0.0:
                saved_s += prefill_seconds(tokens, 0.0, *p.prefill[device][model])
    return saved_s
