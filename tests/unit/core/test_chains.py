"""A placement becomes a chain: unload, load, call; one event after the other."""

from tests.by_hand import ByHand, first
from tests.graphs import MIB, chain, cluster, llm

from fate.domain.catalog import Cluster, Device, Model
from fate.domain.graph import Graph, Stage
from fate.domain.messages import (
    Call,
    Cancel,
    Done,
    Expanded,
    ExpandFailed,
    Failed,
    ItemDone,
    Load,
    RequestPlan,
    Submitted,
    Unload,
    WorkflowEnded,
)
from fate.domain.plan import Prefetch

S0 = first("w")


def test_a_stage_goes_through_load_and_call() -> None:
    """Submitted, expanded, planned, loaded, called, done: one stage's life."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    assert hand.snapshot.chunks == (S0,)
    hand.plan((S0,))
    load = hand.one(Load)
    assert (load.device, load.model) == ("d0", "A")
    hand.loaded(load)
    call = hand.one(Call)
    assert (call.device, call.model, call.chunk, call.sequence) == ("d0", "A", S0, 0)
    hand.finished(call)
    assert hand.one(WorkflowEnded).status == "ok"
    assert hand.core.finished


def test_a_resident_model_is_called_at_once() -> None:
    """The second call of a model needs no load, and the snapshot says so."""
    hand = ByHand()
    hand.submit(chain("w", "AA"))
    hand.plan((S0,))
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.expand()
    assert hand.snapshot.resident[0].tolist() == [1, 0, 0]
    hand.plan((first("w", "s1"),))
    hand.none(Load)
    assert hand.one(Call).chunk == first("w", "s1")


def test_short_memory_is_freed_before_a_load() -> None:
    """70 MiB hold A or B: A goes first, and only then is B's memory reserved."""
    hand = ByHand()
    hand.warm("A")
    hand.submit(chain("w", "B"))
    hand.plan((S0,))
    unload = hand.one(Unload)
    assert unload.model == "A"
    hand.none(Load)
    state = hand.core.fleet.devices[0]
    assert state.reserved_bytes() == 33 * MIB
    hand.send(Done(activity=unload.activity, seconds=0.05))
    assert hand.one(Load).model == "B"
    assert state.reserved_bytes() == 48 * MIB
    hand.loaded(hand.one(Load))
    assert hand.one(Call).model == "B"


def test_models_stay_beside_each_other_where_they_fit() -> None:
    """100 MiB hold A and B; C needs the room of B only, the least recently used but one."""
    hand = ByHand(cluster(memory_mib=100))
    hand.warm("B")
    hand.warm("A")
    assert sorted(hand.core.fleet.devices[0].models) == ["A", "B"]
    hand.submit(chain("w", "C"))
    hand.plan((S0,))
    assert hand.one(Unload).model == "B"


def test_the_least_recently_used_model_goes_first() -> None:
    """Use, not load order, decides: A was loaded first but used last."""
    hand = ByHand(cluster(memory_mib=100))
    hand.warm("A")
    hand.warm("B")
    chunk = hand.submit_one("A", "again")
    hand.plan((chunk,))
    hand.finished(hand.one(Call))
    hand.submit(chain("w", "C"))
    hand.plan((S0,))
    assert [u.model for u in hand.all(Unload)] == ["B"]


def test_two_chains_share_one_load() -> None:
    """With two slots the second call waits for the load of the first, in a slot of its own."""
    hand = ByHand(cluster(devices=1, slots=2))
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((first("v"), S0))
    load = hand.one(Load)
    assert hand.core.fleet.free_slots(0) == 0
    hand.loaded(load)
    calls = hand.all(Call)
    assert [(call.chunk, call.sequence) for call in calls] == [(first("v"), 0), (S0, 1)]
    assert hand.core.fleet.chains[1].concurrency == 2


def test_a_model_in_use_is_not_evicted() -> None:
    """While A answers a call in one slot, B cannot come into the other."""
    hand = ByHand(cluster(devices=1, slots=2))
    hand.submit(chain("v", "A"), chain("w", "B"))
    hand.plan((first("v"), S0))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.plan((S0,))
    hand.none(Unload, Load)
    hand.finished(call)
    hand.plan((S0,))
    assert hand.one(Unload).model == "A"


def test_a_prompt_takes_the_sequence_that_holds_its_prefix() -> None:
    """A child that continues its parent's prompt goes to the parent's cache slot."""
    hand = ByHand(cluster(devices=1))
    other = Graph(id="v", stages=(llm("v", "s0", "A", system=10, own=300),))
    hand.submit(chain("w", "A"), other)
    hand.plan((S0, first("v")))
    hand.loaded(hand.one(Load))
    one = hand.one(Call)
    hand.finished(one)
    hand.plan((first("v"),))
    two = hand.one(Call)
    hand.finished(two)
    assert (one.sequence, two.sequence) == (0, 1)
    hand.submit(chain("u", "A"))
    hand.plan((first("u"),))
    assert hand.one(Call).sequence == 0


def test_a_strange_prompt_takes_the_oldest_sequence() -> None:
    """With nothing in common the least recently used slot is overwritten."""
    hand = ByHand(cluster(devices=1, sequences=2))
    for name in "abcd":
        stage = llm(name, "s0", "A", system=0, own=100)
        hand.submit(Graph(id=name, stages=(stage,)))
        hand.plan((first(name),))
        for load in hand.all(Load):
            hand.loaded(load)
        call = hand.one(Call)
        assert call.sequence == {"a": 0, "b": 1, "c": 0, "d": 1}[name]
        hand.finished(call)


def test_a_failed_call_leaves_its_sequence_empty() -> None:
    """Nobody knows how far the prompt got, so nothing is counted on."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("w", "A"))
    hand.plan((S0,))
    hand.loaded(hand.one(Load))
    hand.send(Failed(activity=hand.one(Call).activity, reason="broken"))
    assert hand.core.fleet.devices[0].models["A"].sequences[0].path == ()


def test_a_prefetch_is_a_load_without_a_call() -> None:
    """It takes no slot, it waits for the loader, and a call that comes meanwhile waits for it."""
    hand = ByHand(cluster(devices=1, memory_mib=100))
    hand.submit(chain("v", "A"), chain("w", "B"))
    hand.plan((first("v"),), prefetch=(Prefetch(0, 1),))
    assert hand.one(Load).model == "A"
    hand.loaded(hand.one(Load))
    load = hand.one(Load)
    assert load.model == "B"
    hand.finished(hand.one(Call))
    hand.plan((S0,))
    hand.none(Call, Load)
    hand.loaded(load)
    assert hand.one(Call).chunk == S0


def test_a_prefetch_never_evicts() -> None:
    """What fits only in the place of another model is not fetched ahead."""
    hand = ByHand(cluster(devices=1))
    hand.warm("A")
    hand.submit(chain("w", "AB"))
    hand.plan((S0,), prefetch=(Prefetch(0, 1), Prefetch(0, 0)))
    assert [type(command) for command in hand.out] == [Call]


def test_absurd_prefetches_are_ignored() -> None:
    """Indices out of range, lost devices and models a device may not run."""
    on = Cluster(
        devices=(
            Device(id="d0", engine="fake", memory_bytes=100 * MIB, models=("A",)),
            Device(id="d1", engine="fake", memory_bytes=40 * MIB),
        ),
        models=cluster().models,
    )
    hand = ByHand(on)
    hand.submit(chain("w", "A"))
    wishes = [(9, 0), (-1, 0), (0, 9), (0, -3), (0, 1), (1, 2)]
    hand.plan((), (), prefetch=tuple(Prefetch(d, m) for d, m in wishes))
    assert [load.model for load in hand.all(Load)] == ["A"]


def test_a_failed_prefetch_frees_those_who_wait_for_it() -> None:
    """The call goes back to the pool unharmed and loads for itself."""
    hand = ByHand(cluster(devices=1, memory_mib=100))
    hand.submit(chain("v", "A"), chain("w", "B"))
    hand.plan((first("v"),), prefetch=(Prefetch(0, 1),))
    hand.loaded(hand.one(Load))
    load = hand.one(Load)
    hand.finished(hand.one(Call))
    hand.plan((S0,))
    hand.send(Failed(activity=load.activity, reason="disk"))
    assert S0 in hand.snapshot.chunks
    assert hand.core.lifecycle.instances["w/s0"].failures == {}


def test_unmanaged_devices_load_nothing() -> None:
    """A remote server has its models; weights larger than our memory do not matter."""
    device = Device(
        id="api", engine="openai", memory_bytes=0, slots=2, prefix="none", managed=False
    )
    on = Cluster(devices=(device,), models=(Model(id="A", weight_bytes=1 << 40),))
    hand = ByHand(on)
    assert hand.core.fleet.devices[0].reserved_bytes() == 0
    hand.submit(chain("v", "A"), chain("w", "A"))
    assert hand.snapshot.pinned.tolist() == [[1]]
    assert hand.snapshot.resident.tolist() == [[1]]
    assert hand.snapshot.footprint_bytes.tolist() == [[0]]
    hand.plan((first("v"), S0))
    assert [(call.chunk, call.sequence) for call in hand.all(Call)] == [(first("v"), -1), (S0, -1)]


def test_a_failed_unload_ends_those_who_wait_for_the_load_behind_it() -> None:
    """Both calls go back to the pool; the model that would not go is still there."""
    hand = ByHand(cluster(devices=1, slots=2))
    hand.warm("A")
    hand.submit(chain("v", "B"), chain("w", "B"))
    hand.plan((first("v"), S0))
    hand.send(Failed(activity=hand.one(Unload).activity, reason="stuck"))
    assert set(hand.snapshot.chunks) == {first("v"), S0}
    assert hand.core.fleet.devices[0].models["A"].status == "resident"
    hand.plan((S0, first("v")))
    hand.send(Done(activity=hand.one(Unload).activity))
    hand.loaded(hand.one(Load))
    assert len(hand.all(Call)) == 2


def test_an_eviction_taken_back_is_made_up_for() -> None:
    """E counts on the room that D's chain clears; when that chain is given up, E clears it.

    T, C, B and A take 2 + 63 + 48 + 33 of 160 MiB. D (50) evicts T and C, which leaves 29 for E.
    """
    base = cluster(devices=1, memory_mib=160, slots=2)
    sizes = {"T": 2, "D": 50, "E": 29}
    more = tuple(Model(id=name, weight_bytes=mib * MIB) for name, mib in sizes.items())
    hand = ByHand(Cluster(devices=base.devices, models=(*base.models, *more)))
    for name in "TCBA":
        hand.warm(name)
    split = Stage(id="bad", kind="tool")
    hand.send(Submitted(graph=Graph(id="v", stages=(llm("v", "s0", "D"), split))))
    hand.send(Expanded(instance="v/s0"))
    hand.plan((first("v"),))
    unload = hand.one(Unload)
    hand.submit(chain("w", "E"))
    hand.plan((S0,))
    hand.none(Load, Unload)
    hand.send(ExpandFailed(instance="v/bad", reason="no such field"))
    hand.none(Cancel)
    hand.send(Done(activity=unload.activity))
    assert hand.one(Unload).model == "C"
    hand.send(Done(activity=hand.one(Unload).activity))
    assert hand.one(Load).model == "E"


def test_items_are_reported_one_by_one() -> None:
    """What an attempt has finished stays finished when it breaks off."""
    hand = ByHand(cluster(devices=1), chunk_s=60.0)
    hand.submit(Graph(id="w", stages=(llm("w", "s0", "A"),)))
    hand.plan((S0,))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.send(ItemDone(activity=call.activity, item=0, output_tokens=32))
    hand.none(RequestPlan, WorkflowEnded)
    hand.send(Failed(activity=call.activity, reason="connection reset", retryable=False))
    assert hand.one(WorkflowEnded).status == "ok"
