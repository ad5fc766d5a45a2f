"""`fate bench solvers`: ways to place a frontier, on the same snapshots under the same objective.

Snapshots are those a simulated run of `fate` really met, with so many ready calls on eight devices.
Every way ends in a plan for all of them, valued by the exact replay (J of `policy/kernel`):

    min-min           greedy, the plan that the others start from
    local search      500 and 2 000 moves of the compiled kernel
    hungarian         one call for each device by linear assignment on finish times, exact for that;
                      what is left goes where it ends first
    cp-sat            form E of `policy/fate/cpsat`, with its deterministic limit

Build is what it takes to state the problem, solve what it takes after that.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from fate.bench.decisions import Question, TimedPolicy, run_chains
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Report
from fate.bench.statistics import average, exact, ratio
from fate.domain.snapshot import Snapshot
from fate.policy.fate import cpsat
from fate.policy.kernel.backend import Kernel, open_kernel
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference import Orders, appraise
from fate.policy.kernel.reference_plans import MIN_MIN
from fate.policy.kernel.reference_state import benches

SIZES = (8, 16, 32, 64, 128)
DEVICES = 8
#: Finish times as integers for the assignment, per second.
_TICKS = 1_000_000


class Answer(NamedTuple):
    """A plan, and the seconds to state the problem and to solve it; `status` of a solver."""

    orders: Orders
    build_s: float
    solve_s: float
    status: str = ""


Way = Callable[[Kernel, Snapshot], Answer]


def solvers(out: Path, echo: Echo, *, snapshots: int = 5, sizes: Sequence[int] = SIZES) -> None:
    """Measure and report."""
    report = Report("solvers", out, echo)
    report.show_machine()
    for size in sizes:
        echo(f"{size} ready calls on {DEVICES} devices ...")
        asked = _questions(size, snapshots)
        _report(report, f"{size} calls", [_answers(question.snapshot) for question in asked])
    report.show_rows()
    echo(f"summary: {report.write()}")


def _questions(size: int, count: int) -> list[Question]:
    timed = TimedPolicy(ready_policy("fate"), ready=size, keep=4 * count)
    run_chains(timed, ready=size, devices=DEVICES, workflows=2 * size)
    return timed.questions[:: max(len(timed.questions) // count, 1)][:count]


def _answers(snapshot: Snapshot) -> dict[str, tuple[Answer, float]]:
    """Return every way's answer with its J."""
    kernel = open_kernel(snapshot, Weights())
    kernel.objective([[] for _ in range(snapshot.devices)])  # the horizon is worked out once
    found = {name: way(kernel, snapshot) for name, way in WAYS.items()}
    return {name: (answer, kernel.objective(answer.orders)) for name, answer in found.items()}


def _report(report: Report, cell: str, found: list[dict[str, tuple[Answer, float]]]) -> None:
    pairs = defaultdict[str, list[tuple[float, float]]](list)
    for answers in found:
        best = min(value for _, value in answers.values())
        for name, (_, value) in answers.items():
            pairs[name].append((value, best))
    for name in WAYS:
        own = [answers[name][0] for answers in found]
        report.add(cell, name, "objective_over_best", ratio(pairs[name]))
        report.add(cell, name, "build_ms", average([1e3 * one.build_s for one in own]))
        report.add(cell, name, "solve_ms", average([1e3 * one.solve_s for one in own]))
        if name == "cp-sat":
            proved = sum(one.status == "optimal" for one in own) / len(own)
            none = sum(one.status not in ("optimal", "feasible") for one in own) / len(own)
            report.add(cell, name, "proved", exact(proved, len(own)))
            report.add(cell, name, "nothing_found", exact(none, len(own)))
        for answers in found:
            answer, value = answers[name]
            report.run(
                {
                    "cell": cell,
                    "policy": name,
                    "objective_s": value,
                    "build_s": answer.build_s,
                    "solve_s": answer.solve_s,
                    "status": answer.status,
                }
            )


def _min_min(kernel: Kernel, snapshot: Snapshot) -> Answer:
    del snapshot
    start_s = time.perf_counter()
    orders = kernel.greedy(MIN_MIN)
    return Answer(orders, 0.0, time.perf_counter() - start_s)


def _local_search(count: int) -> Way:
    def way(kernel: Kernel, snapshot: Snapshot) -> Answer:
        start_s = time.perf_counter()
        orders = kernel.greedy(MIN_MIN)
        moves = np.random.default_rng(snapshot.seed).integers(1 << 30, size=(count, 4))
        built_s = time.perf_counter()
        found, _ = kernel.local_search(orders, moves)
        return Answer(found, built_s - start_s, time.perf_counter() - built_s)

    return way


def hungarian(kernel: Kernel, snapshot: Snapshot) -> Answer:
    """Give every device one call, or none, such that the finish times add up to the least.

    What cannot run somewhere costs more than all finish times together; with fewer calls than
    devices, devices without one cost nothing.
    """
    graphs = cast("Any", import_module("ortools.graph.python.linear_sum_assignment"))  # no stubs
    start_s = time.perf_counter()
    cost = finish_ticks(snapshot)
    calls, devices = cost.shape
    size = max(calls, devices)
    square = np.zeros((size, size), np.int64)
    square[:calls, :devices] = cost
    matching = graphs.SimpleLinearSumAssignment()
    left, right = np.divmod(np.arange(size * size), size)
    matching.add_arcs_with_cost(left, right, square.ravel())
    built_s = time.perf_counter()
    matching.solve()
    orders: Orders = [[] for _ in range(devices)]
    for node in range(calls):
        device = int(matching.right_mate(node))
        if device < devices and snapshot.eligible[node, device]:
            orders[device].append(node)
    found = kernel.extend(orders)
    return Answer(found, built_s - start_s, time.perf_counter() - built_s)


def finish_ticks(snapshot: Snapshot) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """Return [F, D] when each call would end as the first one on a device, in ticks from now."""
    p = plain(snapshot, Weights(depth=0), lookahead=False)
    state = benches(p)
    ends_s = np.full((snapshot.frontier, snapshot.devices), inf)
    for node in range(snapshot.frontier):
        for device in range(snapshot.devices):
            placed = appraise(p, state[device], device, node)
            if placed is not None:
                ends_s[node, device] = placed.finish_s - snapshot.now_s
    most = float(ends_s[np.isfinite(ends_s)].max(initial=1.0)) * snapshot.frontier
    ends_s[~np.isfinite(ends_s)] = most
    return np.round(ends_s * _TICKS).astype(np.int64)


def _cp_sat(kernel: Kernel, snapshot: Snapshot) -> Answer:
    """Start from 500 moves of local search, as `fate` does; without an answer that is the plan."""
    hint = _local_search(500)(kernel, snapshot).orders
    future, ends_s = kernel.future, kernel.replay(hint)
    start_s = time.perf_counter()
    form = cpsat.build(plain(snapshot, Weights()), hint, future, ends_s)
    built_s = time.perf_counter()
    answer = cpsat.search(form) if form is not None else cpsat.Answer(None, "trivial", 0.0)
    solved_s = time.perf_counter() - built_s
    return Answer(answer.orders or hint, built_s - start_s, solved_s, answer.status)


WAYS: dict[str, Way] = {
    "min-min": _min_min,
    "local-search-500": _local_search(500),
    "local-search-2000": _local_search(2_000),
    "hungarian": hungarian,
    "cp-sat": _cp_sat,
}
