"""`fate bench oracle`: how far policies are from the exact optimum, where it can be had.

Small random cases (`small`): 12 stages in two workflows, three devices, one of them half as fast,
one model and one prompt on a device at a time, outputs that take links. The optimum knows
everything beforehand; policies see what they always see, and plans take no time.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fate.bench.bounds import Bound, lower_bound
from fate.bench.case import Case, run_case
from fate.bench.exact import Exact, Lists, solve_exact
from fate.bench.guards import check
from fate.bench.policies import ready_policy
from fate.bench.pricing import priced
from fate.bench.report import Echo, Progress, Report
from fate.bench.small import small_case
from fate.bench.statistics import exact, ratio
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OraclePlan:
    """What to measure: `instances` cases from seed `first_seed` on, under these policies."""

    policies: Sequence[str]
    instances: int = 12
    stages: int = 12
    devices: int = 3
    first_seed: int = 0


def default_policies() -> list[str]:
    """Return those of `POLICIES` that are registered."""
    known = names("policy")
    return [name for name in POLICIES if name in known]


def oracle(out: Path, echo: Echo, plan: OraclePlan) -> None:
    """Solve every case, run it under every policy, and report ratios to the optimum."""
    report = Report("oracle", out, echo)
    report.show_machine()
    policies = {name: ready_policy(name) for name in plan.policies}
    pairs = defaultdict[str, list[tuple[float, float]]](list)
    bounds = list[tuple[float, float]]()
    proved, progress = 0, Progress(plan.instances, echo)
    for seed in range(plan.first_seed, plan.first_seed + plan.instances):
        case = small_case(seed, stages=plan.stages, devices=plan.devices)
        optimum, bound, found = _measure(case, policies)
        proved += optimum.proved
        for name, makespan_s in found.items():
            pairs[name].append((makespan_s, optimum.makespan_s))
        bounds.append((bound.seconds, optimum.makespan_s))
        report.run(_facts(seed, optimum, bound, found))
        proof = "proved" if optimum.proved else f"not below {optimum.bound_s:.2f} s"
        progress.step(f"seed {seed}: optimum {optimum.makespan_s:.2f} s, {proof}")
    for name in plan.policies:
        worst = max(made / best for made, best in pairs[name])
        report.add("oracle", name, "makespan_over_optimum", ratio(pairs[name]))
        report.add("oracle", name, "makespan_over_optimum_worst", exact(worst, plan.instances))
    report.add("oracle", "", "lower_bound_over_optimum", ratio(bounds))
    report.add("oracle", "", "proved", exact(proved / plan.instances, plan.instances))
    report.show_rows()
    echo(f"summary: {report.write()}")


def _measure(case: Case, policies: dict[str, Policy]) -> tuple[Exact, Bound, dict[str, float]]:
    """Return the optimum, the lower bound and each policy's makespan, guarded by both."""
    bound = lower_bound(case)
    outcomes = {name: run_case(case, policy) for name, policy in policies.items()}
    best = min(outcomes.values(), key=lambda outcome: outcome.makespan_s, default=None)
    hint = None if best is None else as_lists(case, check(case, best))
    optimum = solve_exact(case, hint)
    least_s = max(bound.seconds, optimum.bound_s)
    for outcome in outcomes.values():
        check(case, outcome, at_least_s=least_s)
    return optimum, bound, {name: outcome.makespan_s for name, outcome in outcomes.items()}


def as_lists(case: Case, history: History) -> Lists:
    """Return the calls of a run by device, in the order in which they began."""
    index = {(node.instance, node.item): j for j, node in enumerate(priced(case).nodes)}
    of_device: dict[str, list[int]] = {device.id: [] for device in case.cluster.devices}
    for bar in history.bars:
        if bar.kind == "call":
            of_device[bar.device] += [index[bar.instance, k] for k in range(bar.start, bar.stop)]
    return tuple(tuple(calls) for calls in of_device.values())


def _facts(seed: int, optimum: Exact, bound: Bound, found: dict[str, float]) -> dict[str, object]:
    return {
        "seed": seed,
        "optimum_s": optimum.makespan_s,
        "claimed_s": optimum.claimed_s,
        "optimum_bound_s": optimum.bound_s,
        "proved": optimum.proved,
        "lower_bound_s": bound.seconds,
        "plain_bound_s": bound.plain_s,
        "makespan_s": found,
    }
