"""Devices at work: a placement becomes a chain of activities, run one after the other.

    unload* -> load -> move -> call  (or a load alone: a prefetch)

A chain occupies a compute slot of its device from start to end. Effects on the state that later
decisions must see (evictions, the model to come, the sequence slot) are reserved when it starts,
memory when the load is issued.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fate.core.chain import HOST, Chain, Step
from fate.core.moving import Moving
from fate.core.parking import Parking
from fate.core.pool import ReadyChunk
from fate.cost.estimates import Estimator
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.domain.messages import (
    ActivityId,
    Call,
    Cancel,
    Command,
    Load,
    Move,
    RunTool,
    Unload,
)
from fate.domain.state import DeviceState, ResidentModel, SequenceSlot


@dataclass(slots=True)
class Fleet:
    """All devices and the host, with their chains; emits the commands that drive them."""

    cluster: Cluster
    estimator: Estimator
    outbox: list[Command]
    parking: Parking
    moving: Moving
    devices: list[DeviceState] = field(init=False)
    chains: list[Chain] = field(default_factory=list[Chain])
    clock: int = 1
    _by_activity: dict[ActivityId, Chain] = field(default_factory=dict[ActivityId, Chain])
    _last_activity: ActivityId = 0
    models: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Start with empty devices; models of unmanaged devices are there from the start."""
        self.devices = [DeviceState(device) for device in self.cluster.devices]
        self.models = {model.id: m for m, model in enumerate(self.cluster.models)}
        for state in self.devices:
            self._serve_unmanaged(state)

    def chain(self, activity: ActivityId) -> Chain | None:
        """Return the chain whose current activity this is; None for an outcome out of date."""
        return self._by_activity.get(activity)

    def free_slots(self, d: int) -> int:
        """Compute slots of a device that no chain occupies; 0 on a lost or drained device."""
        state = self.devices[d]
        if not state.healthy:
            return 0
        used = [c for c in self.chains if c.device == d and c.chunk is not None]
        return max(state.most_calls - len(used), 0)

    def slowdown(self, d: int, calls: int) -> float:
        """Return the factor on the work of a call that begins with so many on its device."""
        factors = self.estimator.tables().slowdown[d]
        return float(factors[min(calls, len(factors)) - 1])

    def tool_slots(self) -> int:
        """Host slots that are free for tools."""
        return self.cluster.tool_slots - sum(1 for c in self.chains if c.device == HOST)

    def start(self, ready: ReadyChunk, d: int, now_s: float, gather_s: float = 0.0) -> bool:
        """Start a chunk on a device; False while memory in use there makes that impossible."""
        steps = self._prepare(self.cluster.models[ready.work.model].id, d)
        if steps is None:
            return False
        state, model = self.devices[d], self.cluster.models[ready.work.model].id
        match, found = self.moving.place(self.devices, ready.work, d)
        sequence, cached = match.slot, float(match.cached)
        if found is not None:
            steps.append(Step("move", model, found.seconds))
            cached = found.tokens
        steps.append(Step("call", model, self.moving.call_seconds(ready.work, d, cached)))
        chain = Chain(
            d, ready.chunk, ready, steps, sequence, cached=match.cached, gather_s=gather_s
        )
        if found is not None and found.content.device == d:
            self.moving.hold(chain, found.content)
        state.models[model].users += 1
        self.clock += 1
        state.touch(model, sequence, ready.work.left, self.clock, ready.work.left_nodes)
        if sequence >= 0:
            state.models[model].sequences[sequence].busy = True
        self.chains.append(chain)
        self._advance(chain, now_s)
        return True

    def load_ahead(self, model: str, d: int, gone: Sequence[str], now_s: float) -> None:
        """Load a model with no call yet, in the place of models that are loaded and idle."""
        chain = Chain(d, None, None, self._exchange(model, d, gone))
        self.chains.append(chain)
        self._advance(chain, now_s)

    def start_tool(self, chunk: Chunk, expected_s: float, now_s: float) -> None:
        """Run a tool on the host."""
        chain = Chain(HOST, chunk, None, deque([Step("tool", "", expected_s)]))
        self.chains.append(chain)
        self._advance(chain, now_s)

    def step_done(self, chain: Chain, now_s: float, missing: Sequence[int] = ()) -> bool:
        """The chain's current activity ended well; True when that was its last.

        `missing` are sequences that could not be parked or restored.
        """
        self._release(chain)
        step = chain.steps.popleft()
        if chain.device != HOST:
            state = self.devices[chain.device]
            if step.kind == "unload":
                self.parking.left(state, state.models.pop(step.model), missing)
            elif step.kind == "load":
                state.models[step.model].status = "resident"
                self.parking.back(state, state.models[step.model], missing)
        if not chain.steps:
            self._end(chain)
        self.advance_blocked(now_s)
        return not chain.steps

    def step_failed(self, chain: Chain, now_s: float) -> list[Chain]:
        """The chain's current activity failed or was cancelled; return all chains that end of it.

        A chain that was to load a model also ends the chains that wait for this model.
        """
        self._release(chain)
        ended = self._abort(chain)
        self.advance_blocked(now_s)
        return ended

    def lose(self, d: int) -> list[Chain]:
        """A device is gone; return the chains that ended with it."""
        state = self.devices[d]
        state.healthy = False
        ended = [chain for chain in self.chains if chain.device == d]
        for chain in ended:
            self._release(chain)
            self.moving.end(chain)
            self.chains.remove(chain)
        state.lose_everything()
        return ended

    def restore(self, d: int) -> None:
        """A lost device is back, empty."""
        self.devices[d].healthy = True
        self._serve_unmanaged(self.devices[d])

    def begin_again(self, after: ActivityId) -> list[Chain]:
        """Everything that ran is gone and every device is back, empty; return the ended chains.

        Activities to come have numbers over `after` and over all those before.
        """
        ended, self.chains = self.chains, []
        for chain in ended:
            self._release(chain)
            self.moving.end(chain)
        for d, state in enumerate(self.devices):
            state.lose_everything()
            self.restore(d)
        self._last_activity = max(self._last_activity, after)
        return ended

    def cancel(self, chains: Iterable[Chain]) -> None:
        """Let chains end: calls and tools are stopped, loads and unloads run to their end.

        What a device holds after half a load is unknown, and others may wait for the model.
        """
        for chain in chains:
            if chain.activity is not None and not chain.cancelling:
                chain.cancelling = True
                if chain.steps[0].kind in ("move", "call", "tool"):
                    self.outbox.append(Cancel(activity=chain.activity))

    def detach(self, chain: Chain) -> Chunk:
        """Let a chain that loads or unloads go on without its call; return what it was to run."""
        assert chain.chunk is not None
        chunk, model = chain.chunk, chain.steps[-1].model
        entry = self.devices[chain.device].models[model]
        while chain.steps[-1].kind not in ("load", "unload"):
            chain.steps.pop()
        self.moving.end(chain)
        entry.users -= 1
        if chain.sequence >= 0:
            entry.sequences[chain.sequence] = SequenceSlot()
        chain.chunk = chain.ready = None
        chain.sequence = -1
        return chunk

    def drop_blocked(self, chains: Iterable[Chain], now_s: float) -> list[Chain]:
        """End the chains among `chains` that have nothing running; return all that end of it."""
        ended: list[Chain] = []
        for chain in chains:
            if chain.activity is None and chain not in ended:
                ended += self._abort(chain)
        self.advance_blocked(now_s)
        return ended

    def advance_blocked(self, now_s: float) -> None:
        """Let chains go on that were waiting for memory or for a load."""
        for chain in list(self.chains):
            if chain.activity is None and not chain.cancelling:
                self._advance(chain, now_s)

    def _prepare(self, model: str, d: int) -> deque[Step] | None:
        """Reserve room for a model and return the steps that bring it in; None if impossible."""
        state, m = self.devices[d], self.models[model]
        entry = state.models.get(model)
        if entry is not None and entry.status != "evicting":
            return deque()
        if entry is not None:
            return None
        gone = state.evictions(self._bytes(m))
        return None if gone is None else self._exchange(model, d, gone)

    def _exchange(self, model: str, d: int, gone: Sequence[str]) -> deque[Step]:
        state, m = self.devices[d], self.models[model]
        tables = self.estimator.tables()
        steps: deque[Step] = deque()
        for name in gone:
            state.models[name].status = "evicting"
            steps.append(self._unload_step(d, name))
        steps.append(Step("load", model, float(tables.load_s[d, m])))
        state.models[model] = self._entry(state, model, self._bytes(m), "planned")
        return steps

    def _entry(
        self,
        state: DeviceState,
        model: str,
        reserved: int,
        status: Literal["planned", "resident"],
    ) -> ResidentModel:
        slots = self.parking.sequences(state, model)
        return ResidentModel(model, reserved, status, self.clock, slots)

    def _advance(self, chain: Chain, now_s: float) -> None:
        """Issue the chain's next activity if the state allows it."""
        if chain.steps[0].kind == "load":
            self._make_room(chain)
        step = chain.steps[0]
        if step.kind == "move" and self._is_resident(chain.device, step.model):
            self.moving.choose(self.devices, chain)
            step = chain.steps[0]
        if step.kind in ("load", "unload") and self._loader_busy(chain.device):
            return
        command = self._command(chain, step, self._last_activity + 1)
        if command is None:
            return
        self._last_activity += 1
        chain.activity, chain.step_since_s = self._last_activity, now_s
        self._by_activity[self._last_activity] = chain
        if step.kind == "call":
            calls = [c for c in self.chains if c.device == chain.device and c.activity is not None]
            chain.concurrency = sum(1 for c in calls if c.steps[0].kind == "call")
            chain.slowed = self.slowdown(chain.device, chain.concurrency)
        self.outbox.append(command)

    def _loader_busy(self, d: int) -> bool:
        """Whether a load or an unload is under way on a device: it has one loader."""
        return any(
            chain.device == d
            and chain.activity is not None
            and chain.steps[0].kind in ("load", "unload")
            for chain in self.chains
        )

    def _make_room(self, chain: Chain) -> None:
        """Add unloads where an eviction this chain counted on was taken back."""
        state = self.devices[chain.device]
        for name in reversed(state.evictions(0) or ()):
            state.models[name].status = "evicting"
            chain.steps.appendleft(self._unload_step(chain.device, name))

    def _unload_step(self, d: int, model: str) -> Step:
        seconds = self.estimator.tables().unload_s[d, self.models[model]]
        return Step("unload", model, float(seconds))

    def _command(self, chain: Chain, step: Step, activity: ActivityId) -> Command | None:
        if chain.device == HOST:
            assert chain.chunk is not None
            return RunTool(activity=activity, chunk=chain.chunk)
        state = self.devices[chain.device]
        device, entry = state.device.id, state.models[step.model]
        if step.kind == "unload":
            park, discard = self.parking.leave(chain.device, state, entry)
            return Unload(
                activity=activity, device=device, model=step.model, park=park, discard=discard
            )
        if step.kind == "load":
            if state.reserved_bytes() + entry.reserved_bytes > state.device.memory_bytes:
                return None
            entry.status = "loading"
            back = tuple(state.parked.get(step.model, ()))
            return Load(activity=activity, device=device, model=step.model, restore=back)
        return self._work(chain, step, activity) if entry.status == "resident" else None

    def _is_resident(self, d: int, model: str) -> bool:
        return self.devices[d].models[model].status == "resident"

    def _work(self, chain: Chain, step: Step, activity: ActivityId) -> Move | Call:
        """Return the command of a step that needs its model loaded."""
        if step.kind == "move":
            return self.moving.begin(chain, activity)
        assert chain.chunk is not None
        return Call(
            activity=activity,
            device=self.cluster.devices[chain.device].id,
            model=step.model,
            chunk=chain.chunk,
            sequence=chain.sequence,
        )

    def _abort(self, chain: Chain) -> list[Chain]:
        """End an unfinished chain, and those that wait for the load it will not do."""
        ended = [chain]
        if chain.device != HOST:
            loads = {step.model for step in chain.steps if step.kind == "load"}
            ended += [
                other
                for other in self.chains
                if other is not chain
                and other.device == chain.device
                and other.activity is None
                and other.steps[-1].model in loads
            ]
            self._undo(chain, self.devices[chain.device])
        for one in ended:
            self._end(one)
        return ended

    def _undo(self, chain: Chain, state: DeviceState) -> None:
        """Take back what an unfinished chain reserved."""
        for step in chain.steps:
            entry = state.models.get(step.model)
            if entry is None:
                continue
            if step.kind == "unload" and entry.status == "evicting":
                entry.status, entry.parking = "resident", {}
            elif step.kind == "load":
                del state.models[step.model]
            elif step.kind == "call" and chain.sequence >= 0:
                entry.sequences[chain.sequence].path = ()

    def move_failed(self, chain: Chain, now_s: float) -> None:
        """A state could not be brought: the call computes its prompt."""
        self._release(chain)
        self.moving.skip(chain)
        self.advance_blocked(now_s)

    def _release(self, chain: Chain) -> None:
        if chain.steps[0].kind == "move":
            self.moving.end(chain)
        if chain.activity is not None:
            del self._by_activity[chain.activity]
            chain.activity = None

    def _end(self, chain: Chain) -> None:
        self.chains.remove(chain)
        self.moving.end(chain)
        if chain.device == HOST or chain.ready is None:
            return
        entry = self.devices[chain.device].models.get(
            self.cluster.models[chain.ready.work.model].id
        )
        if entry is not None:
            entry.users -= 1
            if chain.sequence >= 0:
                entry.sequences[chain.sequence].busy = False

    def _serve_unmanaged(self, state: DeviceState) -> None:
        if state.device.managed:
            return
        for model in self.cluster.models:
            if self.cluster.supports(state.device, model):
                state.models[model.id] = self._entry(state, model.id, 0, "resident")

    def _bytes(self, m: int) -> int:
        return self.cluster.models[m].footprint_bytes
