"""The `fate` policy on cases worked by hand; calls work 2 s, loads take 10 s."""

from math import inf
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from tests.strategies import Box, Kind, Node, make_snapshot, snapshots

from fate.domain.errors import FateError
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.fate.candidates import greedy_candidates
from fate.policy.fate.horizon import weights
from fate.policy.fate.options import FateOptions
from fate.policy.fate.policy import FatePolicy
from fate.policy.fate.shards import shard_limit
from fate.policy.kernel.backend import ReferenceKernel


def rows(snapshot: Snapshot, plan: Plan) -> list[list[int]]:
    """Return a plan's orders as positions in the frontier."""
    row_of = {chunk: row for row, chunk in enumerate(snapshot.chunks)}
    return [[row_of[chunk] for chunk in order] for order in plan.orders]


def plan(snapshot: Snapshot, memo: Memo | None = None, **options: Any) -> list[list[int]]:
    """Plan with some options and return the orders as positions."""
    return rows(snapshot, FatePolicy(**options).plan(snapshot, memo))


def test_an_empty_frontier_is_an_empty_plan() -> None:
    """Nothing to place, one list per device."""
    assert plan(make_snapshot([], [Box(), Box()], [Kind()])) == [[], []]


def test_calls_are_grouped_by_model() -> None:
    """A B A A C A B C on one device that holds one model loads three times, not seven."""
    ready = [Node(model="ABC".index(letter)) for letter in "ABAACABC"]
    (order,) = plan(make_snapshot(ready, [Box()], [Kind(), Kind(), Kind()]))
    letters = "".join("ABC"[ready[node].model] for node in order)
    assert sum(a != b for a, b in zip(letters, "." + letters[:-1], strict=True)) == 3


def test_a_call_waits_for_a_warm_busy_device_although_another_is_idle() -> None:
    """3 s of waiting instead of 10 s of loading; 30 s would be too long."""
    for free_in_s, expected in ((3.0, [[], [0]]), (30.0, [[0], []])):
        boxes = [Box(), Box(free_in=(free_in_s,), resident={0: ()})]
        assert plan(make_snapshot([Node()], boxes, [Kind()])) == expected


def test_a_small_model_fits_next_to_a_big_one() -> None:
    """Both stay: the small one is loaded once, in front, and the big one not again."""
    kinds = [Kind(bytes=70, load_s=30.0), Kind(bytes=30, load_s=0.5, decode_s=0.01)]
    box = Box(resident={0: ()}, memory=100)
    snapshot = make_snapshot([Node(), Node(model=1), Node(), Node(model=1)], [box], kinds)
    (order,) = plan(snapshot)
    kernel = ReferenceKernel(snapshot, weights(FateOptions(), 1))
    assert max(kernel.replay([order])) == pytest.approx(100.0 + 0.5 + 2 * 2.0 + 2 * 1.1)


def test_without_late_binding_a_call_stays_where_it_was_planned() -> None:
    """Device 0 was idle, device 1 is warm by now: only late binding goes there.

    From a device that is lost, or may not run it any more, it goes all the same.
    """
    kinds, warm = [Kind()], Box(resident={0: ()})
    snapshot = make_snapshot([Node(), Node()], [Box(free_in=(5.0,)), warm], kinds)
    memo = Memo(orders=((snapshot.chunks[0],), ()))
    assert plan(snapshot, memo) == [[], [0, 1]]
    assert plan(snapshot, memo, late_binding=False) == [[0], [1]]
    lost = make_snapshot([Node(), Node()], [Box(free_in=(inf,)), warm], kinds)
    assert plan(lost, memo, late_binding=False) == [[], [0, 1]]
    failed = make_snapshot([Node(eligible=(0, 1)), Node()], [Box(), warm], kinds)
    assert plan(failed, memo, late_binding=False) == [[], [0, 1]]
    assert FatePolicy(late_binding=False).eager and not FatePolicy().eager


def test_shards_only_while_devices_are_spare() -> None:
    """Four chunks of one map use both devices; beside a second ready instance only one."""
    chunks = [Node(instance=7, output=300.0) for _ in range(4)]
    alone = make_snapshot(chunks, [Box(), Box()], [Kind()])
    assert all(plan(alone)) and not all(plan(alone, max_shards=1))
    other = make_snapshot([*chunks, Node(instance=8)], [Box(), Box()], [Kind()])
    hosts = [d for d, order in enumerate(plan(other)) if set(order) & {0, 1, 2, 3}]
    assert len(hosts) == 1


@pytest.mark.parametrize(
    ("boxes", "limit"),
    [
        ([Box(), Box()], 2),
        ([Box(), Box(free_in=(5.0,))], 1),
        ([Box(), Box(free_in=(5.0,), running=(7,))], 2),
        ([Box(free_in=(5.0,), running=(9,)), Box(free_in=(5.0,), running=(7,))], 1),
    ],
)
def test_spare_devices_are_idle_or_serve_a_ready_instance(boxes: list[Box], limit: int) -> None:
    """One ready instance, 7."""
    snapshot = make_snapshot([Node(instance=7), Node(instance=7)], boxes, [Kind()])
    assert shard_limit(snapshot, 2) == limit


def test_the_previous_plan_stays_unless_the_gain_passes_the_margin() -> None:
    """Moving one of two equal devices' calls gains nothing; a cold device's call gains much."""
    snapshot = make_snapshot([Node(), Node(model=1)], [Box(), Box()], [Kind(), Kind()])
    memo = FatePolicy().plan(snapshot, None).memo
    assert memo is not None
    mirrored = Memo(orders=memo.orders[::-1])
    again = FatePolicy().plan(snapshot, mirrored)
    assert again.orders == mirrored.orders and again.search.kept
    warm = make_snapshot([Node()], [Box(), Box(resident={0: ()})], [Kind()])
    moved = FatePolicy().plan(warm, Memo(orders=((warm.chunks[0],), ())))
    assert rows(warm, moved) == [[], [0]] and not moved.search.kept


def test_what_has_started_leaves_the_previous_plan_and_new_chunks_join_it() -> None:
    """Of an old plan one chunk is gone; the new one ends up behind the others."""
    snapshot = make_snapshot([Node(), Node(), Node()], [Box(resident={0: ()})], [Kind()])
    gone = msgspec.structs.replace(snapshot.chunks[0], instance="w0/gone")
    memo = Memo(orders=((gone, snapshot.chunks[1], snapshot.chunks[0]),))
    assert plan(snapshot, memo) == [[1, 0, 2]]


def test_all_moves_are_for_new_work_and_few_for_what_was_searched_before() -> None:
    """Of ten chunks none, half or all are unknown to the previous plan."""
    snapshot = make_snapshot([Node() for _ in range(10)], [Box(), Box()], [Kind()])
    policy = FatePolicy(solver=False, moves=800)
    memo = policy.plan(snapshot, None).memo
    assert memo is not None
    half = Memo(orders=tuple(order[: len(order) // 2] for order in memo.orders))
    known = sum(len(order) for order in half.orders)
    tried = [policy.plan(snapshot, each).search.moves for each in (None, half, memo)]
    assert tried == [800, int(800 * (0.125 + (10 - known) / 10)), 100]


def test_a_memo_of_another_cluster_is_ignored() -> None:
    """Orders for two devices say nothing about one."""
    snapshot = make_snapshot([Node()], [Box()], [Kind()])
    assert plan(snapshot, Memo(orders=((), (snapshot.chunks[0],)))) == [[0]]


def test_chunks_over_their_wait_bound_lead() -> None:
    """Although the warm model's calls would go first."""
    ready = [Node(), Node(), Node(model=1, must_start=True)]
    snapshot = make_snapshot(ready, [Box(resident={0: ()})], [Kind(), Kind()])
    assert plan(snapshot)[0][0] == 2


def test_without_residency_a_cold_idle_device_looks_as_good() -> None:
    """Nobody waits for the warm device once loads count as free."""
    boxes = [Box(), Box(free_in=(3.0,), resident={0: ()})]
    snapshot = make_snapshot([Node()], boxes, [Kind()])
    assert plan(snapshot, residency=False) == [[0], []]


def test_without_prefix_or_locality_those_terms_do_not_decide() -> None:
    """A cached prefix, or a parent's output, draws a call to device 1 only while it counts."""
    boxes = [Box(resident={0: (-1,)}), Box(resident={0: (0,)})]
    node, held = Node(prompt=(("system", 90),)), (("m0", 0), ("system", 90))
    cached = make_snapshot([node], boxes, [Kind()], contents=[held])
    assert (plan(cached), plan(cached, prefix=False)) == ([[], [0]], [[0], []])
    near = make_snapshot([Node(transfer_s=(5.0, 0.0))], boxes, [Kind()])
    assert (plan(near), plan(near, locality=False)) == ([[], [0]], [[0], []])


def test_the_solver_is_skipped_recorded_and_can_be_forced() -> None:
    """A lone call needs none; a frontier too large is solved only when asked for."""
    one = make_snapshot([Node()], [Box(), Box()], [Kind()])
    assert FatePolicy(always_solve=True).plan(one, None).search.solver == "skipped"
    many = make_snapshot([Node(instance=k) for k in range(30)], [Box(), Box()], [Kind()])
    assert FatePolicy(moves=20).plan(many, None).search.solver == "skipped"
    two = make_snapshot([Node(), Node(model=1)], [Box(), Box()], [Kind(), Kind()])
    search = FatePolicy(always_solve=True).plan(two, None).search
    assert (search.solver, search.gap, search.adopted) == ("optimal", 0.0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 4}, "depth must be 0 to 3"),
        ({"max_shards": 0}, "at least 1"),
        ({"eps": -1.0}, "must not be negative"),
        ({"moves": "many"}, "moves"),
        ({"dept": 1}, "dept"),
    ],
)
def test_bad_options_are_one_line_errors(options: dict[str, Any], message: str) -> None:
    """The option is named."""
    with pytest.raises(FateError) as caught:
        FatePolicy(**options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@given(snapshot=snapshots())
def test_the_plan_is_no_worse_than_any_greedy_plan_and_repeatable(snapshot: Snapshot) -> None:
    """Exact replay decides between the layers, and nothing but the snapshot goes in."""
    policy = FatePolicy(solver=False, moves=60)
    first, second = policy.plan(snapshot, None), policy.plan(snapshot, None)
    assert msgspec.structs.replace(first, search=second.search) == second
    if not snapshot.frontier:
        return
    limit = shard_limit(snapshot, 2)
    kernel = ReferenceKernel(snapshot, weights(FateOptions(), limit))
    orders = rows(snapshot, first)
    placed = sum(len(order) for order in orders)
    for candidate in greedy_candidates(kernel, snapshot):
        left_out = snapshot.frontier - placed
        assert (left_out, kernel.objective(orders)) <= candidate[:2]
    if limit == 1:
        _assert_unsharded(snapshot, orders)


def _assert_unsharded(snapshot: Snapshot, orders: list[list[int]]) -> None:
    """No instance is on two devices unless chunks of it run on them already."""
    hosts: dict[int, set[int]] = {}
    for device, order in enumerate(orders):
        for node in order:
            hosts.setdefault(int(snapshot.instance[node]), set()).add(device)
    for instance, devices in hosts.items():
        running = {int(d) for d in np.nonzero(snapshot.running_instance == instance)[0]}
        assert len(devices) == 1 or devices <= running
