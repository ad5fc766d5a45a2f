"""What must hold between runs, checked on small cases by every run of a suite before it starts.

`guards` looks at one log at a time, and at every one. Some rules compare runs with each other:

- no run is shorter than the exact optimum, nor than the lower bound;
- at zero noise a plan ends when the planners' projection says;
- where states cost nothing, a baseline acts as its state-aware twin does;
- what equal devices are called changes no makespan of a baseline. (Searches that draw at random
  may end elsewhere; `tests/property/test_fair_play.py` has them with budgets too small for that.)
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from itertools import takewhile

import msgspec

from fate.bench.bounds import lower_bound
from fate.bench.case import Case, run_case
from fate.bench.exact import solve_exact
from fate.bench.guards import GuardError, check
from fate.bench.policies import ready_policy
from fate.bench.rivals import PLANNERS
from fate.bench.slots import projection_error, slots_case
from fate.bench.small import small_case
from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Link
from fate.domain.graph import Graph, Stage
from fate.domain.messages import Call
from fate.drivers.setup import Outcome
from fate.drivers.world import Truth
from fate.registry import BUILTIN

_STAGES, _DEVICES = 8, 2
#: What the tools of a case with tools take [s]; the second of a call twice as long.
_TOOL_S = 1.5
#: Sums of the same floats in another order may differ by this share.
_ROUNDING = 1e-9
#: Devices of the case without states are so many times slower than the first: none are equal, so
#: that no rounding decides.
_FACTORS = (1.0, 1.17, 1.43)


def check_rules(policies: Sequence[str], seed: int) -> int:
    """Check policies, and the simulator, on small cases; return how many runs were looked at.

    Args:
        policies: names, with options behind them.
        seed: draws the cases.

    Raises:
        GuardError: naming the rule that is broken, and by which policy.
    """
    builtin = [name for name in policies if name.partition("?")[0] in BUILTIN["policy"]]
    baselines = [name for name in builtin if name.partition("?")[0] not in PLANNERS]
    twins = [name for name in baselines if f"{name}-state" in BUILTIN["policy"]]
    check_optimum(builtin, seed)
    check_projection(seed)
    for name in twins:
        check_twin(name, seed)
    for name in baselines:
        check_names(name, seed)
    return len(builtin) + 1 + 2 * len(twins) + 2 * len(baselines)


def check_optimum(policies: Sequence[str], seed: int) -> None:
    """Check that no policy is better than the best there is."""
    case = small_case(seed, stages=_STAGES, devices=_DEVICES)
    least_s = max(lower_bound(case).seconds, solve_exact(case).bound_s)
    for name in policies:
        try:
            check(case, run_case(case, ready_policy(name)), on_demand_s=least_s)
        except GuardError as error:
            raise GuardError(f"{name} on a small case of seed {seed}: {error}") from error


def check_projection(seed: int) -> None:
    """Check that a plan on devices with one slot ends when it is foretold to, tools or not."""
    case = slots_case(1, 3, seed)
    errors = [error for each in (case, with_tools(case)) for error in projection_error(each, seed)]
    if max(errors) > _ROUNDING:
        raise GuardError(
            f"a projection is off by {max(errors):.2g} of the makespan at zero noise, seed {seed}"
        )


def check_twin(name: str, seed: int) -> None:
    """Check that a baseline and its state-aware twin make the same calls where states are free."""
    case = stateless(small_case(seed, stages=_STAGES, devices=len(_FACTORS)))
    one, two = (calls(run_case(case, ready_policy(each))) for each in (name, f"{name}-state"))
    if one != two:
        same = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))
        )
        raise GuardError(
            f"{name} and {name}-state differ from call {same} on though states cost nothing, "
            f"seed {seed}"
        )


def check_names(name: str, seed: int) -> None:
    """Check that a baseline's makespan stays when equal devices swap their names."""
    case = equal_devices(small_case(seed, stages=_STAGES, devices=_DEVICES))
    one, two = (run_case(each, ready_policy(name)).makespan_s for each in (case, renamed(case)))
    if not math.isclose(one, two, rel_tol=_ROUNDING):
        raise GuardError(
            f"{name}: {one:.6f} s become {two:.6f} s when equal devices are renamed, seed {seed}"
        )


def calls(outcome: Outcome) -> list[tuple[float, str, str]]:
    """Return when each call began, what it is, and where."""
    return [
        (record.at_s, str(command.chunk), command.device)
        for record in outcome.records
        for command in record.commands
        if isinstance(command, Call)
    ]


def with_tools(case: Case) -> Case:
    """Return the case with a tool on every edge, which is kept: a call reads its parents, too."""

    def stages(graph: Graph) -> Iterator[Stage]:
        for stage in graph.stages:
            tools = [
                Stage(
                    id=f"{stage.id}-{n}", kind="tool", parents=(parent,), tool_s=_TOOL_S * (n + 1)
                )
                for n, parent in enumerate(stage.parents)
            ]
            yield from tools
            parents = (*stage.parents, *[tool.id for tool in tools])
            yield msgspec.structs.replace(stage, parents=parents)

    arrivals = tuple(
        [(at_s, msgspec.structs.replace(g, stages=tuple(stages(g)))) for at_s, g in case.arrivals]
    )
    truth = dataclasses.replace(case.truth, actual={graph.id: graph for _, graph in arrivals})
    return dataclasses.replace(case, arrivals=arrivals, truth=truth)


def stateless(case: Case) -> Case:
    """Return a case in which all models are there, nothing is cached and outputs take no time."""
    devices = tuple(
        msgspec.structs.replace(device, prefix="none", sequences=0, managed=False)
        for device in case.cluster.devices
    )
    first = case.profile.costs[devices[0].id]
    costs = {
        device.id: {
            model: msgspec.structs.replace(
                one,
                prefill=tuple(factor * part for part in one.prefill),
                decode=tuple(factor * part for part in one.decode),
            )
            for model, one in first.items()
        }
        for device, factor in zip(devices, _FACTORS, strict=True)
    }
    return _with(case, msgspec.structs.replace(case.cluster, devices=devices, links=()), costs)


def equal_devices(case: Case) -> Case:
    """Return the case with every device as quick as the first."""
    devices = case.cluster.devices
    first = case.profile.costs[devices[0].id]
    return _with(case, case.cluster, {device.id: first for device in devices})


def renamed(case: Case) -> Case:
    """Return the case with devices under other names, in the opposite order."""
    devices = case.cluster.devices
    names = {device.id: f"z{len(devices) - i}" for i, device in enumerate(devices)}
    on = msgspec.structs.replace(
        case.cluster,
        devices=tuple(msgspec.structs.replace(d, id=names[d.id]) for d in reversed(devices)),
        links=tuple(_between(link, names) for link in case.cluster.links),
    )
    return _with(case, on, {names[id_]: row for id_, row in case.profile.costs.items()})


def _between(link: Link, names: dict[str, str]) -> Link:
    return msgspec.structs.replace(link, source=names[link.source], target=names[link.target])


def _with(case: Case, cluster: Cluster, costs: dict[str, dict[str, CallCosts]]) -> Case:
    known = Profile(costs=costs, source="declared")
    return dataclasses.replace(case, cluster=cluster, profile=known, truth=Truth(profile=known))
