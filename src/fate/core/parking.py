"""KV states kept on a device's disk while their model is not loaded.

When a model goes, its sequences are saved; the next load brings them back into the same slots.
The same saving and restoring copies a sequence that a prompt would overwrite into an empty one.
What one device keeps stays within its declared disk budget, the least recently used going first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from fate.cost.estimates import Estimator
from fate.cost.terms import STATE_BYTE_S, STATE_FIXED_S, state_seconds
from fate.domain.catalog import Cluster, Parked
from fate.domain.graph import path_tokens
from fate.domain.snapshot import F64, U8
from fate.domain.state import (
    CopyCosts,
    DeviceState,
    ParkedState,
    ResidentModel,
    SequenceSlot,
    choose_parked,
)


@dataclass(slots=True)
class Parking:
    """Decides what is saved when a model goes, and knows what comes back with it.

    `on` is the core's switch; devices without a disk budget park nothing in any case. `table`
    [D, M] says which device parks which model, `copy_s` [D, M] what copying a state from one of
    its sequences to another takes per token; inf where it does not.
    """

    cluster: Cluster
    estimator: Estimator
    on: bool
    table: U8 = field(init=False)
    copy_s: F64 = field(init=False)
    _models: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Decide once who parks what."""
        self._models = {model.id: m for m, model in enumerate(self.cluster.models)}
        devices, models = len(self.cluster.devices), len(self.cluster.models)
        rows = [[self._pays(d, m) for m in range(models)] for d in range(devices)]
        self.table = np.array(rows, np.uint8).reshape(devices, models)
        sizes = np.array([model.kv_bytes_per_token for model in self.cluster.models], np.float64)
        self.copy_s = np.where(self.table, sizes * STATE_BYTE_S, inf)

    def keeps(self, d: int, model: str) -> bool:
        """Whether a device parks a model's states."""
        return bool(self.table[d, self._models[model]])

    def copies(self, d: int, m: int) -> CopyCosts:
        """Return what copying a state spares and costs."""
        token_s = float(self.copy_s[d, m])
        return CopyCosts(self.estimator.rates(d, m)[0][1], STATE_FIXED_S, token_s)

    def sequences(self, state: DeviceState, model: str) -> list[SequenceSlot]:
        """Return the slots that a load of a model gives, with what will come back in them."""
        count = state.device.sequences if state.device.prefix == "sequences" else 0
        slots = [SequenceSlot() for _ in range(count)]
        for k, parked in state.parked.get(model, {}).items():
            slots[k] = SequenceSlot(parked.path, parked.used_at)
        return slots

    def leave(
        self, d: int, state: DeviceState, entry: ResidentModel
    ) -> tuple[tuple[int, ...], tuple[Parked, ...]]:
        """A model is about to go; return the sequences to save and what to discard for them.

        States of models that are about to come back are not discarded.
        """
        entry.parking = {}
        if not self.keeps(d, entry.model):
            return (), ()
        token_bytes = self.cluster.models[self._models[entry.model]].kv_bytes_per_token
        fresh = {
            k: ParkedState(slot.path, slot.used_at, token_bytes * path_tokens(slot.path))
            for k, slot in enumerate(entry.sequences)
            if slot.path
        }
        names = [(entry.model, k) for k in fresh]
        sizes = [(parked.used_at, parked.size_bytes) for parked in fresh.values()]
        budget = state.device.park_bytes
        for model, states in state.parked.items():
            if model in state.models:
                budget -= sum(parked.size_bytes for parked in states.values())
                continue
            names += [(model, k) for k in states]
            sizes += [(parked.used_at, parked.size_bytes) for parked in states.values()]
        kept = {names[i] for i in choose_parked(sizes, budget)}
        entry.parking = {k: parked for k, parked in fresh.items() if (entry.model, k) in kept}
        gone = [name for name in names[len(fresh) :] if name not in kept]
        for model, k in gone:
            del state.parked[model][k]
            if not state.parked[model]:
                del state.parked[model]
        return tuple(entry.parking), tuple([Parked(model, k) for model, k in gone])

    def _pays(self, d: int, m: int) -> bool:
        """Whether a device may park a model's states, and restores them quicker than it computes.

        The profile decides: the two differ by far more than estimates change in a run.
        """
        device, model = self.cluster.devices[d], self.cluster.models[m]
        if not (self.on and device.park_bytes and device.managed and device.prefix == "sequences"):
            return False
        if not self.cluster.supports(device, model) or model.task == "embed":
            return False  # a vector needs all of its text: nothing of a cache is used again
        _, token_s, _ = self.estimator.rates(d, m)[0]
        return state_seconds(float(model.kv_bytes_per_token), 0.0) < token_s

    def left(self, state: DeviceState, entry: ResidentModel, missing: Sequence[int]) -> None:
        """A model is gone; its states lie on the disk, but for those that could not be saved."""
        parked = {k: one for k, one in entry.parking.items() if k not in missing}
        state.parked.pop(entry.model, None)
        if parked:
            state.parked[entry.model] = parked

    def back(self, state: DeviceState, entry: ResidentModel, missing: Sequence[int]) -> None:
        """A model is loaded and its states are off the disk; what is missing is computed anew."""
        parked = state.parked.pop(entry.model, {})
        for k in missing:
            if k in parked and entry.sequences[k].path is parked[k].path:
                entry.sequences[k].path = ()
