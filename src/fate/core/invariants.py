"""What must hold after every step, whatever drivers and engines do."""

from collections import Counter, defaultdict

from fate.core.chain import HOST, Chain
from fate.core.instances import Instance
from fate.core.scheduler import Scheduler
from fate.domain.graph import Chunk
from fate.domain.state import DeviceState


def check(core: Scheduler) -> None:
    """Raise AssertionError, naming what is wrong, if the core's state is not sound."""
    for d, state in enumerate(core.fleet.devices):
        chains = [chain for chain in core.fleet.chains if chain.device == d]
        _check_memory(core, state, chains)
        _check_residency(state, chains)
        _check_slots(core, state, chains)
        _check_disk(state)
        _check_chains(core, state, chains)
        allowed = {"closed": state.device.slots, "half-open": 1, "open": 0}
        standing = core.watch.health.breakers[d].state
        assert state.most_calls == allowed[standing], f"{state.device.id}: {standing}"
    drained = sum(b.state == "open" for b in core.watch.health.breakers)
    assert core.watch.health.open == drained, f"{core.watch.health.open} drained, not {drained}"
    hosted = sum(1 for chain in core.fleet.chains if chain.device == HOST)
    assert hosted <= core.fleet.cluster.tool_slots, f"host: {hosted} tools at once"
    _check_items(core)
    for instance in core.lifecycle.instances.values():
        _check_links(instance)
    _check_scopes(core)
    _check_calls(core)
    _check_totals(core)
    _check_progress(core)


def _check_memory(core: Scheduler, state: DeviceState, chains: list[Chain]) -> None:
    """Reserved bytes stay within the budget; nothing in use is being evicted."""
    name, budget = state.device.id, state.device.memory_bytes
    assert state.reserved_bytes() <= budget, f"{name}: {state.reserved_bytes()} > {budget} bytes"
    models = core.fleet.cluster.models
    users = Counter([models[c.ready.work.model].id for c in chains if c.ready is not None])
    users.update([model for model, _ in _sent(core, state)])
    for model, entry in state.models.items():
        assert entry.users == users[model], f"{name}: {model} counts {entry.users} users"
        assert not (entry.users and entry.status == "evicting"), f"{name}: {model} evicted in use"
        assert state.healthy, f"{name}: lost, yet holds {model}"
    assert set(users) <= set(state.models), f"{name}: work for a model that is not there"


def _check_residency(state: DeviceState, chains: list[Chain]) -> None:
    """What is to come or to go has exactly one chain that sees to it; the rest has none."""
    name = state.device.id
    loads = Counter([s.model for c in chains for s in c.steps if s.kind == "load"])
    unloads = Counter([s.model for c in chains for s in c.steps if s.kind == "unload"])
    for model, entry in state.models.items():
        due = (int(entry.status in ("planned", "loading")), int(entry.status == "evicting"))
        found = (loads[model], unloads[model])
        assert found == due, f"{name}: {model} is {entry.status}, (loads, unloads) are {found}"
    assert set(loads) | set(unloads) <= set(state.models), f"{name}: a step for a model not there"


def _check_disk(state: DeviceState) -> None:
    """What is parked, and what an unload is about to park, stays within the disk's budget."""
    sizes = [one.size_bytes for states in state.parked.values() for one in states.values()]
    for model, entry in state.models.items():
        sizes += [one.size_bytes for one in entry.parking.values() if entry.status == "evicting"]
        both = model in state.parked and entry.status not in ("planned", "loading")
        assert not both, f"{state.device.id}: {model} is loaded, yet parked"
    assert sum(sizes) <= state.device.park_bytes, f"{state.device.id}: {sum(sizes)} bytes parked"


def _sent(core: Scheduler, state: DeviceState) -> list[tuple[str, int]]:
    """Return (model, sequence) of what loaded models of a device are sending elsewhere."""
    sending = [(c.steps[-1].model, c.source) for c in core.fleet.chains if c.holding and c.source]
    return [
        (model, content.sequence)
        for model, content in sending
        if content.entry is not None and content.entry is state.models.get(model)
    ]


def _check_slots(core: Scheduler, state: DeviceState, chains: list[Chain]) -> None:
    """No device runs more than its slots, no sequence slot serves two chains."""
    name, working = state.device.id, [c for c in chains if c.chunk is not None]
    assert len(working) <= state.device.slots, f"{name}: {len(working)} chains"
    taken = Counter([(c.steps[-1].model, c.sequence) for c in working if c.sequence >= 0])
    taken.update(_sent(core, state))
    for model, entry in state.models.items():
        for k, sequence in enumerate(entry.sequences):
            uses = taken[model, k]
            assert uses == int(sequence.busy), f"{name}: {model} slot {k} serves {uses} chains"


def _check_chains(core: Scheduler, state: DeviceState, chains: list[Chain]) -> None:
    """A chain runs or waits for one that does."""
    name = state.device.id
    assert state.healthy or not chains, f"{name}: lost, yet at work"
    running = [chain for chain in chains if chain.activity is not None]
    for chain in running:
        assert core.fleet.chain(chain.activity or 0) is chain, f"{name}: {chain} is unreachable"
    assert running or not chains or _sent(core, state), f"{name}: deadlock of {chains}"
    loading = [chain for chain in running if chain.steps[0].kind in ("load", "unload")]
    assert len(loading) <= 1, f"{name}: one loader for {loading}"


def _check_items(core: Scheduler) -> None:
    """Every open item of a live workflow waits for a twin or is in one chunk, wherever that is."""
    ready = [entry.chunk for entry in core.lifecycle.pool] + list(core.lifecycle.tools)
    running = [chain.chunk for chain in core.fleet.chains if chain.chunk is not None]
    instances = core.lifecycle.instances
    for chunk in ready:
        ended = instances[chunk.instance].workflow.status
        assert ended is None, f"{chunk} is ready in a workflow that is {ended}"
    of_instance = defaultdict[str, list[Chunk]](list)
    for chunk in ready + running + [delayed.chunk for delayed in core.lifecycle.delays]:
        of_instance[chunk.instance].append(chunk)
    for instance in instances.values():
        if instance.workflow.status is not None:
            continue
        waits = instance.borrowing
        assert waits <= instance.open_items, f"{instance.id}: {waits} wait, yet are over"
        chunks = of_instance[instance.id]
        held = Counter([i for chunk in chunks for i in range(chunk.start, chunk.stop)])
        held.update(waits)
        count = instance.open_chunks
        assert count == len(chunks), f"{instance.id} counts {count} chunks, {len(chunks)} exist"
        assert not instance.open_items or instance.status == "open", f"{instance.id}: items left"
        for item in instance.open_items:
            assert held[item] == 1, f"{instance.id}[{item}] is in {held[item]} chunks"


def _check_links(instance: Instance) -> None:
    """Counters agree with what they count; a stage begins when enough of its parents are done."""
    name, parents = instance.id, instance.parents
    left, counted = sum(not parent.ended for parent in parents), instance.parents_left
    assert counted == left, f"{name} counts {counted} parents, {left} are open"
    done, counted = sum(p.status == "done" for p in parents), instance.parents_done
    assert counted == done, f"{name} counts {counted} parents that are done, {done} are"
    join = instance.stage.join
    enough = not parents or (done and (not left or (join and done >= join)))
    began = instance.status in ("expanding", "open", "done")
    assert enough or not began, f"{name} began before its parents"
    due = enough or (parents and not left)
    waits = instance.status == "waiting" and instance.workflow.status is None
    assert not (waits and due), f"{name} waits for nothing"
    stages = instance.workflow.open_stages
    assert stages or instance.workflow.status is not None, f"{instance.workflow.id} has no end"


def _check_scopes(core: Scheduler) -> None:
    """A group goes on while a scope of it does; what was expected is gone when it is known."""
    for instance in core.lifecycle.instances.values():
        group, name = instance.group, instance.id
        if group is None:
            continue
        for scope in group.scopes.values():
            left = sum(not member.ended for member in scope.members)
            assert scope.left == left, f"{name}: scope {scope.index} counts {scope.left} of {left}"
        left = sum(scope.left > 0 for scope in group.scopes.values())
        assert group.left == left, f"{name} counts {group.left} scopes, {left} are open"
        known = bool(group.scopes) or instance.ended
        assert not (known and group.expected), f"{name} is revealed, yet expected"
        if instance.live:
            assert (instance.status == "open") == (left > 0), f"{name} is {instance.status}"
        assert not (instance.ended and (left or group.again)), f"{name} is over, yet goes on"


def _check_calls(core: Scheduler) -> None:
    """Every call knows how many calls that have not ended lead to it."""
    everybody = [*core.lifecycle.instances.values()]
    for instance in everybody:
        if instance.group is not None:
            everybody += [*instance.group.expected, *instance.group.again]
    leading = Counter(
        [
            call.number
            for instance in everybody
            if instance.stage.kind == "llm" and not instance.ended
            for call in instance.next_calls
        ]
    )
    for instance in everybody:
        counted, left = instance.calls_left, leading[instance.number]
        assert counted == left, f"{instance.id} counts {counted} calls, {left} lead to it"


def _check_totals(core: Scheduler) -> None:
    """A workflow counts the stages that have not ended, revealed ones too."""
    left = Counter([i.workflow.id for i in core.lifecycle.instances.values() if not i.ended])
    for workflow in core.lifecycle.workflows.values():
        counted = workflow.open_stages
        assert counted == left[workflow.id], f"{workflow.id} counts {counted} stages"


def _check_progress(core: Scheduler) -> None:
    """Work left means that something runs, is planned, is expanded, or waits for a device.

    A device that asked to be left alone is waited for, too.
    """
    lifecycle, fleet = core.lifecycle, core.fleet
    if not lifecycle.open_workflows or fleet.chains or core.planning:
        return
    if any(i.live and i.status == "expanding" for i in lifecycle.instances.values()):
        return
    pausing = [lifecycle.instances[delayed.chunk.instance] for delayed in lifecycle.delays]
    if any(instance.workflow.status is None for instance in pausing):
        return
    models, devices = fleet.cluster.models, fleet.devices
    assert len(lifecycle.pool), "work is left, yet nothing runs and nothing is ready"
    for ready in lifecycle.pool:
        model = models[ready.work.model]
        hosts = [
            s.device.id
            for s, breaker in zip(devices, core.watch.health.breakers, strict=True)
            if s.healthy and not (breaker.state == "open" and breaker.fault == "busy")
            if fleet.cluster.supports(s.device, model)
        ]
        assert not hosts, f"{ready.chunk} could run on {hosts}, yet nothing is being decided"
