"""Pauses before another attempt, and the budget of a workflow."""

from typing import Any

import pytest
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster, map_reduce

from fate.core.delays import Delayed, Delays, pause_s
from fate.core.options import SchedulerOptions
from fate.domain.errors import FateError
from fate.domain.graph import Chunk, Graph, Stage
from fate.domain.messages import (
    Call,
    DeviceLost,
    Drained,
    Failed,
    ItemDone,
    Load,
    WakeAt,
    Woke,
    WorkflowEnded,
)


def mapping(**options: Any) -> tuple[ByHand, Call]:
    """A call over the four items of a map running on the first of two devices."""
    hand = ByHand(cluster(), **options)
    notes = map_reduce("w").stages[1]
    stage = Stage(
        id="notes", kind="llm", model="A", prompt=notes.prompt, output_tokens=32, mapped=True,
        items=4,
    )  # fmt: skip
    hand.submit(Graph(id="w", stages=(stage,)))
    hand.plan((first("w", "notes", 0, 2),))
    hand.loaded(hand.one(Load))
    return hand, hand.one(Call)


def test_only_the_item_that_failed_waits() -> None:
    """The rest of the chunk is ready at once, and the item when its pause is over."""
    hand, call = mapping(retry_backoff_s=8.0)
    hand.send(
        ItemDone(activity=call.activity, item=0),
        Failed(activity=call.activity, reason="broken"),
    )
    due_s = hand.now_s + 8.0
    assert hand.one(WakeAt).at_s == due_s
    assert [entry.chunk for entry in hand.core.lifecycle.pool] == [first("w", "notes", 2, 4)]
    hand.send(Woke(at_s=due_s), at_s=due_s)
    assert first("w", "notes", 1, 2) in [entry.chunk for entry in hand.core.lifecycle.pool]
    entry = hand.core.lifecycle.pool.get(first("w", "notes", 1, 2))
    assert entry is not None
    assert entry.avoid == {0}


def test_an_item_is_not_ready_before_its_time() -> None:
    """Whatever else happens meanwhile."""
    hand, call = mapping(retry_backoff_s=8.0)
    hand.send(Failed(activity=call.activity, reason="broken"))
    due_s = hand.now_s + 8.0
    hand.send(Woke(at_s=1.0), at_s=due_s - 0.1)
    assert hand.core.lifecycle.pool.get(first("w", "notes", 0, 1)) is None
    hand.send(Woke(at_s=due_s), at_s=due_s)
    assert hand.core.lifecycle.pool.get(first("w", "notes", 0, 1)) is not None


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.5), (2, 1.0), (3, 2.0), (40, 32.0)])
def test_pauses_double_up_to_a_bound(failures: int, seconds: float) -> None:
    """By the number of failures of that item."""
    assert pause_s(0.5, failures) == seconds


def test_what_is_due_comes_in_order() -> None:
    """First by time, then as it was put in."""
    delays = Delays()
    for due_s, name in [(2.0, "b"), (1.0, "a"), (2.0, "c"), (3.0, "d")]:
        delays.add(Delayed(due_s, Chunk(name, 0, 1), frozenset()))
    assert delays.next_s == 1.0
    assert [delayed.chunk.instance for delayed in delays.due(2.0)] == ["a", "b", "c"]
    assert len(delays) == 1
    assert Delays().next_s == float("inf")


def test_the_budget_of_a_workflow_counts_every_failed_attempt() -> None:
    """The first failure beyond it ends the workflow, though no item has used up its attempts."""
    hand, call = mapping(retry_budget=1, max_attempts=3)
    hand.send(Failed(activity=call.activity, reason="broken"))
    hand.none(WorkflowEnded)
    hand.plan((), (first("w", "notes", 2, 4),))
    hand.loaded(hand.one(Load))
    hand.send(Failed(activity=hand.one(Call).activity, reason="broken again"))
    end = hand.one(WorkflowEnded)
    assert end.status == "failed"
    assert "retry budget of 1" in end.reason
    assert end.reason.endswith("broken again")


def test_a_lost_device_delays_nobody() -> None:
    """A pause is for what failed; there is no reason to wait for another device."""
    hand, _ = mapping(retry_backoff_s=8.0)
    hand.send(DeviceLost(device="d0", reason="gone"))
    assert first("w", "notes", 0, 2) in [entry.chunk for entry in hand.core.lifecycle.pool]


def test_a_workflow_that_ends_takes_its_pauses_along() -> None:
    """What is due later is nobody's any more."""
    hand, call = mapping(retry_backoff_s=8.0)
    hand.send(Failed(activity=call.activity, reason="broken"))
    due_s = hand.now_s + 8.0
    hand.plan((), (first("w", "notes", 2, 4),))
    hand.loaded(hand.one(Load))
    hand.send(Failed(activity=hand.one(Call).activity, reason="bad", retryable=False))
    assert hand.one(WorkflowEnded).status == "failed"
    hand.send(Woke(at_s=due_s), at_s=due_s)
    assert hand.core.finished
    assert not len(hand.core.lifecycle.pool)


def test_a_device_that_asks_to_wait_is_left_alone_as_long() -> None:
    """Nobody is charged; the call may go elsewhere at once, and back when the time is over."""
    hand, call = mapping(max_attempts=1)
    hand.send(Failed(activity=call.activity, reason="slow down", wait_s=30.0))
    until_s = hand.now_s + 30.0
    drained = hand.one(Drained)
    assert (drained.device, drained.until_s) == ("d0", until_s)
    assert drained.reason == "busy: slow down" and drained.rests
    entry = hand.core.lifecycle.pool.get(first("w", "notes", 0, 2))
    assert entry is not None and not entry.avoid
    assert hand.core.fleet.free_slots(0) == 0 and hand.core.fleet.free_slots(1) > 0
    hand.send(Woke(at_s=until_s), at_s=until_s)
    assert hand.core.fleet.free_slots(0) == 1
    hand.none(WorkflowEnded)


def test_a_rest_that_is_prolonged_is_told_again() -> None:
    """By another call that was refused: views know until when it is."""
    hand, call = mapping(max_attempts=1)
    other = Failed(activity=call.activity, reason="slow down", wait_s=5.0)
    hand.send(other)
    first_s = hand.one(Drained).until_s
    health = hand.core.watch.health
    assert not health.rest(0, 400.0, "slow down", hand.now_s)
    assert health.rest(0, 2.0, "slow down", hand.now_s)
    aside = health.aside(0)
    assert aside is not None and aside.until_s == first_s and health.aside(1) is None
    until_s = hand.now_s + 9.0
    assert health.rest(0, 9.0, "slow down", hand.now_s)
    hand.send(Woke(at_s=hand.now_s))
    told = hand.one(Drained)
    assert told.until_s == until_s and told.rests


def test_the_only_device_is_not_tried_before_it_said() -> None:
    """Slow is better than none, but a server that wants to be left alone would refuse again."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("w", "A"))
    hand.plan((first("w", "s0"),))
    hand.loaded(hand.one(Load))
    hand.send(Failed(activity=hand.one(Call).activity, reason="slow down", wait_s=30.0))
    until_s = hand.now_s + 30.0
    hand.send(Woke(at_s=until_s - 1.0), at_s=until_s - 1.0)
    hand.none(Call)
    hand.send(Woke(at_s=until_s), at_s=until_s)
    hand.plan((first("w", "s0"),))
    hand.finished(hand.one(Call))
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_device_that_asks_to_wait_for_ever_fails() -> None:
    """After `max_rest_s` in all it is a failure like others."""
    hand, call = mapping(max_attempts=1, max_rest_s=40.0)
    hand.send(Failed(activity=call.activity, reason="slow down", wait_s=30.0))
    until_s = hand.now_s + 30.0
    hand.send(Woke(at_s=until_s), at_s=until_s)
    hand.plan((first("w", "notes", 0, 2),))
    hand.send(Failed(activity=hand.one(Call).activity, reason="slow down", wait_s=30.0))
    assert "attempt 1 of 1" in hand.one(WorkflowEnded).reason


@pytest.mark.parametrize(
    "wrong",
    [{"retry_backoff_s": -1.0}, {"retry_backoff_s": float("nan")}, {"retry_budget": -1},
     {"slow_factor": 1.0}, {"breaker_failures": 0}, {"cool_down_s": 0.0}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """Before a run begins."""
    with pytest.raises(FateError, match="options: "):
        SchedulerOptions(**wrong)  # pyright: ignore[reportArgumentType] - counts and seconds
