"""Workflows that arrive one after the other, at a share of what the devices can do."""

import dataclasses

from fate.bench.case import Case, run_case
from fate.bench.workloads.lengths import generator
from fate.domain.errors import FateError
from fate.domain.graph import Graph
from fate.policy.base import Policy


def capacity_per_s(case: Case, policy: Policy) -> float:
    """Return the workflows per second that a policy finishes when all are there at the start."""
    batch = dataclasses.replace(case, arrivals=tuple([(0.0, graph) for _, graph in case.arrivals]))
    return len(case.arrivals) / run_case(batch, policy).makespan_s


def poisson(case: Case, rate_per_s: float, seed: int) -> Case:
    """Return the case with its workflows arriving in their order, the first at 0 s.

    Args:
        case: workflows and devices.
        rate_per_s: workflows per second, on average.
        seed: of the gaps, which are exponential. The same gaps, stretched, at any rate.
    """
    if not rate_per_s > 0:
        raise FateError("arrivals: the rate must be positive")
    draw, at_s = generator("poisson", seed), 0.0
    arrivals = list[tuple[float, Graph]]()
    for _, graph in case.arrivals:
        arrivals.append((at_s, graph))
        at_s += draw.expovariate(1.0) / rate_per_s
    return dataclasses.replace(case, arrivals=tuple(arrivals))


def at_share(case: Case, share: float, policy: Policy, seed: int) -> Case:
    """Return the case with Poisson arrivals at a share of a policy's capacity (late-EFT's)."""
    return poisson(case, share * capacity_per_s(case, policy), seed)
