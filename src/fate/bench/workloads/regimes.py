"""Regimes: where round-robin's busy time goes, and the scale of an instance that makes it so."""

import dataclasses
from collections.abc import Sequence

import msgspec

from fate.bench.case import PATIENT, Case, run_case
from fate.bench.policies import ready_policy
from fate.bench.uses import Uses, uses
from fate.bench.workloads.proxy import Scale, Workflow, proxy_graph
from fate.bench.workloads.toys import ClusterKind, toy_cluster, toy_profile
from fate.domain.errors import FateError
from fate.drivers.world import Truth

#: Whose busy time defines a regime: it looks at nothing, so no policy's taste is built in.
REFERENCE = "round-robin"
#: Fixed-point steps of the calibration, and the bounds of one step's factor on prefixes.
_STEPS, _PREFIX_STEP = 4, (0.1, 10.0)
#: Shares this close to what is wanted are good enough.
_CLOSE = 0.002
#: KV states are not moved in these cases, as in the prototype: locality is about outputs.
_OPTIONS = msgspec.structs.replace(PATIENT, move=False, park=False)
_BLIND = msgspec.structs.replace(_OPTIONS, lookahead_depth=0)


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How busy time is divided: loading, fetching outputs, computing prefixes, everything else."""

    load: float
    transfer: float
    prefix: float
    compute: float


REGIMES: dict[str, Shares] = {
    "balanced": Shares(load=0.20, transfer=0.20, prefix=0.20, compute=0.40),
    "switch": Shares(load=0.45, transfer=0.08, prefix=0.12, compute=0.35),
    "transfer": Shares(load=0.10, transfer=0.45, prefix=0.10, compute=0.35),
    "prefix": Shares(load=0.08, transfer=0.08, prefix=0.44, compute=0.40),
    "compute": Shares(load=0.04, transfer=0.04, prefix=0.07, compute=0.85),
}
#: The regime in which there is no state to keep, and the others.
CONTROL = "compute"
NON_COMPUTE = tuple([name for name in REGIMES if name != CONTROL])


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """The scale of an instance, and the shares that round-robin has with it."""

    scale: Scale
    shares: Shares


def proxy_case(
    workflows: Sequence[Workflow], kind: ClusterKind, scale: Scale, seed: int = 0
) -> Case:
    """Return workflows on a toy cluster, all at once, with estimates that are exact."""
    cluster = toy_cluster(kind, cache=scale.prefix)
    profile = toy_profile(kind, cluster, scale.load)
    graphs = [proxy_graph(workflow, f"w{i}", scale) for i, workflow in enumerate(workflows)]
    return Case(
        arrivals=tuple([(0.0, graph) for graph in graphs]),
        cluster=cluster,
        profile=profile,
        truth=Truth(profile=profile),
        seed=seed,
        options=_OPTIONS,
    )


def calibrate(workflows: Sequence[Workflow], kind: ClusterKind, regime: str) -> Calibrated:
    """Scale loads, bytes and prefixes until round-robin's busy time is divided as a regime says.

    Fixed point: each step multiplies a factor by (wanted share / share found), both relative to
    the compute share, which no factor changes.
    """
    target, scale = REGIMES[regime], Scale()
    found = measured_shares(workflows, kind, scale)
    low, high = _PREFIX_STEP
    for _ in range(_STEPS):
        if _distance(found, target) <= _CLOSE:
            break
        scale = Scale(
            load=scale.load * _step(found.load, target.load, found, target),
            bytes=scale.bytes * _step(found.transfer, target.transfer, found, target),
            prefix=scale.prefix
            * min(max(_step(found.prefix, target.prefix, found, target), low), high),
        )
        found = measured_shares(workflows, kind, scale)
    return Calibrated(scale=scale, shares=found)


def measured_shares(workflows: Sequence[Workflow], kind: ClusterKind, scale: Scale) -> Shares:
    """Return the shares of round-robin's busy time; it is shown nothing that waits."""
    case = proxy_case(workflows, kind, scale)
    case = dataclasses.replace(case, options=_BLIND)
    outcome = run_case(case, ready_policy(REFERENCE))
    if outcome.status != "ok":
        raise FateError(f"calibration: a workflow {outcome.status} under {REFERENCE}")
    return shares(uses(case, outcome))


def shares(used: Uses) -> Shares:
    """Divide busy time; what is not loading, fetching or a shared prefix counts as compute."""
    load_s = used.load_s + used.unload_s
    compute_s = used.own_s + used.decode_s
    return Shares(
        load=load_s / used.busy_s,
        transfer=used.transfer_s / used.busy_s,
        prefix=used.prefix_s / used.busy_s,
        compute=compute_s / used.busy_s,
    )


def _distance(found: Shares, wanted: Shares) -> float:
    """Return the largest difference of a share."""
    names = Shares.__struct_fields__
    return max(abs(getattr(found, name) - getattr(wanted, name)) for name in names)


def _step(found: float, wanted: float, all_found: Shares, all_wanted: Shares) -> float:
    """Return the factor for one share; nothing to scale stays as it is."""
    if found <= 0.0:
        return 1.0
    return (wanted / all_wanted.compute) / (found / all_found.compute)
