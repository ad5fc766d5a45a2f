"""When a run that is under way will end: a copy of its core goes on in virtual time.

A view of the run, not a decision: nothing of it is journalled and nothing depends on it.
"""

import pickle
import time
from dataclasses import fields
from io import BytesIO
from typing import Any

import msgspec

from fate.core.chain import Chain
from fate.core.instances import Instance
from fate.core.scheduler import Scheduler
from fate.domain.errors import FateError
from fate.domain.messages import Done, Event, Expand, Expanded, ItemDone, Record, Woke
from fate.domain.state import DeviceState
from fate.drivers.simulate import Simulation
from fate.drivers.world import Truth, World
from fate.policy.base import Policy

_FIELDS = [field.name for field in fields(Instance)]


class TooSlowError(FateError):
    """The projection takes more CPU than it may."""

    code = "projection"


def freeze(core: Scheduler) -> bytes:
    """Return a copy of a core as bytes: made where the core runs, thawed where it is cheap."""
    frozen = BytesIO()
    pickler = _Pickler(frozen, pickle.HIGHEST_PROTOCOL)
    pickler.dump(core)
    for instance in pickler.met:  # more are met on the way
        pickler.dump((instance, [getattr(instance, name) for name in _FIELDS]))
    pickler.dump(None)
    return frozen.getvalue()


class _Pickler(pickle.Pickler):
    """Writes instances empty, to be filled one by one: linked, they are as deep as long chains."""

    def __init__(self, file: BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.met: list[Instance] = []

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401  # what pickle wants
        if type(obj) is not Instance:
            return NotImplemented
        self.met.append(obj)
        return _empty, ()


def _empty() -> Instance:
    return Instance.__new__(Instance)


def _thaw(frozen: bytes) -> Scheduler:
    unpickler = pickle.Unpickler(BytesIO(frozen))  # bytes of this very process
    core: Scheduler = unpickler.load()
    while (filled := unpickler.load()) is not None:
        instance, values = filled
        for name, value in zip(_FIELDS, values, strict=True):
            setattr(instance, name, value)
    return core


def project(frozen: bytes, policy: Policy, now_s: float, cpu_s: float = float("inf")) -> float:
    """Return when everything that a core has to do is expected to have ended [s of its clock].

    Args:
        frozen: the core, which must not be waiting for a plan.
        policy: decides what is left; the run's own, or a cheaper one.
        now_s: time at which the core was frozen.
        cpu_s: CPU seconds it may take.

    Raises:
        TooSlowError: it takes longer.
        ProtocolError: what is left can never end, with a device lost for example.
    """
    core = _thaw(frozen)
    stop_s = time.thread_time() + cpu_s

    def check(_record: Record) -> None:
        if time.thread_time() > stop_s:
            raise TooSlowError("the projection takes longer than it may")

    simulation = Simulation(core, policy, _world(core, now_s))
    for instance in core.lifecycle.instances.values():
        if instance.status == "expanding":
            simulation.push(now_s, simulation.world.expand(Expand(instance=instance.id)))
    for chain in core.fleet.chains:
        for at_s, event in _rest(core, chain, now_s):
            simulation.push(at_s, event)
    simulation.push(now_s, Woke(at_s=now_s))
    return max(simulation.run(check).makespan_s, now_s)


def _world(core: Scheduler, now_s: float) -> World:
    """Return a world that is as the core believes: its costs, instances, caches and calls."""
    profile = core.estimator.profile("learned so far")
    world = World(core.fleet.cluster, Truth(profile=profile), seed=0)
    for instance in core.lifecycle.instances.values():
        expected = core.lifecycle.expect.tokens(instance)
        stage = msgspec.structs.replace(instance.stage, output_tokens=expected)
        known = instance.status in ("open", "done")
        rounds = len(instance.group.scopes) if instance.group is not None else 0
        world.declared.know(
            instance.id,
            stage,
            Expanded(instance=instance.id, head=instance.head, tails=instance.tails)
            if known
            else None,
            rounds if stage.loop else 0,
        )
    for state in core.fleet.devices:
        for model, entry in state.models.items():
            # What a model will hold after its load is booked already, and is not there yet.
            for number, slot in enumerate(entry.sequences if entry.status == "resident" else ()):
                world.physics.fill(state.device.id, model, number, slot.path)
        _fill_disk(world, state)
    for chain in core.fleet.chains:
        if chain.activity is not None and chain.steps[0].kind == "call":
            device = core.fleet.devices[chain.device].device.id
            world.occupy(device, chain.expected_end_s(now_s))
        if chain.holding and chain.source is not None and chain.steps[0].kind == "move":
            device = core.fleet.devices[chain.device].device.id
            world.physics.fill(device, chain.steps[0].model, chain.sequence, chain.source.path)
    return world


def _fill_disk(world: World, state: DeviceState) -> None:
    """Put parked states on a device's disk, or where the load or unload under way brings them."""
    for model, parked in state.parked.items():
        entry = state.models.get(model)
        loading = entry is not None and entry.status == "loading"
        put = world.physics.fill if loading else world.physics.keep
        for number, one in parked.items():
            put(state.device.id, model, number, one.path)
    for model, entry in state.models.items():
        for number, one in entry.parking.items() if entry.status == "evicting" else ():
            world.physics.keep(state.device.id, model, number, one.path)


def _rest(core: Scheduler, chain: Chain, now_s: float) -> list[tuple[float, Event]]:
    """Return how the activity that a chain is at will end, its missing items evenly spaced."""
    activity = chain.activity
    if activity is None:
        return []
    later_s = sum(step.expected_s for step in list(chain.steps)[1:])
    end_s = max(chain.expected_end_s(now_s) - later_s, now_s)
    events: list[tuple[float, Event]] = []
    if chain.chunk is not None and chain.steps[0].kind in ("call", "tool"):
        instance, chunk = chain.chunk.instance, chain.chunk
        left = [i for i in range(chunk.start, chunk.stop) if core.lifecycle.is_open(instance, i)]
        for number, item in enumerate(left, 1):
            at_s = now_s + (end_s - now_s) * number / len(left)
            events.append((at_s, ItemDone(activity=activity, item=item)))
    return [*events, (end_s, Done(activity=activity))]
