"""Devices that fail or lag are drained, and come back."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster, llm

from fate.domain.catalog import Link
from fate.domain.graph import Chunk, Graph
from fate.domain.messages import (
    Call,
    Cancel,
    Cancelled,
    DeviceLost,
    DeviceReady,
    Done,
    Drained,
    Failed,
    ItemDone,
    Load,
    Readmitted,
    WakeAt,
    Woke,
)

V, W, X, Y, Z = first("v"), first("w"), first("x"), first("y"), first("z")
#: A prompt of 310 and an answer of 32 tokens take model A .126 + .07 s.
NORMAL_S, SLOW_S = 0.1, 5.0


def calling(devices: int = 2, slots: int = 1, **options: Any) -> tuple[ByHand, Call]:
    """A call of `w` on the first device; `v`, `x`, `y` and `z` are ready."""
    hand = ByHand(cluster(devices, slots=slots), measured=True, **options)
    hand.submit(*[chain(name, "A") for name in "wvxyz"])
    hand.plan((W,))
    hand.loaded(hand.one(Load))
    return hand, hand.one(Call)


def item(call: Call, seconds: float) -> ItemDone:
    """A call's only item, after so many seconds of prefill and as many of decode."""
    return ItemDone(
        activity=call.activity,
        item=0,
        prompt_tokens=310,
        output_tokens=32,
        prefill_s=seconds,
        decode_s=seconds,
    )


def ends(hand: ByHand, call: Call, seconds: float) -> None:
    """A call ends after so many seconds twice."""
    hand.send(item(call, seconds), Done(activity=call.activity))


def next_call(hand: ByHand, chunk: Chunk, device: int = 0) -> Call:
    """Start a chunk on a device; its model is there."""
    orders: list[tuple[Chunk, ...]] = [(), ()]
    orders[device] = (chunk,)
    hand.plan(*orders)
    loads = hand.all(Load)
    if loads:
        hand.loaded(loads[0])
    return hand.one(Call)


def test_two_slow_items_in_a_row_drain_a_device() -> None:
    """It is no candidate any more, and the log says why and until when."""
    hand, call = calling(slots=2, cool_down_s=30.0)
    ends(hand, call, SLOW_S)
    hand.none(Drained)
    ends(hand, next_call(hand, V), SLOW_S)
    drained = hand.one(Drained)
    assert drained.device == "d0"
    assert drained.reason.startswith("slow: an item took 5")
    assert drained.until_s == hand.now_s + 30.0
    hand.plan((), (X,))
    hand.plan((Y,), ())
    hand.none(Load, Call)
    assert hand.snapshot.chunks == (Y, Z)
    assert hand.snapshot.eligible.tolist() == [[0, 1], [0, 1]]
    assert hand.snapshot.free_at_s[0].tolist() == [float("inf")] * 2


def test_slow_items_teach_nothing_and_normal_ones_do() -> None:
    """The estimate is as before."""
    hand, call = calling()
    before = hand.core.estimator.rates(0, 0)
    ends(hand, call, SLOW_S)
    assert hand.core.estimator.rates(0, 0) == before
    ends(hand, next_call(hand, V), NORMAL_S)
    assert hand.core.estimator.rates(0, 0) != before


def test_the_only_device_is_never_drained_and_its_slowness_is_learned() -> None:
    """Slow is better than nothing, and it is the new truth."""
    hand, call = calling(devices=1)
    before = hand.core.estimator.rates(0, 0)[0][1]
    ends(hand, call, SLOW_S)
    hand.plan((V,))
    ends(hand, hand.one(Call), SLOW_S)
    hand.none(Drained)
    assert hand.core.estimator.rates(0, 0)[0][1] > before


def test_estimates_that_are_guesses_condemn_nobody() -> None:
    """Who knows what the model takes here?"""
    hand = ByHand(cluster())
    hand.submit(chain("w", "A"), chain("v", "A"))
    hand.plan((W,))
    hand.loaded(hand.one(Load))
    ends(hand, hand.one(Call), SLOW_S)
    ends(hand, next_call(hand, V), SLOW_S)
    hand.none(Drained)


def drained(**options: Any) -> tuple[ByHand, float]:
    """The first device is drained, `x` is on the other, `y` and `z` are ready; until when?"""
    hand, call = calling(slots=2, **options)
    ends(hand, call, SLOW_S)
    ends(hand, next_call(hand, V), SLOW_S)
    until_s = hand.one(Drained).until_s
    hand.plan((), (X,))
    return hand, until_s


def cooled(**options: Any) -> ByHand:
    """The cool-down is over."""
    hand, until_s = drained(cool_down_s=7.0, **options)
    hand.send(Woke(at_s=until_s - 0.1), at_s=until_s - 0.1)
    assert min(command.at_s for command in hand.all(WakeAt)) == until_s
    assert not hand.core.fleet.devices[0].usable
    hand.send(Woke(at_s=until_s), at_s=until_s)
    hand.plan()
    return hand


def test_after_its_cool_down_a_device_gets_one_call_as_a_trial() -> None:
    """One that goes well ends it."""
    hand = cooled()
    assert hand.snapshot.eligible.tolist() == [[1, 1], [1, 1]]
    assert (hand.snapshot.free_at_s[0] <= hand.now_s).tolist() == [True, False]
    hand.plan((Y, Z))
    call = hand.one(Call)
    assert (call.device, call.chunk) == ("d0", Y)
    ends(hand, call, NORMAL_S)
    assert hand.one(Readmitted).device == "d0"


def test_a_slow_trial_drains_the_device_again_for_twice_as_long() -> None:
    """One item is enough."""
    hand = cooled()
    ends(hand, next_call(hand, Y), SLOW_S)
    assert hand.one(Drained).until_s == hand.now_s + 14.0


def test_a_failed_trial_drains_the_device_again() -> None:
    """One failure is enough."""
    hand = cooled()
    call = next_call(hand, Y)
    hand.send(Failed(activity=call.activity, reason="broken"))
    again = hand.one(Drained)
    assert again.until_s == hand.now_s + 14.0
    assert again.reason == "failing: 1 failure in a row, the last: broken"


def test_where_all_others_are_gone_a_drained_device_is_tried_at_once() -> None:
    """Waiting for its cool-down would be waiting for nothing."""
    hand, until_s = drained(cool_down_s=1000.0)
    hand.send(DeviceLost(device="d1", reason="gone"))
    hand.plan((Y,))
    assert hand.now_s < until_s
    assert hand.one(Call).device == "d0"


def test_a_call_that_takes_too_long_is_taken_away_and_not_charged() -> None:
    """The alarm is set when it starts; the work runs elsewhere and is not watched there."""
    hand, call = calling()
    due_s = min(command.at_s for command in hand.all(WakeAt))
    assert 2.0 < due_s - hand.now_s < 5.0
    hand.send(Woke(at_s=due_s), at_s=due_s)
    assert hand.one(Cancel).activity == call.activity
    assert "a call of A is not over after" in hand.one(Drained).reason
    hand.send(Cancelled(activity=call.activity))
    instance = hand.core.lifecycle.instances[W.instance]
    assert instance.failures == {}
    hand.plan((), (W,))
    hand.loaded(hand.one(Load))
    assert hand.one(Call).chunk == W
    later_s = hand.now_s + 100.0
    hand.send(Woke(at_s=later_s), at_s=later_s)
    hand.none(Cancel, Drained)


def test_a_load_that_takes_too_long_loses_its_call_to_another_device() -> None:
    """The load goes on, as nobody's, and its outcome is welcome."""
    hand = ByHand(cluster(), measured=True)
    hand.submit(chain("w", "A"))
    hand.plan((W,))
    load = hand.one(Load)
    due_s = min(command.at_s for command in hand.all(WakeAt))
    assert due_s == hand.now_s + 5 * 0.4 + 5.0
    hand.send(Woke(at_s=due_s), at_s=due_s)
    hand.none(Cancel)
    assert "a load of A is not over after" in hand.one(Drained).reason
    assert hand.snapshot.chunks == (W,)
    assert hand.snapshot.eligible.tolist() == [[0, 1]]
    hand.loaded(load)
    assert hand.core.fleet.devices[0].models["A"].status == "resident"


def test_long_answers_are_no_slowness() -> None:
    """A call may take as long as the longest answer it is allowed."""
    hand = ByHand(cluster(), measured=True)
    hand.submit(Graph(id="w", stages=(replace(chain("w", "A").stages[0], max_tokens=4600),)))
    hand.plan((W,))
    load_due_s = min(command.at_s for command in hand.all(WakeAt))
    hand.loaded(hand.one(Load))
    began_s = hand.now_s
    hand.send(Woke(at_s=load_due_s), at_s=load_due_s)
    assert min(command.at_s for command in hand.all(WakeAt)) > began_s + 5 * 4600 / 460


def failing(hand: ByHand, call: Call, *rest: Chunk) -> None:
    """Calls fail one after the other on the first device."""
    hand.send(Failed(activity=call.activity, reason="broken"))
    for chunk in rest:
        hand.none(Drained)
        hand.send(Failed(activity=next_call(hand, chunk).activity, reason="broken"))


def test_failures_in_a_row_drain_a_device() -> None:
    """Of different items; they are charged as failures always are."""
    hand, call = calling(breaker_failures=3)
    failing(hand, call, V, X)
    assert hand.one(Drained).reason == "failing: 3 failures in a row, the last: broken"
    assert hand.core.lifecycle.instances[W.instance].failures == {0: 1}


def test_work_that_cannot_be_done_condemns_no_device() -> None:
    """A prompt beyond the context fails everywhere."""
    hand, call = calling(breaker_failures=1)
    hand.send(Failed(activity=call.activity, reason="too long", retryable=False))
    hand.none(Drained)


def test_work_that_fails_elsewhere_too_acquits_the_first_device() -> None:
    """It is the answer that is wrong, not who gave it."""
    hand, call = calling(breaker_failures=1)
    hand.send(Failed(activity=call.activity, reason="not JSON"))
    assert hand.one(Drained).device == "d0"
    call = next_call(hand, W, device=1)
    hand.send(Failed(activity=call.activity, reason="not JSON"))
    assert hand.one(Readmitted).device == "d0"
    hand.none(Drained)


def test_a_device_that_is_lost_again_and_again_is_not_trusted_when_it_is_back() -> None:
    """Three times in a row without an item done."""
    hand, _ = calling(max_attempts=9)
    for n in range(3):
        hand.send(DeviceLost(device="d0", reason="crashed"))
        assert bool(hand.all(Drained)) == (n == 2)
        hand.send(DeviceReady(device="d0"))
    assert not hand.core.fleet.devices[0].usable


def test_other_calls_of_a_drained_device_go_elsewhere_too() -> None:
    """Its second slot is cleared as well."""
    hand = ByHand(cluster(devices=2, slots=2), measured=True, breaker_failures=1)
    hand.submit(chain("w", "A"), chain("v", "A"))
    hand.plan((W, V))
    hand.loaded(hand.one(Load))
    left, right = hand.all(Call)
    hand.send(Failed(activity=left.activity, reason="broken"))
    assert hand.one(Cancel).activity == right.activity
    hand.send(Cancelled(activity=right.activity))
    assert {entry.chunk for entry in hand.core.lifecycle.pool} == {W, V}
    assert hand.core.lifecycle.instances[V.instance].failures == {}


def test_a_call_that_fails_while_it_is_taken_away_is_not_charged() -> None:
    """The engine was asked to stop it."""
    hand = ByHand(cluster(devices=2, slots=2), measured=True, breaker_failures=1)
    hand.submit(chain("w", "A"), chain("v", "A"))
    hand.plan((W, V))
    hand.loaded(hand.one(Load))
    left, right = hand.all(Call)
    hand.send(Failed(activity=left.activity, reason="broken"))
    hand.send(Failed(activity=right.activity, reason="connection closed"))
    assert hand.core.lifecycle.instances[V.instance].failures == {}


def test_gathering_outputs_is_part_of_a_call_and_no_slowness() -> None:
    """9 s over a link before a call of .2 s: it is expected to take both, and no device is blamed.

    The limit is five times that, and 2 s.
    """
    links = (Link(source="d0", target="d1", bytes_per_s=1e6, latency_s=1.0),)
    hand = ByHand(replace(cluster(), links=links), measured=True)
    parent = replace(llm("w", "s0", "A"), output_bytes=8_000_000)
    hand.submit(Graph(id="w", stages=(parent, llm("w", "s1", "A", ["s0"]))))
    hand.plan((W,))
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.expand()
    hand.plan((), (Chunk("w/s1", 0, 1),))
    hand.loaded(hand.one(Load))
    (at_work,) = hand.core.fleet.chains
    call_s = at_work.steps[0].expected_s
    assert at_work.expected_end_s(hand.now_s) == pytest.approx(hand.now_s + 9.0 + call_s)
    began_s, look_s = hand.now_s, hand.core.watch.next_s
    hand.send(Woke(at_s=look_s), at_s=look_s)  # when a load would have been over for long
    assert not hand.all(Drained)
    due_s = hand.core.watch.next_s
    assert due_s > began_s + 5 * 9.0
    hand.send(Woke(at_s=due_s), at_s=due_s)
    assert hand.one(Drained).device == "d1"


def test_what_was_gathered_before_the_first_item_is_not_expected_again() -> None:
    """A map's second item starts where the first has ended."""
    links = (Link(source="d0", target="d1", bytes_per_s=1e6, latency_s=1.0),)
    hand = ByHand(replace(cluster(), links=links), chunk_s=100.0)
    parent = replace(llm("w", "s0", "A"), output_bytes=8_000_000)
    both = replace(llm("w", "s1", "A", ["s0"]), mapped=True, items=4)
    hand.submit(Graph(id="w", stages=(parent, both)))
    hand.plan((W,))
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.expand()
    hand.plan((), (Chunk("w/s1", 0, 2),))
    hand.loaded(hand.one(Load))
    (at_work,) = hand.core.fleet.chains
    call_s = at_work.steps[0].expected_s
    assert at_work.expected_end_s(hand.now_s) == pytest.approx(hand.now_s + 9.0 + call_s)
    activity = hand.one(Call).activity
    hand.send(ItemDone(activity=activity, item=0, output_tokens=32))
    assert at_work.expected_end_s(hand.now_s) == pytest.approx(hand.now_s + call_s / 2)
