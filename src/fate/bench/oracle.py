"""`fate bench oracle`: how far policies are from the exact optimum, where it can be had.

Small random cases (`small`): 12 stages in two workflows, three devices, one of them half as fast,
one model and one prompt on a device at a time, outputs that take links. The optimum knows
everything beforehand; policies see what they always see, and plans take no time.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from fate.bench.bounds import Bound, lower_bound
from fate.bench.case import Case, run_case
from fate.bench.exact import Exact, Lists, solve_exact
from fate.bench.guards import check
from fate.bench.policies import ready_policy
from fate.bench.pricing import priced
from fate.bench.report import Echo, Progress, Report
from fate.bench.small import small_case
from fate.bench.statistics import exact, ratio
from fate.bench.suites.oracle_page import write_oracle
from fate.bench.suites.results import RESULTS, code_digest, read_rows
from fate.bench.workers import resumable, spread
from fate.policy.base import Policy
from fate.registry import names
from fate.view.history import History

#: Shown by default, as far as they are registered.
POLICIES = (
    "round-robin",
    "round-robin-idle",
    "heft",
    "heft-state",
    "late-eft",
    "min-min-state",
    "idle-affinity",
    "fate",
    "foresight",
)


#: A quick run has no more cases than that.
QUICK_SEEDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OraclePlan:
    """What to measure: a case of each seed, under these policies.

    `resume` keeps the cases that the same code solved.
    """

    policies: Sequence[str]
    seeds: Sequence[int]
    stages: int = 12
    devices: int = 3
    processes: int = 1
    resume: bool = False


class Solved(msgspec.Struct, frozen=True, kw_only=True):
    """A case: its optimum as simulated, as claimed and as bounded, bounds, and each makespan [s].

    `bound_s` is the lower bound, `plain_s` that without costs of the state.
    """

    seed: int
    stages: int
    devices: int
    code: str
    optimum_s: float
    claimed_s: float
    optimum_bound_s: float
    proved: bool
    bound_s: float
    plain_s: float
    makespan_s: dict[str, float]


def default_policies() -> list[str]:
    """Return those of `POLICIES` that are registered."""
    known = names("policy")
    return [name for name in POLICIES if name in known]


def oracle(out: Path, echo: Echo, plan: OraclePlan, asked: str = "fate bench oracle") -> None:
    """Solve every case, run it under every policy, and report ratios to the optimum."""
    kept = _kept(out, plan) if plan.resume else {}
    report = Report("oracle", out, echo)
    report.show_machine()
    found = {seed: kept[seed] for seed in plan.seeds if seed in kept}
    if found:
        echo(f"{len(found)} of {len(plan.seeds)} cases are there already")
    for solved in found.values():
        report.run(msgspec.to_builtins(solved))
    missing = [seed for seed in plan.seeds if seed not in found]
    progress = Progress(len(missing), echo)
    with resumable(out), closing(_solved(missing, plan)) as cases:
        for solved in cases:
            found[solved.seed] = solved
            report.run(msgspec.to_builtins(solved))
            proof = "proved" if solved.proved else f"not below {solved.optimum_bound_s:.2f} s"
            progress.step(f"seed {solved.seed}: optimum {solved.optimum_s:.2f} s, {proof}")
    _add(report, plan.policies, [found[seed] for seed in plan.seeds])
    report.show_rows()
    summary = report.write()
    write_oracle(report, asked)
    echo(f"{summary}, report.html, report.md, results.jsonl")


def _kept(out: Path, plan: OraclePlan) -> dict[int, Solved]:
    """Return the cases that the same code solved under the same policies."""
    asked = (plan.stages, plan.devices, code_digest(), set(plan.policies))
    return {
        each.seed: each
        for each in read_rows(out / RESULTS, Solved)
        if (each.stages, each.devices, each.code, set(each.makespan_s)) == asked
    }


def _solved(seeds: Sequence[int], plan: OraclePlan) -> Generator[Solved]:
    if plan.processes == 1 or len(seeds) < 2:
        yield from (solve(seed, plan) for seed in seeds)
        return
    with closing(spread(partial(solve, plan=plan), seeds, plan.processes, in_order=True)) as solved:
        yield from (case for _, case in solved)


def solve(seed: int, plan: OraclePlan) -> Solved:
    """Solve a case and run it under every policy."""
    case = small_case(seed, stages=plan.stages, devices=plan.devices)
    optimum, bound, found = _measure(case, {name: ready_policy(name) for name in plan.policies})
    return Solved(
        seed=seed,
        stages=plan.stages,
        devices=plan.devices,
        code=code_digest(),
        optimum_s=optimum.makespan_s,
        claimed_s=optimum.claimed_s,
        optimum_bound_s=optimum.bound_s,
        proved=optimum.proved,
        bound_s=bound.seconds,
        plain_s=bound.plain_s,
        makespan_s=found,
    )


def _add(report: Report, policies: Sequence[str], solved: Sequence[Solved]) -> None:
    for name in policies:
        pairs = [(each.makespan_s[name], each.optimum_s) for each in solved]
        worst = max(made / best for made, best in pairs)
        report.add("oracle", name, "makespan_over_optimum", ratio(pairs))
        report.add("oracle", name, "makespan_over_optimum_worst", exact(worst, len(pairs)))
    bounds = [(each.bound_s, each.optimum_s) for each in solved]
    report.add("oracle", "", "lower_bound_over_optimum", ratio(bounds))
    proved = sum(each.proved for each in solved) / len(solved)
    report.add("oracle", "", "proved", exact(proved, len(solved)))


def _measure(case: Case, policies: dict[str, Policy]) -> tuple[Exact, Bound, dict[str, float]]:
    """Return the optimum, the lower bound and each policy's makespan, guarded by both."""
    bound = lower_bound(case)
    outcomes = {name: run_case(case, policy) for name, policy in policies.items()}
    best = min(outcomes.values(), key=lambda outcome: outcome.makespan_s, default=None)
    hint = None if best is None else as_lists(case, check(case, best))
    optimum = solve_exact(case, hint)
    least_s = max(bound.seconds, optimum.bound_s)
    for outcome in outcomes.values():
        check(case, outcome, on_demand_s=least_s)
    return optimum, bound, {name: outcome.makespan_s for name, outcome in outcomes.items()}


def as_lists(case: Case, history: History) -> Lists:
    """Return the calls of a run by device, in the order in which they began."""
    index = {(node.instance, node.item): j for j, node in enumerate(priced(case).nodes)}
    of_device: dict[str, list[int]] = {device.id: [] for device in case.cluster.devices}
    for bar in history.bars:
        if bar.kind == "call":
            of_device[bar.device] += [index[bar.instance, k] for k in range(bar.start, bar.stop)]
    return tuple(tuple(calls) for calls in of_device.values())
