"""One policy on one problem, measured; runs in processes of their own."""

import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from fate.bench.bounds import lower_bound, quick_bound
from fate.bench.case import Case, run_case
from fate.bench.guards import GuardError, check
from fate.bench.offline import FORESIGHT, OFFLINE, best_known
from fate.bench.policies import ready_policy
from fate.bench.suites.problem import Problem, Task
from fate.bench.suites.results import Run, Times
from fate.bench.uses import uses
from fate.domain.errors import FateError
from fate.domain.messages import PlanFailed
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.drivers.setup import Outcome
from fate.policy.base import Lookahead, Policy
from fate.view.history import History
from fate.view.metrics import percentile

_TAIL = 0.95


class RunError(FateError):
    """A run in a suite went wrong, so that there is no result."""

    code = "bench-run"


class Clocked:
    """Passes questions on to a policy and adds up the processor time of its answers [s]."""

    def __init__(self, policy: Policy) -> None:
        self.name, self.eager, self.inline = policy.name, policy.eager, policy.inline
        self.lookahead: Lookahead = policy.lookahead
        self.cpu_s = 0.0
        self._policy = policy

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Let the policy answer."""
        start_s = time.thread_time()
        try:
            return self._policy.plan(snapshot, memo)
        finally:
            self.cpu_s += time.thread_time() - start_s


class Solved(NamedTuple):
    """What came of a task: rows, times, and what happened under each policy if that is drawn."""

    runs: list[Run]
    times: list[Times]
    histories: dict[str, History]


def solve(task: Task, store: Path, commit: str, code: str) -> Solved:
    """Run a task's policies on its problem.

    Raises:
        RunError: a workflow did not end well, a policy failed to plan, or a rule was broken.
    """
    case, found = task.problem.case(store), Solved([], [], {})
    least_s = lower_bound(case, prefetch=True).seconds if task.bounded else quick_bound(case)
    outcomes: dict[str, Outcome] = {}
    for policy in task.policies:
        start_s = time.thread_time()
        outcome, planner_cpu_s = _outcome(task.problem, case, policy, outcomes)
        history = checked(task.problem, policy, case, outcome, least_s)
        run = measured(task.problem, policy, case, outcome, history, (commit, code))
        run = msgspec.structs.replace(run, least_s=least_s)
        times = Times(
            suite=run.suite,
            cell=run.cell,
            seed=run.seed,
            policy=policy,
            code=code,
            planner_cpu_s=planner_cpu_s,
            cpu_s=time.thread_time() - start_s,
            decisions=run.decisions,
        )
        found.runs.append(run)
        found.times.append(times)
        if task.drawn:
            found.histories[policy] = history
        if OFFLINE not in task.policies:
            outcomes.clear()  # nobody looks at them again
    return found


def _outcome(
    problem: Problem, case: Case, policy: str, before: dict[str, Outcome]
) -> tuple[Outcome, float]:
    """Run a policy; return the outcome and the processor seconds of its plans.

    The offline best is that of all policies that ran before it, and of what it finds itself.
    """
    if policy == OFFLINE:
        if FORESIGHT not in before:
            before[FORESIGHT] = run_case(case, problem.shown(ready_policy(FORESIGHT)))
        start_s = time.thread_time()
        return best_known(case, before), time.thread_time() - start_s
    clocked = Clocked(problem.shown(ready_policy(policy)))
    before[policy] = run_case(case, clocked)
    return before[policy], clocked.cpu_s


def checked(problem: Problem, policy: str, case: Case, outcome: Outcome, least_s: float) -> History:
    """Return the history of a run, or refuse it: it is no result, or breaks a rule.

    No run of the case can be shorter than `least_s`.
    """
    where = f"{problem.suite} {problem.label}, {policy}"
    for record in outcome.records:
        for event in record.events:
            if isinstance(event, PlanFailed):
                raise RunError(f"{where}: the policy failed at {record.at_s:.2f} s: {event.reason}")
    if outcome.status != "ok":
        name, end = next((n, e) for n, e in outcome.ended.items() if e.status != "ok")
        raise RunError(f"{where}: workflow {name!r} {end.status}: {end.reason}")
    try:
        return check(case, outcome, at_least_s=least_s)
    except GuardError as error:
        raise RunError(f"{where}: {error}") from error


def measured(
    problem: Problem,
    policy: str,
    case: Case,
    outcome: Outcome,
    history: History,
    source: tuple[str, str],
) -> Run:
    """Return the figures of a run; `source` is its commit and code."""
    used, counts = uses(case, outcome), history.counts
    arrived = {graph.id: at_s for at_s, graph in case.arrivals}
    ends = {span.id: span.end_s or 0.0 for span in history.workflows}
    latencies = [ends[name] - at_s for name, at_s in arrived.items()]
    capacity_s = history.makespan_s * sum(device.slots for device in case.cluster.devices)
    return Run(
        suite=problem.suite,
        cell=problem.cell,
        seed=problem.seed,
        policy=policy,
        commit=source[0],
        code=source[1],
        settings=problem.settings,
        workflows=len(arrived),
        stages=len(history.stages),
        makespan_s=history.makespan_s,
        mean_s=sum(latencies) / len(latencies),
        p95_s=percentile(sorted(latencies), _TAIL),
        latencies_s=latencies,
        loads=counts.model_loads,
        evictions=counts.evictions,
        calls=counts.calls,
        prompt_tokens=counts.prompt_tokens,
        cached_tokens=counts.cached_tokens,
        computed_tokens=counts.prompt_tokens - counts.cached_tokens,
        output_tokens=counts.output_tokens,
        moved_bytes=used.fetched_bytes,
        load_s=used.load_s + used.unload_s,
        transfer_s=used.transfer_s,
        prefix_s=used.prefix_s,
        own_s=used.own_s,
        decode_s=used.decode_s,
        tool_s=used.tool_s,
        idle_s=max(capacity_s - used.busy_s, 0.0),
        decisions=len(history.plans),
        searched=sum([plan.search.moves for plan in history.plans]),
        fallback_calls=counts.fallback_calls,
    )
