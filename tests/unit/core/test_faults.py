"""Attempts that fail, devices that go, runs that are stopped."""

import pytest
from msgspec import structs
from tests.by_hand import ByHand, first
from tests.graphs import MIB, chain, cluster, llm, map_reduce

from fate.domain.catalog import Cluster, Device
from fate.domain.errors import GraphError, NoFeasibleDeviceError, ProtocolError
from fate.domain.graph import Chunk, Graph, Stage
from fate.domain.messages import (
    Call,
    Cancel,
    CancelAll,
    Cancelled,
    DeviceLost,
    DeviceReady,
    Done,
    Expand,
    Expanded,
    ExpandFailed,
    Failed,
    ItemDone,
    Load,
    RequestPlan,
    RunTool,
    Submitted,
    WorkflowEnded,
)
from fate.domain.plan import Prefetch

S0 = first("w")


def calling(hand: ByHand, *, device: int = 0) -> Call:
    """Bring the first call of workflow `w` to where it runs."""
    orders: list[tuple[Chunk, ...]] = [() for _ in hand.cluster.devices]
    orders[device] = (hand.snapshot.chunks[0],)
    hand.plan(*orders)
    for load in hand.all(Load):
        hand.loaded(load)
    return hand.one(Call)


def mapped(items: int, max_attempts: int = 3) -> ByHand:
    """A map over model A, ready, in one chunk on one device."""
    hand = ByHand(cluster(devices=1), chunk_s=60.0, max_attempts=max_attempts)
    stage = structs.replace(llm("w", "s0", "A"), mapped=True, items=items)
    hand.submit(Graph(id="w", stages=(stage,)))
    return hand


def test_only_missing_items_run_again() -> None:
    """Items 0 and 1 of 4 were done when the attempt failed: the next one starts at 2."""
    hand = mapped(4)
    call = calling(hand)
    assert call.chunk == first("w", stop=4)
    done = [ItemDone(activity=call.activity, item=item, output_tokens=32) for item in (0, 1)]
    hand.send(*done)
    hand.send(Failed(activity=call.activity, reason="reset"))
    assert hand.snapshot.chunks == (first("w", start=2, stop=4),)
    again = calling(hand)
    assert again.activity > call.activity
    hand.finished(again)
    assert hand.one(WorkflowEnded).status == "ok"


def test_items_done_out_of_order_leave_a_chunk_for_each_gap() -> None:
    """Missing items that are not neighbours become chunks of their own."""
    hand = mapped(5)
    call = calling(hand)
    hand.send(*[ItemDone(activity=call.activity, item=item) for item in (1, 3)])
    hand.send(Failed(activity=call.activity, reason="reset"))
    assert hand.snapshot.chunks == tuple(first("w", start=i, stop=i + 1) for i in (0, 2, 4))


def test_a_retry_avoids_the_device_that_failed() -> None:
    """The snapshot takes d0 out; the plan may still be overruled by nothing but necessity."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    hand.send(Failed(activity=calling(hand).activity, reason="broken"))
    assert hand.snapshot.eligible.tolist() == [[0, 1]]
    second = calling(hand, device=1)
    hand.send(Failed(activity=second.activity, reason="broken"))
    assert hand.snapshot.eligible.tolist() == [[1, 1]], "with no other device left, any will do"


def test_attempts_are_bounded() -> None:
    """After `max_attempts` the workflow fails, and says what failed, where, how often and why."""
    hand = ByHand(max_attempts=2)
    hand.submit(chain("w", "AB"))
    hand.send(Failed(activity=calling(hand).activity, reason="first"))
    hand.none(WorkflowEnded)
    hand.send(Failed(activity=calling(hand, device=1).activity, reason="out of memory"))
    end = hand.one(WorkflowEnded)
    assert end.status == "failed"
    assert end.reason == "w/s0: call on d1 failed (attempt 2 of 2): out of memory"
    assert hand.core.finished


def test_attempts_are_counted_by_item() -> None:
    """A chunk that gets a little further each time is not one that fails again and again."""
    hand = mapped(4, max_attempts=2)
    for item in range(3):
        call = calling(hand)
        assert call.chunk == first("w", start=item, stop=4)
        hand.send(ItemDone(activity=call.activity, item=item))
        hand.send(Failed(activity=call.activity, reason="flaky"))
        hand.none(WorkflowEnded)
    hand.finished(calling(hand))
    assert hand.one(WorkflowEnded).status == "ok"


def test_hopeless_calls_are_not_repeated() -> None:
    """An engine that says a retry must fail alike is believed."""
    hand = ByHand()
    hand.submit(chain("w", "AB"))
    call = calling(hand)
    hand.send(Failed(activity=call.activity, reason="prompt too long", retryable=False))
    assert hand.one(WorkflowEnded).reason == "w/s0: call on d0 failed: prompt too long"
    hand.none(RequestPlan)


def test_a_failed_load_is_tried_elsewhere() -> None:
    """The model is not there, the memory is free again, and the call avoids the device."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    hand.plan((S0,))
    hand.send(Failed(activity=hand.one(Load).activity, reason="bad file"))
    assert hand.core.fleet.devices[0].models == {}
    assert hand.snapshot.eligible.tolist() == [[0, 1]]


def test_a_failed_load_counts_against_the_call_it_was_for_only() -> None:
    """A second call that waited for the load goes back without a failed attempt."""
    hand = ByHand(cluster(devices=1, slots=2))
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((first("v"), S0))
    hand.send(Failed(activity=hand.one(Load).activity, reason="bad file"))
    instances = hand.core.lifecycle.instances
    assert instances["v/s0"].failures == {0: 1}
    assert instances["w/s0"].failures == {}
    assert set(hand.snapshot.chunks) == {first("v"), S0}


def test_success_without_items_is_a_failure() -> None:
    """An engine that reports the end of a chunk it did not work through is not believed."""
    hand = mapped(3, max_attempts=2)
    call = calling(hand)
    hand.send(ItemDone(activity=call.activity, item=0), Done(activity=call.activity))
    assert hand.snapshot.chunks == (first("w", start=1, stop=3),)
    hand.none(WorkflowEnded)
    hand.send(Done(activity=calling(hand).activity))
    assert "the engine reported success but 2 items are open" in hand.one(WorkflowEnded).reason


def test_items_twice_or_by_old_attempts_change_nothing() -> None:
    """Reports are idempotent; those of attempts that ended are not even looked at."""
    hand = mapped(2)
    call = calling(hand)
    item = ItemDone(activity=call.activity, item=0, output_tokens=900)
    hand.send(item, item)
    hand.send(Failed(activity=call.activity, reason="reset"))
    lengths = hand.core.lifecycle.expected_tokens(
        hand.core.lifecycle.instances["w/s0"].stage,
    )
    assert lengths == pytest.approx((2 * 32 + 900) / 3)
    late = ItemDone(activity=call.activity, item=1)
    assert hand.send(late, Done(activity=call.activity)) == []
    assert hand.core.lifecycle.is_open("w/s0", 1)


def test_an_item_of_somebody_else_is_a_bug_of_the_driver() -> None:
    """Only items of the chunk being worked on can be finished."""
    hand = mapped(2)
    call = calling(hand)
    with pytest.raises(ProtocolError, match="cannot finish item 7"):
        hand.send(ItemDone(activity=call.activity, item=7))


def test_a_lost_device_takes_its_work_with_it() -> None:
    """Call and residency are gone; the missing item is ready again, for any healthy device."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    call = calling(hand)
    hand.send(DeviceLost(device="d0", reason="killed"))
    assert hand.snapshot.chunks == (S0,)
    assert hand.snapshot.eligible.tolist() == [[0, 1]]
    assert hand.snapshot.resident.sum() == 0
    assert hand.snapshot.idle() == [1]
    hand.none(Cancel)
    assert hand.send(ItemDone(activity=call.activity, item=0), Done(activity=call.activity)) == []
    hand.plan((S0,), ())
    assert hand.one(Load).device == "d1", "the plan's device is lost: progress needs the other"


def test_a_device_that_comes_back_is_empty() -> None:
    """It is planned for again, and the model has to be loaded anew."""
    hand = ByHand(cluster(devices=1))
    hand.warm("A")
    hand.submit(chain("w", "A"))
    hand.send(DeviceLost(device="d0", reason="killed"))
    assert hand.snapshot.eligible.tolist() == [[1]], "asked before the loss"
    hand.plan((S0,))
    hand.none(Load, Call)
    hand.send(DeviceReady(device="d0"))
    assert hand.snapshot.resident.sum() == 0
    hand.plan((S0,))
    hand.loaded(hand.one(Load))
    assert hand.one(Call).chunk == S0


def test_a_device_lost_while_it_loads_frees_everything() -> None:
    """Neither the load nor the calls that waited for it are heard of again."""
    hand = ByHand(cluster(devices=1, slots=2))
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((first("v"), S0))
    load = hand.one(Load)
    hand.send(DeviceLost(device="d0", reason="killed"))
    assert hand.core.fleet.chains == []
    hand.send(DeviceReady(device="d0"))
    assert hand.send(Done(activity=load.activity, seconds=1.0)) == []
    hand.plan((S0, first("v")))
    assert len(hand.all(Load)) == 1


def test_losing_devices_again_and_again_is_bounded_too() -> None:
    """A call that kills every device it meets fails its workflow in the end."""
    hand = ByHand(cluster(devices=1), max_attempts=2)
    hand.submit(chain("w", "A"))
    calling(hand)
    hand.send(DeviceLost(device="d0", reason="segfault"))
    hand.none(WorkflowEnded)
    hand.send(DeviceReady(device="d0"))
    calling(hand)
    hand.send(DeviceLost(device="d0", reason="segfault"))
    assert hand.one(WorkflowEnded).reason == "w/s0: device d0 lost (attempt 2 of 2): segfault"


def test_a_device_lost_for_good_fails_what_only_it_could_run() -> None:
    """C fits on d0 only; A goes on elsewhere."""
    devices = (
        Device(id="d0", engine="fake", memory_bytes=70 * MIB),
        Device(id="d1", engine="fake", memory_bytes=40 * MIB),
    )
    hand = ByHand(Cluster(devices=devices, models=cluster().models))
    hand.submit(chain("v", "C"), chain("w", "A"))
    hand.send(DeviceLost(device="d0", reason="killed"))
    hand.none(WorkflowEnded)
    hand.send(DeviceLost(device="d0", reason="no restart helps", final=True))
    end = hand.one(WorkflowEnded)
    assert (end.workflow, end.status) == ("v", "failed")
    assert end.reason == "v/s0: every device that can run 'C' is lost"
    hand.plan((), (S0,))
    assert hand.one(Load).device == "d1"


def test_an_instance_that_cannot_be_rendered_fails_its_workflow() -> None:
    """What else runs of the workflow is cancelled; other workflows do not notice."""
    hand = ByHand()
    stages = (llm("v", "s0", "A"), Stage(id="bad", kind="tool"))
    hand.send(Submitted(graph=Graph(id="v", stages=stages)))
    hand.send(Expanded(instance="v/s0"))
    hand.submit(chain("w", "A"))
    hand.plan((first("v"),), (S0,))
    loads = hand.all(Load)
    hand.loaded(loads[0])
    call = hand.one(Call)
    hand.send(ExpandFailed(instance="v/bad", reason="prompt: no such field"))
    assert hand.one(WorkflowEnded).reason == "prompt: no such field"
    assert hand.one(Cancel).activity == call.activity
    hand.send(Cancelled(activity=call.activity))
    hand.loaded(loads[1])
    hand.finished(hand.one(Call))
    assert hand.one(WorkflowEnded).status == "ok"


@pytest.mark.parametrize("phase", ["submitted", "ready", "loading", "calling", "tool", "prefetch"])
def test_stopping(phase: str) -> None:
    """Calls and tools are cancelled, loads run to their end, then nothing is left."""
    hand = ByHand(cluster(devices=1, memory_mib=100))
    if phase == "submitted":
        hand.send(Submitted(graph=chain("w", "AB")))
    elif phase == "tool":
        hand.submit(map_reduce("w"))
    else:
        hand.submit(chain("w", "AB"))
    if phase in ("loading", "calling", "prefetch"):
        prefetch = (Prefetch(0, 1),) if phase == "prefetch" else ()
        hand.plan((S0,), prefetch=prefetch)
    running = [c for c in hand.out if isinstance(c, Load | RunTool)]
    if phase == "calling":
        hand.loaded(hand.one(Load))
        running = [hand.one(Call)]
    hand.send(CancelAll(reason="enough"))
    end = hand.one(WorkflowEnded)
    assert (end.status, end.reason) == ("cancelled", "enough")
    cancelled = [c.activity for c in hand.all(Cancel)]
    assert cancelled == [c.activity for c in running if not isinstance(c, Load)]
    for command in running:
        if isinstance(command, Load):
            hand.loaded(command)
        else:
            hand.send(Cancelled(activity=command.activity))
        hand.none(Call, Load, Expand, RequestPlan)
    assert hand.core.finished


def test_stopping_twice_says_so_once() -> None:
    """The second stop finds nothing to end and cancels nothing again."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    calling(hand)
    hand.send(CancelAll())
    hand.one(Cancel)
    assert hand.send(CancelAll()) == []


def test_an_outcome_quicker_than_its_cancellation_counts() -> None:
    """A call that ended while it was being cancelled is over all the same."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    call = calling(hand)
    hand.send(CancelAll())
    hand.finished(call)
    assert hand.core.finished
    assert hand.send(Cancelled(activity=call.activity)) == []


def test_a_model_that_fits_nowhere_is_refused_at_submission() -> None:
    """The error says what needs how much, and what there is."""
    hand = ByHand(cluster(memory_mib=50))
    with pytest.raises(NoFeasibleDeviceError, match=r"'s1': model 'C' needs 63 MiB.*declares 50"):
        hand.send(Submitted(graph=chain("w", "AC")))


def test_a_model_nobody_knows_is_refused_at_submission() -> None:
    """A graph that names a model outside the cluster does not get in."""
    hand = ByHand()
    with pytest.raises(GraphError, match="'s0': no model 'X'"):
        hand.send(Submitted(graph=Graph(id="w", stages=(llm("w", "s0", "X"),))))


def test_a_workflow_is_submitted_once() -> None:
    """Ids are the driver's to keep apart."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    with pytest.raises(ProtocolError, match="twice"):
        hand.send(Submitted(graph=chain("w", "A")))


def test_an_instance_is_expanded_once() -> None:
    """A second rendering would double its items."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    with pytest.raises(ProtocolError, match="while open"):
        hand.send(Expanded(instance="w/s0"))
