"""When the core plans, and what it makes of plans that are late, stale, absurd or empty."""

import pytest
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster, llm

from fate.domain.graph import Chunk, Graph
from fate.domain.messages import (
    Call,
    Done,
    Load,
    PlanFailed,
    PlanLate,
    Planned,
    RequestPlan,
    Unload,
    WakeAt,
    Woke,
)
from fate.domain.plan import Memo, Plan

V, W, U = first("v"), first("w"), first("u")


def three() -> ByHand:
    """Three calls of model A ready on two devices."""
    hand = ByHand()
    hand.submit(chain("v", "A"), chain("w", "A"), chain("u", "A"))
    return hand


def test_only_heads_start() -> None:
    """One slot, one call: the rest of a list was advice."""
    hand = three()
    hand.plan((V, W), (U,))
    assert [load.device for load in hand.all(Load)] == ["d0", "d1"]
    assert set(hand.core.lifecycle.pool) == {hand.core.lifecycle.pool.get(W)}


def test_one_plan_at_a_time() -> None:
    """What happens while a plan is made goes into the next request."""
    hand = three()
    version = hand.version
    hand.submit(chain("t", "A"))
    hand.none(RequestPlan)
    hand.plan((V,))
    assert hand.one(RequestPlan).version == version + 1
    assert first("t") in hand.snapshot.chunks


def test_nothing_is_asked_while_every_device_is_busy() -> None:
    """Nobody could use the answer; it is asked for when a slot is free."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("v", "A"), chain("w", "A"))
    hand.plan((V,))
    hand.none(RequestPlan)
    hand.loaded(hand.one(Load))
    hand.none(RequestPlan)
    hand.finished(hand.one(Call))
    assert hand.one(RequestPlan).snapshot.chunks == (W,)


def test_early_binding_plans_whenever_work_arrives() -> None:
    """An eager policy sees all ready work at once, though every device is busy."""
    hand = ByHand(cluster(devices=1), eager=True, frontier_min=1, frontier_per_device=1)
    hand.submit(chain("v", "A"), chain("w", "A"), chain("u", "A"))
    assert hand.snapshot.frontier == 3
    hand.plan((V,))
    hand.submit(chain("t", "A"))
    assert hand.one(RequestPlan).snapshot.chunks == (W, U, first("t"))


def test_no_plan_is_asked_for_while_stages_are_being_rendered() -> None:
    """The call that a parent's end makes ready is part of the decision its device waits for."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("v", "AA"), chain("w", "A"))
    hand.plan((V,))
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.none(RequestPlan)
    hand.expand()
    assert hand.one(RequestPlan).snapshot.chunks == (W, Chunk("v/s1", 0, 1))


def test_a_plan_may_wait_for_a_busy_device() -> None:
    """An idle device with an empty list stays idle, as long as something runs."""
    hand = three()
    hand.plan((V,), ())
    hand.none(RequestPlan)
    hand.loaded(hand.one(Load))
    hand.none(Load)
    assert hand.one(RequestPlan).snapshot.idle() == [1]


def test_stale_parts_of_a_plan_are_dropped() -> None:
    """Chunks that are gone, never were or run elsewhere do not stop the others."""
    hand = three()
    gone = first("nobody")
    hand.plan((gone, V), (V, W))
    assert [load.device for load in hand.all(Load)] == ["d0", "d1"]
    assert {c.chunk for c in hand.core.fleet.chains} == {V, W}


def test_answers_to_old_requests_are_ignored() -> None:
    """Only the request in flight can be answered, and only once."""
    hand = three()
    version = hand.version
    plan = Plan(policy="test", orders=((V,), ()))
    hand.send(Planned(version=version - 1, plan=plan), PlanFailed(version=99, reason="x"))
    assert hand.out == []
    hand.plan((V,), ())
    hand.send(Planned(version=version, plan=Plan(policy="test", orders=((), (W,)))))
    hand.none(Load)


def test_a_plan_with_too_many_lists_does_no_harm() -> None:
    """Lists for devices that do not exist are not looked at."""
    hand = three()
    hand.plan((V,), (W,), (U,))
    assert len(hand.all(Load)) == 2


def test_the_memo_comes_back_with_the_next_request() -> None:
    """It is the policy's only memory; a failed plan does not lose it."""
    hand = three()
    memo = Memo(cursor=7)
    plan = Plan(policy="test", orders=((V,), ()), memo=memo)
    hand.send(Planned(version=hand.version, plan=plan))
    hand.submit(chain("t", "A"))
    assert hand.request.memo == memo
    hand.send(PlanFailed(version=hand.version, reason="a bug"))
    hand.submit(chain("s", "A"))
    assert hand.request.memo == memo


def test_a_failed_plan_falls_back_to_greedy() -> None:
    """The two idle devices get work at once, and the next request is made as ever."""
    hand = three()
    hand.send(PlanFailed(version=hand.version, reason="ZeroDivisionError"))
    assert len(hand.all(Load)) == 2
    assert not hand.core.planning


def test_a_late_plan_falls_back_to_greedy_until_it_comes() -> None:
    """A policy that never answers delays nothing but the first decision."""
    hand = three()
    hand.send(PlanLate(version=hand.version))
    loads = hand.all(Load)
    assert len(loads) == 2
    hand.loaded(loads[0])
    hand.finished(hand.one(Call))
    assert hand.one(Call).device == "d0"
    assert hand.core.planning


def test_a_late_plan_still_counts_when_it_comes() -> None:
    """Its stale parts are dropped, and from then on idle devices wait for plans again."""
    hand = ByHand()
    hand.submit(chain("v", "A"))
    hand.send(PlanLate(version=hand.version))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.plan((V,), ())
    hand.submit(chain("w", "A"))
    hand.plan((), ())
    hand.finished(call)
    hand.none(Load, Call)
    assert hand.one(RequestPlan).snapshot.chunks == (W,)


@pytest.mark.parametrize("answers", ["empty", "impossible"])
def test_a_policy_that_gives_nothing_does_not_stop_the_run(answers: str) -> None:
    """The proof of progress: with work ready and nothing running, something starts."""
    hand = three()
    orders = ((), ()) if answers == "empty" else ((first("x"),), (first("y"),))
    for expected in (V, W, U):
        hand.plan(*orders)
        assert [c.chunk for c in hand.core.fleet.chains] == [expected]
        for load in hand.all(Load):
            hand.loaded(load)
        hand.finished(hand.one(Call))
    assert hand.core.finished


def test_waiting_has_a_bound() -> None:
    """After `max_wait_s` a chunk takes the first free device that can run it, plan or no plan."""
    hand = ByHand(max_wait_s={"default": 10.0})
    hand.submit(chain("v", "A"), chain("w", "B"))
    assert hand.one(WakeAt).at_s == hand.now_s + 10.0
    due_s = hand.one(WakeAt).at_s
    hand.plan((V,), ())
    hand.send(Woke(at_s=due_s), at_s=due_s)
    assert hand.one(Load).device == "d1"


def test_overdue_chunks_are_shown_and_lead_the_fallback() -> None:
    """A snapshot marks what is over its bound; with all devices busy it waits, then goes first."""
    hand = ByHand(cluster(devices=1), max_wait_s={"default": 10.0})
    hand.submit(chain("v", "A"), chain("w", "B"))
    hand.plan((V,))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.send(at_s=20.0)
    hand.submit(chain("u", "A"))
    hand.finished(call)
    assert [chain.chunk for chain in hand.core.fleet.chains] == [W]


def test_a_backlog_over_its_bound_keeps_the_plan() -> None:
    """A forced device goes by the plan again until the forced work was a tenth of its time."""
    hand = ByHand(cluster(devices=1), max_wait_s={"default": 10.0})
    hand.submit(chain("u", "A"), chain("v", "B"), chain("w", "A"))
    hand.plan((U,))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.send(Woke(at_s=20.0), at_s=20.0)
    hand.finished(call)
    forced, forced_at_s = hand.core.fleet.chains[0], hand.now_s
    assert forced.chunk == V
    takes_s = sum(step.expected_s for step in forced.steps)
    hand.send(Done(activity=hand.one(Unload).activity))
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    assert not hand.core.fleet.chains
    assert hand.one(WakeAt).at_s == pytest.approx(forced_at_s + takes_s / 0.1)
    hand.plan((W,))
    assert [chain.chunk for chain in hand.core.fleet.chains] == [W]


def test_wait_classes_have_their_own_bounds() -> None:
    """An interactive workflow that comes later is due earlier, and rings earlier."""
    hand = ByHand(max_wait_s={"default": 100.0, "interactive": 5.0})
    hand.submit(chain("v", "A"))
    assert hand.one(WakeAt).at_s == pytest.approx(hand.now_s + 100.0)
    stage = llm("w", "s0", "A")
    hand.submit(Graph(id="w", stages=(stage,), wait_class="interactive"))
    assert hand.one(WakeAt).at_s == pytest.approx(hand.now_s + 5.0)


def test_an_overdue_chunk_keeps_its_device_free_of_others() -> None:
    """B cannot evict A while A is in use; the free slot is kept for it, or it would never start."""
    hand = ByHand(cluster(devices=1, slots=2), max_wait_s={"default": 10.0})
    hand.submit(chain("v", "A"))
    hand.plan((V,))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.submit(chain("w", "B"))
    hand.plan(())
    hand.send(at_s=20.0)
    hand.submit(chain("u", "A"))
    hand.plan((U,))
    assert [chain.chunk for chain in hand.core.fleet.chains] == [V]
    hand.finished(call)
    assert [chain.chunk for chain in hand.core.fleet.chains] == [W]
