"""Cases of the suites from workflows and rigs."""

from collections.abc import Sequence

from fate.bench.case import Case
from fate.bench.workloads.draft import Arrival
from fate.bench.workloads.rigs import Rig
from fate.drivers.world import Truth


def make_case(arrivals: Sequence[Arrival], on: Rig, seed: int) -> Case:
    """Return a case without noise: costs are as believed, workflows as they turn out to be."""
    return Case(
        arrivals=tuple([(arrival.at_s, arrival.declared) for arrival in arrivals]),
        cluster=on.cluster,
        profile=on.profile,
        truth=Truth(profile=on.profile, actual={a.declared.id: a.actual for a in arrivals}),
        seed=seed,
    )
