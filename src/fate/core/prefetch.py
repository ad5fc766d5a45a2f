"""Models loaded before a call asks for them, while the stage before it runs.

A load ahead goes into free memory, or into that of models which no stage to come needs; never onto
a device whose loader some ready work could want.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from fate.core.chain import HOST
from fate.core.fleet import Fleet
from fate.core.instances import Instance
from fate.core.lifecycle import Lifecycle
from fate.domain.state import DeviceState, choose_evictions

#: What is less likely to run than this is not loaded for.
_LIKELY = 0.5
#: Calls behind one running stage that are looked at, and stages to come that are gone over to find
#: out whether a model is dead; with more of them none is.
_CHILDREN, _STAGES = 8, 2_000


@dataclass(frozen=True, slots=True)
class Prefetcher:
    """Grants the loads that policies wish for, and makes wishes of its own."""

    lifecycle: Lifecycle
    fleet: Fleet

    def grant(self, d: int, m: int, now_s: float) -> bool:
        """Load a model onto a device with no call yet; tell whether nothing spoke against it."""
        fleet, state = self.fleet, self.fleet.devices[d]
        model = fleet.cluster.models[m]
        if model.id in state.models or not state.usable:
            return False
        if not fleet.cluster.supports(state.device, model) or self._delays(d, m):
            return False
        gone = self._room(state, model.footprint_bytes)
        if gone is None:
            return False
        fleet.load_ahead(model.id, d, gone, now_s)
        return True

    def look(self, now_s: float) -> None:
        """Let idle devices load what the calls behind running stages will need, the next first."""
        busy = {chain.device for chain in self.fleet.chains}
        idle = [d for d, s in enumerate(self.fleet.devices) if s.usable and d not in busy]
        if not idle:
            return
        wanted: dict[int, int] = {}
        for instance in self._next(now_s):
            m = self.fleet.models[instance.stage.model]
            wanted[m] = wanted.get(m, 0) + self._chunks(instance)
            for d in sorted(idle, key=lambda d: (self._work_s(instance, d, m), d)):
                if self._there(m) >= wanted[m]:
                    break
                if self.grant(d, m, now_s):
                    idle.remove(d)

    def _next(self, now_s: float) -> list[Instance]:
        """Return the calls all of whose open parents run, by when these are expected to end."""
        ends_s: dict[int, float] = {}
        running: dict[int, Instance] = {}
        for chain in self.fleet.chains:
            if chain.chunk is not None:
                instance = self.lifecycle.instances[chain.chunk.instance]
                end_s = max(chain.expected_end_s(now_s), ends_s.get(instance.number, now_s))
                running[instance.number], ends_s[instance.number] = instance, end_s
        calls: dict[int, Instance] = {}
        under_way: dict[int, int] = {}
        released_s: dict[int, float] = {}
        for instance in running.values():
            for call in islice(instance.next_calls, _CHILDREN):
                if call.status == "waiting" and call.probability >= _LIKELY:
                    n = call.number
                    calls[n] = call
                    under_way[n] = under_way.get(n, 0) + (instance.stage.kind == "llm")
                    released_s[n] = max(released_s.get(n, now_s), ends_s[instance.number])
        ready = [n for n, call in calls.items() if call.calls_left <= under_way[n]]
        return [calls[n] for n in sorted(ready, key=lambda n: (released_s[n], n))]

    def _chunks(self, instance: Instance) -> int:
        """Return in how many chunks an instance would be dispatched."""
        items = max(instance.stage.items, 1)
        return -(-items // self.lifecycle.ready.chunk_items(instance, items))

    def _there(self, m: int) -> int:
        """Return how many devices have a model, or are about to."""
        name = self.fleet.cluster.models[m].id
        held = [s.models.get(name) for s in self.fleet.devices if s.usable]
        return sum(entry is not None and entry.status != "evicting" for entry in held)

    def _work_s(self, instance: Instance, d: int, m: int) -> float:
        """Return the seconds to load a model and to run a call, inf where it cannot run."""
        fleet = self.fleet
        if not fleet.cluster.supports(fleet.cluster.devices[d], fleet.cluster.models[m]):
            return float("inf")
        call_s = fleet.moving.call_seconds(self.lifecycle.expect.waiting(instance), d, 0.0)
        return fleet.estimator.load_seconds(d, m) + call_s

    def _delays(self, d: int, m: int) -> bool:
        """Whether some ready work could want the device's loader, for another model."""
        cluster, state = self.fleet.cluster, self.fleet.devices[d]
        for ready in self.lifecycle.pool:
            model = cluster.models[ready.work.model]
            if ready.work.model == m or model.id in state.models:
                continue
            if cluster.supports(state.device, model):
                return True
        return False

    def _room(self, state: DeviceState, need_bytes: int) -> list[str] | None:
        """Return the models to unload, all of them dead; None where that is not enough."""
        total = sum(m.reserved_bytes for m in state.models.values() if m.status != "evicting")
        free = state.device.memory_bytes - total
        if free >= need_bytes:
            return []
        idle = [m for m in state.models.values() if m.status == "resident" and m.users == 0]
        needed = self._needed() if idle else None
        if needed is None:
            return None
        dead = [entry for entry in idle if entry.model not in needed]
        sizes = [(entry.used_at, entry.reserved_bytes) for entry in dead]
        gone = choose_evictions(sizes, free, need_bytes)
        return None if gone is None else [dead[i].model for i in gone]

    def _needed(self) -> frozenset[str] | None:
        """Return the models of all calls to come; None where these are too many to go over."""
        found: set[str] = set()
        for number, model in enumerate(self._to_come()):
            if number >= _STAGES:
                return None
            found.add(model)
        return frozenset(found)

    def _to_come(self) -> Iterator[str]:
        lifecycle, models = self.lifecycle, self.fleet.cluster.models
        for ready in lifecycle.pool:
            yield models[ready.work.model].id
        for delayed in lifecycle.delays:
            yield lifecycle.instances[delayed.chunk.instance].stage.model
        for chain in self.fleet.chains:
            if chain.device != HOST and chain.chunk is not None:
                yield lifecycle.instances[chain.chunk.instance].stage.model
        for instance in lifecycle.not_ready():
            yield instance.stage.model
