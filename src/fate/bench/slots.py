"""`fate bench slots`: how well replay and projection foretell devices with several compute slots.

Planners replay a device's list (`policy/kernel/reference`), or run a plan for the whole DAG to
completion: calls that run at once slow each other down, and memory and sequences in use are not
to be had. Random lists of calls, and random plans for whole chains, on two devices that hold two of
three models each: what is foretold beside what the simulator makes of it, with exact estimates. The
errors are 0 but for rounding.
"""

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from fate.bench import synthetic
from fate.bench.case import Case, run_case
from fate.bench.guards import check
from fate.bench.offline import clairvoyant, whole_snapshot
from fate.bench.played import PlayedOrders, PlayedPriorities
from fate.bench.report import Echo, Report
from fate.bench.statistics import average
from fate.domain.graph import Graph
from fate.drivers.world import Truth
from fate.policy.base import Policy
from fate.policy.kernel.backend import open_kernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_project import Aims, Places

SLOTS = (1, 2, 4, 8)
#: How much slower everything gets with every further call that runs on a device.
_PER_CALL = 0.25
_DEVICES = 2


def slots(out: Path, echo: Echo, *, cases: int = 20, workflows: int = 12) -> None:
    """Measure and report."""
    report = Report("slots", out, echo)
    report.show_machine()
    for count in SLOTS:
        errors: dict[str, list[tuple[float, float]]] = {"replay": [], "projection": []}
        for seed in range(cases):
            case = slots_case(count, workflows, seed)
            errors["replay"].append(_replay_error(_heads(case), seed))
            errors["projection"].append(projection_error(case, seed))
        cell = f"{count} slot" if count == 1 else f"{count} slots"
        for what, found in errors.items():
            report.add(cell, what, "makespan_error", average([makespan for makespan, _ in found]))
            report.add(cell, what, "end_error", average([mean for _, mean in found]))
            for seed, (makespan, mean) in enumerate(found):
                facts = {"cell": cell, "policy": what, "seed": seed}
                report.run({**facts, "makespan_error": makespan, "end_error": mean})
    report.show_rows()
    echo(f"summary: {report.write()}")


def slots_case(count: int, workflows: int, seed: int) -> Case:
    """Return chains of calls on devices with so many slots."""
    on = synthetic.cluster(_DEVICES)
    devices = tuple(
        msgspec.structs.replace(device, slots=count, sequences=4 * count) for device in on.devices
    )
    on = msgspec.structs.replace(on, devices=devices)
    slower = {device.id: tuple(1.0 + _PER_CALL * n for n in range(count)) for device in devices}
    known = msgspec.structs.replace(synthetic.profile(on), slowdown=slower)
    return clairvoyant(
        Case(
            arrivals=tuple((0.0, graph) for graph in synthetic.chains(workflows, seed)),
            cluster=on,
            profile=known,
            truth=Truth(profile=known),
            seed=seed,
        )
    )


def _heads(case: Case) -> Case:
    """Return the case with the first stage of every workflow only: all are ready at once."""

    def head(graph: Graph) -> Graph:
        return msgspec.structs.replace(graph, stages=graph.stages[:1])

    arrivals = tuple((at_s, head(graph)) for at_s, graph in case.arrivals)
    return clairvoyant(
        dataclasses.replace(case, arrivals=arrivals, truth=Truth(profile=case.profile))
    )


def _replay_error(case: Case, seed: int) -> tuple[float, float]:
    """Return the errors of a replay of random lists."""
    snapshot, draw = whole_snapshot(case), random.Random(seed)  # noqa: S311  # not a secret
    nodes = list(range(snapshot.frontier))
    draw.shuffle(nodes)
    orders = [nodes[d::_DEVICES] for d in range(_DEVICES)]
    ends_s = open_kernel(snapshot, Weights(depth=0)).replay(orders)
    lists = tuple(tuple(snapshot.chunks[node] for node in order) for order in orders)
    return _errors(case, PlayedOrders(lists), dict(zip(snapshot.node_names, ends_s, strict=True)))


def projection_error(case: Case, seed: int) -> tuple[float, float]:
    """Return the errors of the projection of a random plan for the whole DAG."""
    snapshot, draw = whole_snapshot(case), np.random.default_rng(seed)
    nodes = len(snapshot.model)
    device, turn = draw.integers(_DEVICES, size=nodes).tolist(), draw.permutation(nodes).tolist()
    whole = open_kernel(snapshot, Weights(depth=0)).whole(Aims(mean=0.0))
    found, _ = whole.project(Places(device, [float(at) for at in turn]))
    place = {
        name: (d, -float(at)) for name, d, at in zip(snapshot.node_names, device, turn, strict=True)
    }
    foretold = dict(zip(snapshot.node_names, found.finish_s, strict=True))
    return _errors(case, PlayedPriorities(place), foretold)


def _errors(case: Case, policy: Policy, foretold: Mapping[str, float]) -> tuple[float, float]:
    """Return the error of the makespan and the mean error of the calls' ends, over the makespan."""
    history = check(case, run_case(case, policy))
    calls = [stage for stage in history.stages if stage.kind == "llm"]
    ends_s = {call.instance: call.end_s or 0.0 for call in calls}
    last_s = max(ends_s.values())
    mean_s = sum(abs(foretold[name] - end_s) for name, end_s in ends_s.items()) / len(ends_s)
    return abs(max(foretold.values()) - last_s) / last_s, mean_s / last_s
