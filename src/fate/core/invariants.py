"""What must hold after every step, whatever drivers and engines do."""

from fate.core.chain import HOST
from fate.core.scheduler import Scheduler
from fate.domain.state import DeviceState


def check(core: Scheduler) -> None:
    """Raise AssertionError, naming what is wrong, if the core's state is not sound."""
    for state in core.fleet.devices:
        _check_memory(core, state)
    _check_slots(core)
    _check_items(core)
    _check_progress(core)


def _check_memory(core: Scheduler, state: DeviceState) -> None:
    """Reserved bytes stay within the budget; nothing in use is being evicted."""
    name, budget = state.device.id, state.device.memory_bytes
    assert state.reserved_bytes() <= budget, f"{name}: {state.reserved_bytes()} > {budget} bytes"
    users: dict[str, int] = {}
    for chain in core.fleet.chains:
        if chain.ready is not None and core.fleet.devices[chain.device] is state:
            model = core.fleet.cluster.models[chain.ready.work.model].id
            users[model] = users.get(model, 0) + 1
    for model, entry in state.models.items():
        assert entry.users == users.get(model, 0), f"{name}: {model} counts {entry.users} users"
        assert not (entry.users and entry.status == "evicting"), f"{name}: {model} evicted in use"
        assert state.healthy or not state.device.managed, f"{name}: lost, yet holds {model}"
    assert set(users) <= set(state.models), f"{name}: work for a model that is not there"


def _check_slots(core: Scheduler) -> None:
    """No device runs more than its slots, no sequence slot serves two chains."""
    taken: set[tuple[int, str, int]] = set()
    for d, state in enumerate(core.fleet.devices):
        chains = [c for c in core.fleet.chains if c.device == d and c.chunk is not None]
        assert len(chains) <= state.device.slots, f"{state.device.id}: {len(chains)} chains"
        for chain in chains:
            slot = (d, chain.steps[-1].model, chain.sequence)
            assert chain.sequence < 0 or slot not in taken, f"{state.device.id}: {slot} taken twice"
            taken.add(slot)
    hosted = sum(1 for chain in core.fleet.chains if chain.device == HOST)
    assert hosted <= core.fleet.cluster.tool_slots, f"host: {hosted} tools at once"


def _check_items(core: Scheduler) -> None:
    """Every open item of a live workflow is in exactly one chunk: ready, queued or running."""
    held: dict[tuple[str, int], int] = {}
    chunks = [ready.chunk for ready in core.lifecycle.pool] + list(core.lifecycle.tools)
    chunks += [chain.chunk for chain in core.fleet.chains if chain.chunk is not None]
    for chunk in chunks:
        for item in range(chunk.start, chunk.stop):
            held[chunk.instance, item] = held.get((chunk.instance, item), 0) + 1
    for instance in core.lifecycle.instances.values():
        if instance.status != "open" or instance.workflow.status is not None:
            continue
        for item in instance.open_items:
            count = held.get((instance.id, item), 0)
            assert count == 1, f"{instance.id}[{item}] is in {count} chunks"


def _check_progress(core: Scheduler) -> None:
    """Work left means that something runs, is being planned, or is being expanded."""
    if not core.lifecycle.open_workflows or core.fleet.chains or core.planning:
        return
    expanding = any(i.status == "expanding" for i in core.lifecycle.instances.values())
    lost = all(not state.healthy for state in core.fleet.devices)
    assert expanding or lost, "work is left, yet nothing runs and nothing is being decided"
