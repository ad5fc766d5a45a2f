"""A case of the simulated suites: what arrives when, on which devices, at what cost."""

from dataclasses import dataclass, field

from fate.core.options import SchedulerOptions
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster
from fate.domain.graph import Graph
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.drivers.world import Truth
from fate.policy.base import Policy

#: Nobody is forced to start in a suite, and no device is put aside for what noise makes of its
#: calls: policies are compared as they are.
PATIENT = SchedulerOptions(max_wait_s={"default": 1e12}, slow_factor=1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One problem, the same for every policy.

    Attributes:
        arrivals: (seconds, graph) of every workflow; all at 0.0 in a batch.
        cluster: devices, models, links.
        profile: what policies believe things cost.
        truth: what they do cost.
        seed: draws the truth's noise, and seeds policies.
        options: of the decision core.
    """

    arrivals: tuple[tuple[float, Graph], ...]
    cluster: Cluster
    profile: Profile
    truth: Truth
    seed: int
    options: SchedulerOptions = field(default_factory=lambda: PATIENT)


def run_case(case: Case, policy: Policy, *, planning_s: float = 0.0) -> Outcome:
    """Simulate a case under a policy; plans take `planning_s` seconds of virtual time."""
    setup = Setup(
        cluster=case.cluster,
        profile=case.profile,
        policy=policy,
        options=case.options,
        seed=case.seed,
    )
    return simulate(case.arrivals, setup, case.truth, planning_s=planning_s)
