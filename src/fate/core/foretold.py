"""When what runs on devices will begin and end, as far as it is known now.

A device has one loader, which serves chains in the order in which they started. Where a device
runs several calls at once, a call takes longer by the factor for the calls that run when it begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fate.core.chain import HOST, Chain
from fate.core.fleet import Fleet
from fate.domain.snapshot import F64

#: A call that could begin by now and has not yet begins at least so much later [s].
_LATER_S = 1e-6


class Expected(NamedTuple):
    """When a chain's call begins and how long it gathers and works if alone; when it ends.

    `call_at_s` is -inf, and the seconds are 0, once it has begun.
    """

    end_s: float
    call_at_s: float = -np.inf
    gather_s: float = 0.0
    work_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Foretold:
    """What is expected of each chain with a chunk, and of loaders.

    Attributes:
        chains: by chain.
        settled_at_s: [D, M] when the load or unload of a model that is under way ends; 0 none.
        loader_at_s: [D] when a loader has done what it has to do; 0 where that is nothing.
    """

    chains: dict[Chain, Expected]
    settled_at_s: F64
    loader_at_s: F64


def foretell(fleet: Fleet, now_s: float) -> Foretold:
    """Foretell what runs, if nothing else starts."""
    devices = len(fleet.devices)
    found = Foretold({}, np.zeros((devices, len(fleet.models))), np.zeros(devices))
    on = [list[Chain]() for _ in fleet.devices]
    for chain in fleet.chains:
        if chain.device == HOST:
            found.chains[chain] = Expected(chain.expected_end_s(now_s))
        else:
            on[chain.device].append(chain)
    for chains in on:
        for chain in sorted(chains, key=lambda chain: not _loads_now(chain)):
            _load(fleet, chain, now_s, found)
        for chain in chains:
            if chain.chunk is not None:
                found.chains[chain] = _begins(fleet, chain, now_s, found)
        _run([chain for chain in chains if chain.chunk is not None], fleet, found)
    return found


def _loads_now(chain: Chain) -> bool:
    return chain.activity is not None and chain.steps[0].kind in ("load", "unload")


def _load(fleet: Fleet, chain: Chain, now_s: float, found: Foretold) -> None:
    """Let the loader do what a chain wants of it, behind all that it had to do before."""
    d, at_s = chain.device, now_s
    at_s = max(at_s, float(found.loader_at_s[d]))
    for number, step in enumerate(chain.steps):
        if step.kind not in ("load", "unload"):
            return
        under_way = number == 0 and chain.activity is not None
        at_s = chain.step_end_s(now_s) if under_way else at_s + step.expected_s
        found.settled_at_s[d, fleet.models[step.model]] = found.loader_at_s[d] = at_s


def _begins(fleet: Fleet, chain: Chain, now_s: float, found: Foretold) -> Expected:
    """Return when a chain's call begins; what it shares its device with is not known yet."""
    first, call = chain.steps[0], chain.steps[-1]
    if chain.activity is not None and first.kind == "call":
        return Expected(chain.expected_end_s(now_s))
    if chain.activity is not None and first.kind == "move":
        at_s = chain.step_end_s(now_s)
    else:
        at_s = max(now_s, float(found.settled_at_s[chain.device, fleet.models[call.model]]))
        for step in chain.steps:
            at_s = at_s + (step.expected_s if step.kind == "move" else 0.0)
    at_s = max(at_s, now_s + _LATER_S)
    return Expected(np.inf, at_s, chain.gather_s, call.expected_s)


def _run(chains: Sequence[Chain], fleet: Fleet, found: Foretold) -> None:
    """Let the calls of a device's chains begin one after the other."""
    waiting = [chain for chain in chains if found.chains[chain].call_at_s > -np.inf]
    for chain in sorted(waiting, key=lambda chain: found.chains[chain].call_at_s):
        expected = found.chains[chain]
        at_s = expected.call_at_s
        busy = sum(at_s < found.chains[other].end_s < np.inf for other in chains)
        work_s = expected.work_s * fleet.slowdown(chain.device, busy + 1)
        found.chains[chain] = expected._replace(end_s=(at_s + expected.gather_s) + work_s)
