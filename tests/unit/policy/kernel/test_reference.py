"""Replay, greedy plans and local search on cases worked by hand.

Unless said otherwise a call has 100 prompt tokens at 10 ms and 10 output tokens at 100 ms, so it
works 2 s, and a load takes 10 s. The clock stands at 100 s.
"""

from itertools import chain
from math import inf

import numpy as np
import pytest
from hypothesis import given
from tests.strategies import Box, Kind, Node, make_snapshot, snapshots

from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import Orders, objective, replay
from fate.policy.kernel.reference_horizon import horizon
from fate.policy.kernel.reference_plans import (
    EFT,
    IDLE_AFFINITY,
    MAX_MIN,
    MIN_MIN,
    SUFFERAGE,
    extend,
    greedy,
    local_search,
    must_first,
    no_future,
)


def problem(snapshot: Snapshot, **weights: float) -> Plain:
    """Return the problem with some weights changed."""
    return plain(snapshot, Weights()._replace(**weights))


def moves(count: int = 500, seed: int = 0) -> list[list[int]]:
    """Return random moves."""
    return np.random.default_rng(seed).integers(0, 1 << 31, (count, 4)).tolist()


def test_a_cold_call_pays_its_load_and_a_warm_one_does_not() -> None:
    """Load 10 s and work 2 s; then work alone."""
    p = problem(make_snapshot([Node(), Node()], [Box()], [Kind()]))
    assert replay(p, [[0, 1]]) == [112.0, 114.0]


def test_a_load_evicts_the_least_recently_used_model_and_waits_for_its_unload() -> None:
    """Three models, room for two: the third pushes out the first, whose next call loads again."""
    kinds = [Kind(bytes=50, unload_s=1.0)] * 3
    box = Box(resident={0: (), 1: ()}, memory=100, sequences=0)
    p = problem(make_snapshot([Node(model=2), Node(model=1), Node(model=0)], [box], kinds))
    assert replay(p, [[0, 1, 2]]) == [113.0, 115.0, 128.0]


def test_a_pinned_model_is_not_evicted() -> None:
    """Where only a pinned model is in the way the call cannot run, and its plan is worth inf."""
    box = Box(resident={0: ()}, pinned=(0,), memory=100, sequences=0)
    p = problem(make_snapshot([Node(model=1)], [box], [Kind(), Kind()]))
    assert replay(p, [[0]]) == [inf]
    assert objective(p, [[0]], no_future(p)) == inf
    assert greedy(p, no_future(p), EFT) == [[]]


def test_a_call_finds_the_prefix_the_call_before_it_left() -> None:
    """60 of 100 tokens are in the sequence: 0.4 s of prefill instead of 1 s."""
    ready = [Node(prompt=(("system", 60),)), Node(prompt=(("system", 60),))]
    p = problem(make_snapshot(ready, [Box(resident={0: (-1, -1)})], [Kind()]))
    assert replay(p, [[0, 1]]) == pytest.approx([102.0, 103.4])


def test_a_slot_is_copied_before_it_would_be_overwritten() -> None:
    """The 90 shared tokens go into the empty slot: the first call's state is there for the third.

    Each prompt has 10 tokens of its own. A copy of what the first leaves, 110 tokens, takes
    0.005 + 0.11 s; without one the third call would find 90 tokens, not 100.
    """
    mine, others = (("head", 90), ("a", 10)), (("head", 90), ("b", 10))
    ready = [Node(prompt=mine), Node(prompt=others), Node(prompt=(*mine, ("c", 10)), tokens=110.0)]
    for copy_s, ends_s in ((inf, (102.0, 103.1, 104.3)), (0.001, (102.0, 103.215, 104.315))):
        box = Box(resident={0: (-1, -1)}, copy_s=copy_s)
        p = problem(make_snapshot(ready, [box], [Kind()]))
        assert replay(p, [[0, 1, 2]]) == pytest.approx(ends_s)


def test_eviction_loses_prefixes() -> None:
    """After another model took the memory the content is gone, although it was there."""
    ready = [Node(model=1), Node(prompt=(("system", 60),))]
    box = Box(resident={0: (0, -1)})
    p = problem(
        make_snapshot(ready, [box], [Kind(), Kind()], contents=[(("m0", 0), ("system", 60))])
    )
    assert replay(p, [[1, 0]]) == pytest.approx([113.4, 101.4])
    assert replay(p, [[0, 1]]) == pytest.approx([112.0, 124.0])


def test_items_after_the_first_share_the_head() -> None:
    """3 items: 100 tokens, then twice 20 behind a shared head of 80; 10 output tokens each."""
    node = Node(items=3, rest_tokens=40.0, head_tokens=80.0, output=30.0)
    p = problem(make_snapshot([node], [Box(resident={0: ()})], [Kind()]))
    assert replay(p, [[0]]) == pytest.approx([100.0 + 1.0 + 2 * 0.2 + 3 * 1.0])


def test_two_slots_run_two_calls_at_once_slower_and_share_one_load() -> None:
    """The second call waits for the load of the first, runs at 1.5x, the third takes slot 0."""
    p = problem(make_snapshot([Node(), Node(), Node()], [Box(free_in=(0.0, 0.0))], [Kind()]))
    assert replay(p, [[0, 1, 2]]) == [112.0, 113.0, 115.0]


def test_a_device_without_slots_runs_nothing() -> None:
    """A lost device has no free time at all."""
    p = problem(make_snapshot([Node()], [Box(free_in=(inf,)), Box(free_in=(50.0,))], [Kind()]))
    assert greedy(p, no_future(p), EFT) == [[], [0]]


@pytest.mark.parametrize("rule", [EFT, MIN_MIN, MAX_MIN, SUFFERAGE, IDLE_AFFINITY])
def test_greedy_plans_place_every_call_that_can_run(rule: int) -> None:
    """Models 0 and 1 fit, model 2 fits nowhere."""
    kinds = [Kind(), Kind(), Kind(bytes=500)]
    ready = [Node(model=k % 3) for k in range(6)]
    p = problem(make_snapshot(ready, [Box(), Box()], kinds))
    placed = sorted(node for order in greedy(p, no_future(p), rule) for node in order)
    assert placed == [0, 1, 3, 4]


def test_eft_waits_for_a_busy_warm_device() -> None:
    """Free in 3 s and warm beats idle and cold by 7 s."""
    boxes = [Box(), Box(free_in=(3.0,), resident={0: ()})]
    p = problem(make_snapshot([Node()], boxes, [Kind()]))
    assert greedy(p, no_future(p), EFT) == [[], [0]]


def test_idle_affinity_takes_the_cheapest_call_first() -> None:
    """The device holds model 1, so its call goes first although it came last."""
    p = problem(make_snapshot([Node(), Node(model=1)], [Box(resident={1: ()})], [Kind(), Kind()]))
    assert greedy(p, no_future(p), IDLE_AFFINITY) == [[1, 0]]


def test_eft_takes_the_longest_path_first() -> None:
    """The second call has 50 s below it."""
    p = problem(make_snapshot([Node(), Node(tail_s=50.0)], [Box()], [Kind()]))
    assert greedy(p, no_future(p), EFT) == [[1, 0]]


def test_local_search_groups_calls_by_model() -> None:
    """A B A A C A B C on one device for one model: three loads instead of seven."""
    ready = [Node(model="ABC".index(letter)) for letter in "ABAACABC"]
    p = problem(make_snapshot(ready, [Box()], [Kind(), Kind(), Kind()]))
    start = [list(range(8))]
    orders, value_s = local_search(p, start, no_future(p), moves())
    letters = "".join("ABC"[ready[node].model] for node in orders[0])
    assert sum(a != b for a, b in zip(letters, "." + letters[:-1], strict=True)) == 3
    assert max(replay(p, orders)) == 100.0 + 3 * 10.0 + 8 * 2.0
    assert value_s == objective(p, orders, no_future(p)) < objective(p, start, no_future(p))


def test_the_shard_limit_keeps_chunks_together() -> None:
    """Four chunks of one map: one device at limit 1, both at limit 2."""
    ready = [Node(instance=7, output=300.0) for _ in range(4)]
    snapshot = make_snapshot(ready, [Box(), Box()], [Kind(load_s=1.0)])
    for limit, devices in ((1, 1), (2, 2)):
        p = problem(snapshot, limit=limit)
        orders, _ = local_search(p, greedy(p, no_future(p), EFT), no_future(p), moves())
        assert sum(bool(order) for order in orders) == devices


def test_running_chunks_count_for_the_shard_limit() -> None:
    """Device 1 runs a chunk of the map, so at limit 1 the rest goes there too."""
    boxes = [Box(), Box(free_in=(30.0,), running=(7,))]
    p = problem(make_snapshot([Node(instance=7)], boxes, [Kind()]), limit=1)
    assert greedy(p, no_future(p), EFT) == [[], [0]]


def test_extend_keeps_what_is_given_and_moves_what_cannot_stay() -> None:
    """Call 1 is not eligible where the given plan has it; call 2 is new."""
    ready = [Node(), Node(eligible=(1, 0)), Node()]
    p = problem(make_snapshot(ready, [Box(), Box()], [Kind()]))
    orders = extend(p, [[], [0, 1]], no_future(p))
    assert orders[1][0] == 0 and 1 in orders[0]
    assert sorted(orders[0] + orders[1]) == [0, 1, 2]


def test_must_start_leads_and_the_search_leaves_it_there() -> None:
    """The overdue call of a cold model stays in front, at the price of a worse plan."""
    ready = [Node(), Node(model=1, must_start=True), Node()]
    p = problem(make_snapshot(ready, [Box(resident={0: ()})], [Kind(), Kind()]))
    start = must_first(p.must_start, [[0, 1, 2]])
    assert start == [[1, 0, 2]]
    assert local_search(p, start, no_future(p), moves())[0][0][0] == 1


@given(snapshot=snapshots())
def test_local_search_never_loses_a_call_nor_gets_worse(snapshot: Snapshot) -> None:
    """The same calls, a value that agrees with a replay from scratch, no worse than before."""
    p = problem(snapshot, limit=2)
    future = horizon(p)
    start: Orders = must_first(p.must_start, greedy(p, future, MIN_MIN))
    orders, value_s = local_search(p, start, future, moves(40))
    assert sorted(chain.from_iterable(orders)) == sorted(chain.from_iterable(start))
    assert value_s == objective(p, orders, future) <= objective(p, start, future)
    assert orders == must_first(p.must_start, orders)
