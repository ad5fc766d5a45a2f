"""The search over the whole visible DAG, compiled; see `reference_whole`."""

from fate.domain.snapshot import F64, I64
from fate.policy.kernel.compiled_project import (
    BEFORE,
    FINISH,
    READY,
    Graph,
    new_track,
    project,
    worth,
)
from fate.policy.kernel.compiled_state import INF, fresh_state, inline, jit
from fate.policy.kernel.problem import ELIGIBLE, MODEL, Problem
from fate.policy.kernel.reference_whole import CHANGES, KINDS


@jit
def search(
    p: Problem, graph: Graph, places: tuple[I64, F64], moves: I64, aims: tuple[float, float]
) -> tuple[I64, F64, float]:
    """See `reference_whole.search`."""
    s, t = fresh_state(p), new_track(p)
    device, turn = places[0].copy(), places[1].copy()
    project(p, s, graph, t, (device, turn), INF)
    best_s = worth(p, graph, t, aims[0], aims[1])
    trial_device, trial_turn = device.copy(), turn.copy()
    seconds, marks = t.seconds.copy(), t.marks.copy()
    for k in range(moves.shape[0] if device.shape[0] else 0):
        trial_device[:] = device
        trial_turn[:] = turn
        for change in range(1 + moves[k, 0] % CHANGES):
            row = moves[k, 1 + 4 * change : 5 + 4 * change]
            node = _critical(p, graph, seconds, marks, row)
            _change(p, (trial_device, trial_turn), node, marks, row)
        project(p, s, graph, t, (trial_device, trial_turn), best_s)
        value_s = worth(p, graph, t, aims[0], aims[1])
        if value_s <= best_s:
            best_s = value_s
            device[:] = trial_device
            turn[:] = trial_turn
            seconds[:] = t.seconds
            marks[:] = t.marks
    return device, turn, best_s


@inline
def _critical(p: Problem, graph: Graph, seconds: F64, marks: I64, row: I64) -> int:
    """See `reference_whole.critical`."""
    nodes = marks.shape[0]
    if row[3] % 3 == 0:
        return int(row[1] % nodes)
    team = row[3] // 3 % (graph.teams + 1)
    last = -1
    for node in range(nodes):
        among = team == graph.teams or graph.team[node] == team
        later = last < 0 or seconds[node, FINISH] > seconds[last, FINISH]
        if among and later and seconds[node, FINISH] < INF:
            last = node
    if last < 0:
        return int(row[1] % nodes)
    length, node = 1, last
    while True:
        node = _cause(p, graph, seconds, marks, node)
        if node < 0:
            break
        length += 1
    node = last
    for _ in range(row[1] % length):
        node = _cause(p, graph, seconds, marks, node)
    return int(node)


@inline
def _cause(p: Problem, graph: Graph, seconds: F64, marks: I64, node: int) -> int:
    """See `reference_whole.cause`."""
    before = int(marks[node, BEFORE])
    if before >= 0 and seconds[before, FINISH] >= seconds[node, READY]:
        return before
    latest = -1
    for k in range(graph.ptr[node], graph.ptr[node + 1]):
        parent = int(graph.parent[k])
        if latest < 0 or seconds[parent, FINISH] > seconds[latest, FINISH]:
            latest = parent
    return latest


@inline
def _change(p: Problem, places: tuple[I64, F64], node: int, marks: I64, row: I64) -> None:
    device, turn = places
    nodes = device.shape[0]
    kind, other, to = row[0] % KINDS, int(row[2] % nodes), int(row[2] % p.slots.shape[0])
    if kind == 0:
        _put(p, device, node, to)
    elif kind == 1:
        turn[node] = turn[other] - 0.5
    elif kind == 2:
        here, there = int(device[node]), int(device[other])
        _put(p, device, node, there)
        _put(p, device, other, here)
        turn[node], turn[other] = turn[other], turn[node]
    elif kind == 3:
        _put(p, device, node, to)
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1], 2):
            _put(p, device, p.child[edge], to)
    elif kind == 4:
        for step in range(nodes):
            like = (other + step) % nodes
            if like != node and p.ids[like, MODEL] == p.ids[node, MODEL]:
                _put(p, device, node, int(device[like]))
                turn[node] = turn[like] + 0.5
                break
    else:
        before = int(marks[node, BEFORE])
        if before >= 0:
            turn[node] = turn[before] - 0.5


@inline
def _put(p: Problem, device: I64, node: int, to: int) -> None:
    if to >= 0 and p.cells[node, to, ELIGIBLE]:
        device[node] = to
