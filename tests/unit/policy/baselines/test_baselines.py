"""Every baseline on two devices, followed by hand step by step.

Models: A (0) and B (1), one fits at a time; a load takes 10 s. A call is 100 prompt tokens at
0.01 s and 10 output tokens at 0.1 s, that is 1 s + 1 s, on a device of speed 1.
"""

from collections.abc import Sequence
from typing import Any, cast

from tests.strategies import Box, Kind, Node, make_snapshot

from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Policy
from fate.registry import build

A, B = 0, 1
MODELS = (Kind(), Kind())


def policy(name: str, **options: Any) -> Policy:
    """Return a fresh policy object."""
    return cast("Policy", build("policy", name, **options))


def ready(*models: int) -> list[Node]:
    """Return one call per model; instances number them, so they keep their names when fewer."""
    return [Node(model=model, instance=i + 1) for i, model in enumerate(models)]


def numbered(snapshot: Snapshot, plan: Plan) -> list[list[int]]:
    """Return the plan's lists as instance numbers."""
    rows = {chunk: row for row, chunk in enumerate(snapshot.chunks)}
    return [[int(snapshot.instance[rows[chunk]]) for chunk in order] for order in plan.orders]


def step(
    name: str,
    nodes: Sequence[Node],
    devices: Sequence[Box],
    memo: Memo | None = None,
    **more: Any,
) -> tuple[list[list[int]], Memo | None]:
    """Plan once; return the lists as instance numbers, and the memo.

    `more` goes to `make_snapshot`, but `options` to the policy.
    """
    options = more.pop("options", {})
    snapshot = make_snapshot(nodes, devices, MODELS, **more)
    plan = policy(name, **options).plan(snapshot, memo)
    return numbered(snapshot, plan), plan.memo


def busy(seconds: float, resident: dict[int, tuple[int, ...]] | None = None) -> Box:
    """Return a device whose one slot is free in `seconds`."""
    return Box(free_in=(seconds,), resident=resident or {})


class TestRoundRobin:
    """Bound in turn on arrival, for good."""

    def test_it_binds_on_arrival_and_never_moves(self) -> None:
        """Five calls arrive in three steps; each keeps its device although one is slow."""
        nodes = ready(A, B, A, B, A)
        lists, memo = step("round-robin", nodes[:3], [Box(), Box()])
        assert lists == [[1, 3], [2]]
        # 1 and 2 start; 4 arrives while both are busy: device 1 is next in turn.
        lists, memo = step("round-robin", nodes[2:4], [busy(50), busy(2)], memo)
        assert lists == [[3], [4]]
        # 4 has started; device 1 is idle, yet 3 stays on device 0, and 5 goes there in turn.
        lists, memo = step("round-robin", [nodes[2], nodes[4]], [busy(40), Box()], memo)
        assert lists == [[3, 5], []]

    def test_a_device_that_cannot_hold_the_model_is_skipped(self) -> None:
        """The turn passes on behind the device that was used."""
        nodes = ready(A, A, A)
        nodes[0].eligible = nodes[1].eligible = (0, 1)
        assert step("round-robin", nodes, [Box(), Box()])[0] == [[3], [1, 2]]

    def test_what_was_bound_to_a_lost_device_is_bound_again(self) -> None:
        """A device without a usable slot keeps nothing."""
        nodes = ready(A, B)
        _, memo = step("round-robin", nodes, [Box(), Box()])
        assert step("round-robin", nodes, [Box(free_in=(float("inf"),)), Box()], memo)[0] == [
            [],
            [2, 1],
        ]


class TestRoundRobinIdle:
    """In turn over devices with a free slot, nothing ahead of time."""

    def test_it_serves_idle_devices_in_turn(self) -> None:
        """Five calls: two start, then whoever is idle takes the oldest."""
        nodes = ready(A, B, A, B, A)
        lists, memo = step("round-robin-idle", nodes, [Box(), Box()])
        assert lists == [[1], [2]]
        lists, memo = step("round-robin-idle", nodes[2:], [busy(5), Box()], memo)
        assert lists == [[], [3]]
        lists, memo = step("round-robin-idle", nodes[3:], [Box(), Box()], memo)
        assert lists == [[4], [5]]

    def test_the_turn_survives_between_plans(self) -> None:
        """After device 0 it is device 1's turn although both are idle again."""
        nodes = ready(A, A)
        lists, memo = step("round-robin-idle", nodes[:1], [Box(), Box()])
        assert lists == [[1], []]
        assert step("round-robin-idle", nodes[1:], [Box(), Box()], memo)[0] == [[], [2]]

    def test_it_fills_every_slot_of_an_idle_device(self) -> None:
        """Two free slots take two calls; the third waits."""
        lists, _ = step("round-robin-idle", ready(A, A, A), [Box(free_in=(0.0, 0.0))])
        assert lists == [[1, 2]]


class TestLeastLoaded:
    """Bound on arrival to the shortest queue in seconds."""

    def test_it_balances_seconds_not_counts(self) -> None:
        """Device 1 has 3 s to go; calls of 2 s, then one of 11 s, fill up device 0 first."""
        nodes = ready(A, A, A, A, A)
        nodes[2].output = 100.0  # 1 s + 10 s
        # 1 -> device 0 (0 < 3), then 2 < 3: 2 -> device 0, then 4 > 3: 3 -> device 1 (14),
        # 4 -> device 0 (6), 5 -> device 0 (8).
        lists, memo = step("least-loaded", nodes, [Box(), busy(3)])
        assert lists == [[1, 2, 4, 5], [3]]
        # Bound is bound: device 1 is idle now, and 3 waits there for nobody.
        assert step("least-loaded", nodes, [busy(9), Box()], memo)[0] == lists

    def test_what_is_bound_counts(self) -> None:
        """A second arrival sees the work that the first one bound."""
        nodes = ready(A, A, A)
        _, memo = step("least-loaded", nodes[:1], [busy(1), busy(1)])
        assert step("least-loaded", nodes, [busy(1), busy(1)], memo)[0] == [[1, 3], [2]]


class TestLateEft:
    """Rank order, earliest finish with loads and hits, over busy devices too."""

    def test_a_call_waits_for_the_busy_device_that_has_its_model(self) -> None:
        """Device 0 holds A and is busy for 3 s; device 1 is idle and empty."""
        nodes = ready(A, A, B, A, B)
        devices = [busy(3, resident={A: (-1, -1)}), Box()]
        # 1: 3 + 2 = 5 or 10 + 2 = 12 -> device 0; 2: 7 or 12 -> device 0;
        # 3 (B): 7 + 10 + 2 = 19 or 12 -> device 1; 4 (A): 9 or 24 -> device 0;
        # 5 (B): 9 + 10 + 2 = 21 or 14 -> device 1.
        assert step("late-eft", nodes, devices)[0] == [[1, 2, 4], [3, 5]]

    def test_the_longest_path_goes_first(self) -> None:
        """Rank decides the order, and a list's order is the order of the rank."""
        nodes = ready(A, A, A)
        nodes[1].tail_s, nodes[2].tail_s = 5.0, 30.0
        assert step("late-eft", nodes, [Box()])[0] == [[3, 2, 1]]

    def test_nothing_is_bound(self) -> None:
        """When the idle device has loaded A, the same calls go there."""
        nodes = ready(A, A)
        lists, memo = step("late-eft", nodes, [busy(3, resident={A: (-1, -1)}), Box()])
        assert lists == [[1, 2], []]
        assert memo is None
        later = [busy(30, resident={A: (-1, -1)}), Box(resident={A: (-1, -1)})]
        assert step("late-eft", nodes, later)[0] == [[], [1, 2]]

    def test_a_call_over_its_wait_bound_leads(self) -> None:
        """The wait bound beats the rank."""
        nodes = ready(A, A)
        nodes[0].tail_s, nodes[1].must_start = 50.0, True
        assert step("late-eft", nodes, [Box()])[0] == [[2, 1]]


class TestIdleAffinity:
    """An idle device takes what is cheapest to begin."""

    def test_each_device_stays_with_its_model(self) -> None:
        """Five calls; a load is paid for only when nothing cheaper is ready."""
        nodes = ready(A, A, B, A, A)
        holds_b, holds_a = {B: (-1, -1)}, {A: (-1, -1)}
        both = [Box(resident=holds_b), Box(resident=holds_a)]
        assert step("idle-affinity", nodes, both)[0] == [[3], [1]]
        # 2 s later both are idle again: 2, 4 and 5 need A; device 0 must load for any of them.
        left = [nodes[1], nodes[3], nodes[4]]
        assert step("idle-affinity", left, both)[0] == [[2], [4]]
        # Device 0 is loading A for 2; device 1 takes the last one.
        assert step("idle-affinity", nodes[4:], [busy(8, holds_a), both[1]])[0] == [[], [5]]

    def test_a_second_slot_shares_the_load(self) -> None:
        """Once a slot has chosen A, its neighbour finds A loaded and B too expensive."""
        box = Box(free_in=(0.0, 0.0), memory=200)
        assert step("idle-affinity", ready(A, B, A), [box])[0] == [[1, 3]]

    def test_a_cached_prefix_is_cheaper(self) -> None:
        """Of two calls on a loaded model, the one whose prompt is half cached goes first."""
        nodes = ready(A, A)
        nodes[1].prompt = (("system", 50),)
        held = ((f"m{A}", 0), ("system", 50))
        snapshot = make_snapshot(nodes, [Box(resident={A: (0, -1)})], MODELS, contents=[held])
        plan = policy("idle-affinity").plan(snapshot, None)
        assert numbered(snapshot, plan) == [[2]]
