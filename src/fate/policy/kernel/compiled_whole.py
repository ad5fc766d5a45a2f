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
from fate.policy.kernel.reference_whole import (
    CASES,
    CHANGES,
    CRITICAL,
    EARLIER,
    ELSEWHERE,
    FAMILY,
    KINDS,
    SWAP,
)


@jit
def search(
    p: Problem,
    graph: Graph,
    places: tuple[I64, F64],
    tries: tuple[I64, F64],
    aims: tuple[float, float],
) -> tuple[I64, F64, float]:
    """See `reference_whole.search`; `tries` are moves and slacks."""
    s, t = fresh_state(p), new_track(p)
    moves, slack_s = tries
    device, turn = places[0].copy(), places[1].copy()
    best_device, best_turn = device.copy(), turn.copy()
    trial_device, trial_turn = device.copy(), turn.copy()
    project(p, s, graph, t, (device, turn), INF)
    best_s = value_s = worth(p, graph, t, aims[0], aims[1])
    seconds, marks = t.seconds.copy(), t.marks.copy()
    for k in range(moves.shape[0] if device.shape[0] else 0):
        trial_device[:] = device
        trial_turn[:] = turn
        for change in range(CHANGES[int(moves[k, 0]) % len(CHANGES)]):
            row = moves[k, 1 + 4 * change : 5 + 4 * change]
            node = _critical(p, graph, seconds, marks, row)
            _change(p, (trial_device, trial_turn), node, (seconds, marks), row)
        limit_s = value_s + slack_s[k]
        project(p, s, graph, t, (trial_device, trial_turn), limit_s)
        tried_s = worth(p, graph, t, aims[0], aims[1])
        if tried_s <= limit_s:
            value_s = tried_s
            device[:] = trial_device
            turn[:] = t.turn
            seconds[:] = t.seconds
            marks[:] = t.marks
            if value_s < best_s:
                best_s = value_s
                best_device[:] = device
                best_turn[:] = turn
    return best_device, best_turn, best_s


@inline
def _critical(p: Problem, graph: Graph, seconds: F64, marks: I64, row: I64) -> int:
    """See `reference_whole.critical`."""
    nodes = marks.shape[0]
    if row[3] % CASES >= CRITICAL:
        return int(row[1] % nodes)
    team = row[3] // CASES % (graph.teams + 1)
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
def _passes(seconds: F64, marks: I64, node: int, ready_s: float) -> bool:
    """Whether a node started when another one was ready."""
    if node < 0:
        return False
    before = int(marks[node, BEFORE])
    started_s = seconds[node, READY]
    if before >= 0:
        started_s = max(started_s, seconds[before, FINISH])
    return started_s >= ready_s


@inline
def _overtaken(seconds: F64, marks: I64, node: int, draw: int) -> int:
    """Return one of `reference_whole.overtaken`, -1 if there is none."""
    ready_s, first = seconds[node, READY], int(marks[node, BEFORE])
    count, at = 0, first
    while _passes(seconds, marks, at, ready_s):
        count += 1
        at = int(marks[at, BEFORE])
    if not count:
        return -1
    at = first
    for _ in range(draw % count):
        at = int(marks[at, BEFORE])
    return at


@inline
def _change(
    p: Problem, places: tuple[I64, F64], node: int, found: tuple[F64, I64], row: I64
) -> None:
    """See `reference_whole._change`."""
    device, turn = places
    nodes, devices = device.shape[0], p.slots.shape[0]
    kind, other, to = KINDS[int(row[0]) % len(KINDS)], int(row[2] % nodes), int(row[2] % devices)
    passed = _overtaken(found[0], found[1], node, int(row[2])) if kind == EARLIER else -1
    if passed >= 0:
        turn[node] = turn[passed] - 0.5
    elif kind in (ELSEWHERE, EARLIER):
        for step in range(devices):
            place = (to + step) % devices
            if place != device[node] and p.cells[node, place, ELIGIBLE]:
                device[node] = place
                break
    elif kind == SWAP:
        here, there = int(device[node]), int(device[other])
        _put(p, device, node, there)
        _put(p, device, other, here)
        turn[node], turn[other] = turn[other], turn[node]
    elif kind == FAMILY:
        _put(p, device, node, to)
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1], 2):
            _put(p, device, p.child[edge], to)
    else:
        for step in range(nodes):
            like = (other + step) % nodes
            if like != node and p.ids[like, MODEL] == p.ids[node, MODEL]:
                _put(p, device, node, int(device[like]))
                turn[node] = turn[like] + 0.5
                break


@inline
def _put(p: Problem, device: I64, node: int, to: int) -> None:
    if to >= 0 and p.cells[node, to, ELIGIBLE]:
        device[node] = to
