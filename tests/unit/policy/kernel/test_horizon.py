"""The horizon term on cases worked by hand; calls work 2 s, loads take 10 s, lam and gamma 1."""

import pytest
from tests.strategies import Box, Kind, Node, make_snapshot

from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference import Future
from fate.policy.kernel.reference_horizon import horizon


def future(snapshot: Snapshot, depth: int = 2, *, reachability: bool = True) -> Future:
    """Return the regrets."""
    weights = Weights(lam=1.0, gamma=1.0, depth=depth, reachability=reachability)
    return horizon(plain(snapshot, weights))


def test_locality_what_an_output_takes_to_a_join_is_its_own_calls_in_full() -> None:
    """Half of the join's seconds are the other parent's, none of the 5 s that the output takes."""
    boxes = [Box(resident={0: ()}), Box(resident={0: ()})]
    join = Node(eligible=(0, 1))
    parents = [Node(children=(2,), output_bytes=500.0), Node(children=(2,))]
    snapshot = make_snapshot(parents, boxes, [Kind()], [join], link_s=0.01)
    assert future(snapshot, depth=1) == [[5.0, 0.0], [0.0, 0.0]]


def test_locality_an_output_is_brought_to_every_child() -> None:
    """Two children on device 1 alone: 5 s each to bring, and the second waits for the first."""
    boxes = [Box(resident={0: ()}), Box(resident={0: ()})]
    children = [Node(eligible=(0, 1)), Node(eligible=(0, 1))]
    parent = Node(children=(1, 2), output_bytes=500.0)
    snapshot = make_snapshot([parent], boxes, [Kind()], children, link_s=0.01)
    assert future(snapshot, depth=1) == [[12.5, 0.0]]


def test_no_depth_or_no_children_is_no_regret() -> None:
    """There is nothing below, or nobody looks."""
    alone = make_snapshot([Node()], [Box(), Box()], [Kind()])
    assert future(alone) == [[0.0, 0.0]]
    parent = make_snapshot([Node(children=(1,))], [Box(), Box()], [Kind()], [Node()])
    assert future(parent, depth=0) == [[0.0, 0.0]]


def test_residency_putting_a_call_where_it_evicts_the_childs_model_is_regretted() -> None:
    """The child's model lies on device 0 only; the parent's load there would push it out."""
    boxes = [Box(resident={1: ()}, sequences=0), Box(resident={}, sequences=0)]
    snapshot = make_snapshot(
        [Node(model=0, children=(1,))], boxes, [Kind(), Kind()], [Node(model=1)]
    )
    assert future(snapshot, depth=1) == [[10.0, 0.0]]


def test_prefix_a_child_that_continues_the_parent_wants_it_on_its_device() -> None:
    """The child runs on device 1 alone; 99 of its 100 tokens are cached there after the parent."""
    boxes = [Box(resident={0: (-1,)}), Box(resident={0: (-1,)})]
    parent = Node(children=(1,), prompt=(("system", 90),), left="answer")
    child = Node(prompt=(("system", 90), ("answer", 10)), eligible=(0, 1))
    snapshot = make_snapshot([parent], boxes, [Kind()], [child])
    assert future(snapshot, depth=1)[0] == pytest.approx([0.99, 0.0])


def test_locality_an_output_far_from_the_childs_only_device_is_regretted() -> None:
    """The child runs on device 1 alone; 500 bytes at 0.01 s from device 0 are 5 s."""
    boxes = [Box(resident={0: ()}), Box(resident={0: ()})]
    child = Node(eligible=(0, 1))
    parent = Node(children=(1,), output_bytes=500.0)
    snapshot = make_snapshot([parent], boxes, [Kind()], [child], link_s=0.01)
    assert future(snapshot, depth=1) == [[5.0, 0.0]]


def test_reachability_a_device_that_is_busy_when_the_child_comes_is_waited_for() -> None:
    """The child's only device is free 20 s on: from device 1 (slow) it waits less."""
    boxes = [Box(free_in=(20.0,), resident={1: ()}), Box(resident={0: ()})]
    parent = Node(model=0, children=(1,), eligible=(0, 1))
    child = Node(model=1, eligible=(1, 0))
    kinds = [Kind(), Kind()]
    seen = future(make_snapshot([parent], boxes, kinds, [child]), depth=1)
    assert seen == [[0.0, 0.0]]  # one choice only: no regret
    both = Node(model=0, children=(1,))
    seen = future(make_snapshot([both], boxes, kinds, [child]), depth=1)
    blind = future(make_snapshot([both], boxes, kinds, [child]), depth=1, reachability=False)
    # Device 0 would end at 132 s with the child's model evicted: 10 + 2 s. Device 1 ends at 102 s,
    # so the child waits 18 s and works 2 s: 20 s. Without waiting the latter is 2 s.
    assert seen == [[0.0, 8.0]]
    assert blind == [[10.0, 0.0]]


def test_a_join_is_shared_by_its_open_parents() -> None:
    """Two parents of one child: each counts half of the 10 s that its placement costs."""
    boxes = [Box(resident={2: ()}, sequences=0), Box(sequences=0)]
    ready = [Node(model=0, children=(2,)), Node(model=1, children=(2,))]
    snapshot = make_snapshot(ready, boxes, [Kind(), Kind(), Kind()], [Node(model=2)])
    assert future(snapshot, depth=1) == [[5.0, 0.0], [5.0, 0.0]]


def test_children_are_averaged_and_take_each_others_time() -> None:
    """On device 0 the parent costs the first child its model; the second then loads elsewhere.

    Device 0: the first reloads there, 12 s; behind it the second would take 14 s, so it loads on
    device 1, 12 s. Device 1: each is warm on its own device, 2 s. The means are 12 s and 2 s.
    """
    boxes = [Box(resident={1: ()}, sequences=0), Box(sequences=0)]
    siblings = [Node(model=1), Node(model=0)]
    snapshot = make_snapshot([Node(model=0, children=(1, 2))], boxes, [Kind(), Kind()], siblings)
    assert future(snapshot, depth=1) == [[10.0, 0.0]]


def test_grandchildren_count_from_depth_two_on() -> None:
    """The child follows the parent either way; the grandchild's model is lost on device 0."""
    boxes = [Box(resident={1: ()}, sequences=0), Box(sequences=0)]
    below = [Node(model=0, children=(2,)), Node(model=1)]
    snapshot = make_snapshot([Node(model=0, children=(1,))], boxes, [Kind(), Kind()], below)
    assert future(snapshot, depth=1) == [[0.0, 0.0]]
    assert future(snapshot, depth=2) == [[10.0, 0.0]]
