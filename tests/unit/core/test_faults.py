"""Attempts that fail, devices that go, runs that are stopped."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster, map_reduce

from fate.domain.errors import GraphError, NoFeasibleDeviceError, ProtocolError
from fate.domain.graph import Graph, Stage
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
    PlanLate,
    Planned,
    RequestPlan,
    RunTool,
    Submitted,
    WorkflowEnded,
)
from fate.domain.plan import Plan, Prefetch

V, W = first("v"), first("w")


def calling(devices: int = 2, **options: Any) -> tuple[ByHand, Call]:
    """One call running on the first device."""
    hand = ByHand(cluster(devices), **options)
    hand.submit(chain("w", "A"))
    hand.plan((W,))
    hand.loaded(hand.one(Load))
    return hand, hand.one(Call)


def mapping(**options: Any) -> tuple[ByHand, Call]:
    """A call over the four items of a map running on the only device."""
    hand = ByHand(cluster(devices=1), **options)
    notes = map_reduce("w").stages[1]
    stage = Stage(
        id="notes",
        kind="llm",
        model="A",
        prompt=notes.prompt,
        output_tokens=32,
        mapped=True,
        items=4,
    )
    hand.submit(Graph(id="w", stages=(stage,)))
    hand.plan((first("w", "notes", 0, 4),))
    hand.loaded(hand.one(Load))
    return hand, hand.one(Call)


# --- attempts ----------------------------------------------------------------------------


def test_a_failed_call_is_tried_elsewhere() -> None:
    """The chunk is ready again, and the device that failed it is no candidate while others are."""
    hand, call = calling()
    hand.send(Failed(activity=call.activity, reason="connection reset"))
    assert hand.snapshot.chunks == (W,)
    assert hand.snapshot.eligible.tolist() == [[0, 1]]


def test_the_only_device_is_tried_again() -> None:
    """A device that failed a chunk stays a candidate when there is no other."""
    hand, call = calling(devices=1)
    hand.send(Failed(activity=call.activity, reason="connection reset"))
    assert hand.snapshot.eligible.tolist() == [[1]]


def test_a_lost_device_is_no_alternative() -> None:
    """Better the device that failed once than one that is not there."""
    hand, call = calling()
    hand.send(DeviceLost(device="d1", reason="killed"))
    hand.send(Failed(activity=call.activity, reason="connection reset"))
    assert hand.snapshot.eligible.tolist() == [[1, 0]]


def test_the_proof_of_progress_avoids_the_failed_device_too() -> None:
    """An empty plan after a failure does not send the chunk back to where it failed."""
    hand, call = calling()
    hand.send(Failed(activity=call.activity, reason="connection reset"))
    hand.plan((), ())
    assert hand.one(Load).device == "d1"


def test_attempts_are_bounded() -> None:
    """After `max_attempts` the workflow fails with the last reason, named after the place."""
    hand, call = calling(devices=1, max_attempts=2)
    hand.send(Failed(activity=call.activity, reason="connection reset"))
    hand.plan((W,))
    hand.send(Failed(activity=hand.one(Call).activity, reason="connection refused"))
    end = hand.one(WorkflowEnded)
    assert end.status == "failed"
    assert end.reason == "w/s0: call on d0 failed (attempt 2 of 2): connection refused"
    assert hand.core.finished


def test_what_cannot_help_is_not_tried_again() -> None:
    """A failure that must repeat ends the workflow at once."""
    hand, call = calling()
    hand.send(Failed(activity=call.activity, reason="prompt over the context", retryable=False))
    assert hand.one(WorkflowEnded).reason == "w/s0: call on d0 failed: prompt over the context"


def test_only_missing_items_run_again() -> None:
    """Items 0 and 2 are done; 1 and 3 come back, each in a chunk of its own."""
    hand, call = mapping()
    for item in (0, 2):
        hand.send(ItemDone(activity=call.activity, item=item, output_tokens=30))
    hand.send(Failed(activity=call.activity, reason="connection reset"))
    assert hand.snapshot.chunks == (first("w", "notes", 1, 2), first("w", "notes", 3, 4))


def test_each_item_has_its_own_attempts() -> None:
    """A failure is charged to the item at which the attempt broke off."""
    hand, call = mapping(max_attempts=2)
    hand.send(Failed(activity=call.activity, reason="item 0"))
    hand.plan((first("w", "notes", 0, 4),))
    call = hand.one(Call)
    hand.send(ItemDone(activity=call.activity, item=0))
    hand.send(Failed(activity=call.activity, reason="item 1"))
    hand.none(WorkflowEnded)
    hand.plan((first("w", "notes", 1, 4),))
    hand.send(Failed(activity=hand.one(Call).activity, reason="item 1 again"))
    assert hand.one(WorkflowEnded).status == "failed"


def test_success_with_items_open_is_a_failure() -> None:
    """An engine that says done and has done half is not believed."""
    hand, call = mapping(max_attempts=1)
    hand.send(ItemDone(activity=call.activity, item=0))
    hand.send(Done(activity=call.activity))
    assert "reported success but 3 items are open" in hand.one(WorkflowEnded).reason


def test_an_item_counts_once() -> None:
    """Reported twice, it is learned from once and the rest is still expected."""
    hand, call = mapping()
    for _ in range(2):
        hand.send(ItemDone(activity=call.activity, item=0, output_tokens=30))
    assert hand.core.fleet.chains[0].items_done == 1
    assert hand.core.lifecycle.instances["w/notes"].open_items == {1, 2, 3}


def test_items_of_others_are_a_bug() -> None:
    """An activity can finish its own items only; anything else would corrupt the books."""
    hand, call = mapping()
    with pytest.raises(ProtocolError, match="cannot finish item 4"):
        hand.core.handle([ItemDone(activity=call.activity, item=4)], 9.0)


def test_outcomes_of_old_attempts_are_ignored() -> None:
    """A late success of the first attempt does not end the second."""
    hand, old = calling(devices=1)
    hand.send(Failed(activity=old.activity, reason="connection reset"))
    hand.plan((W,))
    new = hand.one(Call)
    assert new.activity != old.activity
    hand.send(ItemDone(activity=old.activity, item=0), Done(activity=old.activity))
    hand.send(Failed(activity=old.activity, reason="x"), Cancelled(activity=old.activity))
    assert hand.out == []
    assert hand.core.fleet.chain(new.activity) is not None


def test_a_failed_load_sends_everybody_elsewhere() -> None:
    """The chain that loaded is charged; the one that waited avoids the device as well."""
    hand = ByHand(cluster(slots=2))
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((V, W))
    hand.send(Failed(activity=hand.one(Load).activity, reason="no memory"))
    assert hand.core.fleet.devices[0].models == {}
    assert hand.snapshot.eligible.tolist() == [[0, 1], [0, 1]]
    failures = [hand.core.lifecycle.instances[f"{name}/s0"].failures for name in "vw"]
    assert failures == [{0: 1}, {}]


# --- devices -----------------------------------------------------------------------------


def test_work_of_a_lost_device_is_placed_again() -> None:
    """It is not a candidate while it is away, and empty when it is back."""
    hand, call = calling()
    hand.send(DeviceLost(device="d0", reason="killed"))
    assert hand.snapshot.eligible.tolist() == [[0, 1]]
    assert hand.snapshot.resident.sum() == 0
    assert hand.snapshot.free_at_s[0].tolist() == [float("inf")]
    hand.send(Done(activity=call.activity))
    hand.plan((), (W,))
    hand.send(DeviceReady(device="d0"))
    assert hand.core.fleet.free_slots(0) == 1


def test_nothing_starts_on_a_lost_device() -> None:
    """A plan made before the loss is not followed there."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    hand.send(DeviceLost(device="d0", reason="killed"))
    hand.plan((W,), ())
    assert hand.one(Load).device == "d1"


def test_what_was_to_start_in_the_same_batch_is_taken_back() -> None:
    """A plan and the loss of its device at once: no load is asked for."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("w", "A"))
    plan = Plan(policy="test", orders=((W,),))
    hand.send(Planned(version=hand.version, plan=plan), DeviceLost(device="d0", reason="killed"))
    assert hand.out == []


def test_work_waits_for_the_only_device_to_come_back() -> None:
    """With every device away nothing is planned; the first that is back is."""
    hand, _ = calling(devices=1)
    hand.send(DeviceLost(device="d0", reason="killed"))
    assert hand.out == []
    hand.send(DeviceReady(device="d0"))
    assert hand.one(RequestPlan).snapshot.chunks == (W,)


def test_a_device_given_up_fails_what_only_it_could_run() -> None:
    """Work that fits nowhere else ends with a reason, other work goes on."""
    base = cluster()
    small = replace(base.devices[1], models=("A",))
    on = replace(base, devices=(base.devices[0], small))
    hand = ByHand(on)
    hand.submit(chain("v", "A"), chain("w", "B"))
    hand.send(DeviceLost(device="d0", reason="killed"))
    hand.none(WorkflowEnded)
    hand.send(DeviceLost(device="d0", reason="cannot restart", final=True))
    end = hand.one(WorkflowEnded)
    assert (end.workflow, end.status) == ("w", "failed")
    assert end.reason == "w/s0: every device that can run 'B' is lost"
    hand.plan((), (V,))
    assert hand.one(Load).device == "d1"


def test_a_call_that_kills_devices_is_given_up() -> None:
    """A poisonous prompt must not bring one device down after the other for ever."""
    hand, _ = calling(devices=1, max_attempts=2)
    hand.send(DeviceLost(device="d0", reason="segfault"))
    hand.send(DeviceReady(device="d0"))
    hand.plan((W,))
    hand.send(DeviceLost(device="d0", reason="segfault"))
    assert hand.one(WorkflowEnded).reason == "w/s0: device d0 lost (attempt 2 of 2): segfault"


def test_a_device_lost_while_it_loads_frees_everything() -> None:
    """The load is not heard of again, and neither is the call that waited for it."""
    hand = ByHand(cluster(slots=2))
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((V, W))
    load = hand.one(Load)
    hand.send(DeviceLost(device="d0", reason="killed"))
    hand.loaded(load)
    assert hand.core.fleet.devices[0].models == {}
    assert set(hand.snapshot.chunks) == {V, W}


def test_a_lost_device_loses_its_prefetches() -> None:
    """The load that no call asked for ends as well, and charges nobody."""
    hand = ByHand(cluster(devices=1, memory_mib=100))
    hand.submit(chain("w", "A"))
    hand.plan((W,), prefetch=(Prefetch(0, 1),))
    hand.send(DeviceLost(device="d0", reason="killed"))
    assert hand.core.fleet.chains == []


# --- workflows that end ------------------------------------------------------------------


def test_a_workflow_that_fails_takes_its_running_work_along() -> None:
    """Calls are cancelled; the other workflow does not notice."""
    hand = ByHand()
    split = Stage(id="bad", kind="tool")
    doomed = Graph(id="w", stages=(*chain("w", "A").stages, split))
    hand.submit(chain("v", "A"))
    hand.send(Submitted(graph=doomed))
    hand.send(Expanded(instance="w/s0"))
    hand.plan((V,), ())
    hand.plan((), (W,))
    loads = [c.activity for c in hand.core.fleet.chains]
    for activity in loads:
        hand.send(Done(activity=activity or 0))
    call = next(c.activity for c in hand.core.fleet.chains if c.chunk == W)
    hand.send(ExpandFailed(instance="w/bad", reason="'notes' is undefined"))
    assert hand.one(WorkflowEnded).reason == "'notes' is undefined"
    assert hand.one(Cancel).activity == call
    hand.send(Cancelled(activity=call or 0))
    assert [c.chunk for c in hand.core.fleet.chains] == [V]


def test_a_load_of_a_dead_workflow_serves_the_living() -> None:
    """Loads are not cancelled: what a device holds stays known, and others may wait for it."""
    hand = ByHand(cluster(devices=1, slots=2))
    split = Stage(id="bad", kind="tool")
    hand.send(Submitted(graph=Graph(id="w", stages=(*chain("w", "A").stages, split))))
    hand.send(Expanded(instance="w/s0"))
    hand.plan((W,))
    load = hand.one(Load)
    hand.submit(chain("v", "A"))
    hand.plan((V,))
    hand.send(ExpandFailed(instance="w/bad", reason="broken"))
    hand.none(Cancel)
    hand.loaded(load)
    assert hand.one(Call).chunk == V
    hand.finished(hand.one(Call))
    assert hand.core.finished


def test_what_is_expanded_too_late_is_not_run() -> None:
    """The answer to an `Expand` may come after the end of its workflow."""
    hand = ByHand()
    hand.send(Submitted(graph=Graph(id="w", stages=chain("w", "A").stages)))
    hand.send(CancelAll())
    assert hand.one(WorkflowEnded).status == "cancelled"
    hand.send(Expanded(instance="w/s0"))
    assert hand.out == []
    assert hand.core.finished


# --- stop --------------------------------------------------------------------------------


def test_stop_while_planning() -> None:
    """The plan that comes afterwards starts nothing, and fetches nothing ahead."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    hand.send(CancelAll(reason="enough"))
    assert hand.one(WorkflowEnded).reason == "enough"
    assert hand.core.finished
    hand.plan((W,), prefetch=(Prefetch(0, 0),))
    assert hand.out == []
    hand.send(PlanLate(version=hand.version))
    assert hand.out == []


def test_stop_while_loading() -> None:
    """The load runs to its end, the call behind it never begins."""
    hand = ByHand()
    hand.submit(chain("w", "AB"))
    hand.plan((W,))
    load = hand.one(Load)
    hand.send(CancelAll())
    hand.none(Cancel)
    assert not hand.core.finished
    hand.loaded(load)
    assert hand.out == []
    assert hand.core.finished


def test_stop_while_calling() -> None:
    """The call is cancelled once, and what it has finished stays."""
    hand, call = mapping()
    hand.send(ItemDone(activity=call.activity, item=0))
    hand.send(CancelAll())
    assert hand.one(Cancel).activity == call.activity
    hand.send(CancelAll())
    assert hand.out == []
    hand.send(Cancelled(activity=call.activity))
    assert hand.core.finished
    assert hand.core.lifecycle.instances["w/notes"].open_items == {1, 2, 3}


def test_stop_when_the_call_is_quicker() -> None:
    """Its success counts as an end like any other."""
    hand, call = calling()
    hand.send(CancelAll())
    hand.finished(call)
    hand.none(Expand, WorkflowEnded)
    assert hand.core.finished


def test_stop_while_a_tool_runs_and_others_wait() -> None:
    """Queued tools are dropped."""
    hand = ByHand(cluster(tool_slots=1))
    tools = tuple(Stage(id=f"t{k}", kind="tool") for k in range(3))
    hand.submit(Graph(id="w", stages=tools))
    tool = hand.one(RunTool)
    hand.send(CancelAll())
    assert hand.one(Cancel).activity == tool.activity
    hand.send(Cancelled(activity=tool.activity))
    assert hand.core.finished
    assert hand.core.lifecycle.tools == []


def test_stop_with_blocked_chains() -> None:
    """A chain that waits for another's load ends at once."""
    hand = ByHand(cluster(devices=1, slots=2))
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((V, W))
    load = hand.one(Load)
    hand.send(CancelAll())
    assert [c.chunk for c in hand.core.fleet.chains] == [V]
    hand.loaded(load)
    assert hand.core.finished


def test_an_end_in_the_same_batch_needs_no_cancel() -> None:
    """The call ends while the run is stopped: nobody is asked to stop what is over."""
    hand, call = calling()
    hand.send(CancelAll(), ItemDone(activity=call.activity, item=0), Done(activity=call.activity))
    hand.none(Cancel)
    assert hand.core.finished


# --- bad input ---------------------------------------------------------------------------


def test_a_model_that_fits_nowhere_is_refused() -> None:
    """At submission, with what it needs and what there is."""
    hand = ByHand(cluster(memory_mib=40))
    with pytest.raises(NoFeasibleDeviceError, match=r"needs 48 MiB .* declares 40 MiB"):
        hand.core.handle([Submitted(graph=chain("w", "AB"))], 0.0)


def test_an_unknown_model_is_refused() -> None:
    """A graph that names a model the cluster has not."""
    with pytest.raises(GraphError, match="no model 'Z'"):
        ByHand().core.handle([Submitted(graph=chain("w", "Z"))], 0.0)


def test_a_workflow_is_submitted_once() -> None:
    """Ids are unique within a run."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    with pytest.raises(ProtocolError, match="submitted twice"):
        hand.core.handle([Submitted(graph=chain("w", "A"))], 9.0)


def test_an_instance_is_expanded_once() -> None:
    """A second expansion would run its items twice."""
    hand = ByHand()
    hand.submit(chain("w", "A"))
    with pytest.raises(ProtocolError, match="expanded while open"):
        hand.core.handle([Expanded(instance="w/s0")], 9.0)


def test_a_device_that_comes_back_after_all_is_used_again() -> None:
    """Nobody waited for it, and what could run nowhere else has failed; the rest may use it."""
    hand, _ = calling()
    hand.send(DeviceLost(device="d0", reason="cannot restart", final=True))
    hand.send(DeviceReady(device="d0"))
    hand.send(DeviceLost(device="d1", reason="cannot restart", final=True))
    hand.none(WorkflowEnded)
    hand.plan((W,))
    assert hand.one(Load).device == "d0"
