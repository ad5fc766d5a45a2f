"""Queue rules without a look at the state, and `eft` with one, followed by hand.

As in `test_baselines`: a load takes 10 s, a call 1 s and .1 s for each token of the answer; one
model fits at a time.
"""

import numpy as np
from tests.strategies import Box
from tests.unit.policy.baselines.test_baselines import A, B, busy, ready, step


class TestRandom:
    """Bound on arrival to a device drawn at random."""

    def test_each_call_goes_where_its_draw_is_lowest(self) -> None:
        """Five calls, a number for each device that may run them; the third has one only."""
        nodes = ready(A, B, A, B, A)
        nodes[2].eligible = (0, 1)
        draw = np.random.default_rng((7, 3))
        lists: list[list[int]] = [[], []]
        for number in (1, 2):
            lists[int(np.argmin(draw.random(2)))].append(number)
        draw.random(1)
        lists[1].append(3)
        for number in (4, 5):
            lists[int(np.argmin(draw.random(2)))].append(number)
        found, memo = step("random", nodes, [Box(), Box()], seed=(7, 3))
        assert found == lists
        # Final: another plan has another seed, and nobody moves.
        assert step("random", nodes, [Box(), busy(50)], memo, seed=(7, 4))[0] == lists

    def test_runs_differ(self) -> None:
        """Eight calls and twenty seeds: many different plans, each device used."""
        nodes = ready(A, A, A, A, A, A, A, A)
        plans = {str(step("random", nodes, [Box(), Box()], seed=(s, 0))[0]) for s in range(20)}
        assert len(plans) > 15


class TestShortestJob:
    """Idle devices take the shortest calls."""

    def test_the_shortest_goes_where_it_ends_first(self) -> None:
        """Device 1 is twice as fast; calls of 2, 6, 3, 1.5 and 2 s on device 0."""
        nodes = ready(A, B, A, B, A)
        for node, tokens in zip(nodes, (10.0, 50.0, 20.0, 5.0, 10.0), strict=True):
            node.output = tokens
        slow, fast = Box(resident={A: (-1, -1)}), Box(speed=2.0)
        # Shortest first: 4 on device 1 (.75, not 1.5); then 1 before 5, on what is left: 0.
        assert step("shortest-job", nodes, [slow, fast])[0] == [[1], [4]]
        # Device 1 is idle: 5 (1 s) before 3 (1.5) and 2 (3).
        left = [nodes[1], nodes[2], nodes[4]]
        assert step("shortest-job", left, [busy(2), fast])[0] == [[], [5]]
        # Device 0 is idle: 3, although device 1 would be through with it sooner.
        assert step("shortest-job", nodes[1:3], [slow, Box(free_in=(0.1,), speed=2.0)])[0] == [
            [3],
            [],
        ]
        # The longest comes last, where it ends first: 3 s, not 6.
        assert step("shortest-job", nodes[1:2], [slow, fast])[0] == [[], [2]]


class TestLeastLoadedLate:
    """To the shortest queue in seconds, thought over with each plan."""

    def test_nothing_is_bound(self) -> None:
        """The first plan is that of `least-loaded`; the second one is not held to it."""
        nodes = ready(A, A, A, A, A)
        nodes[2].output = 100.0  # 1 s + 10 s
        # 1 -> 0 (0 < 3), 2 -> 0 (2 < 3), 3 -> 1 (4 > 3), then 4 and 5 -> 0 (4, 6 < 14).
        lists, memo = step("least-loaded-late", nodes, [Box(), busy(3)])
        assert lists == [[1, 2, 4, 5], [3]]
        # Device 0 turned out slow, 9 s to go: 2 -> 1 (0), 3 -> 1 (2 < 9), 4 -> 0 (9 < 13), 5 -> 0.
        assert step("least-loaded-late", nodes[1:], [busy(9), Box()], memo)[0] == [
            [4, 5],
            [2, 3],
        ]


class TestEft:
    """Arrival order, earliest finish under the state, for good."""

    def test_loads_count_and_the_answer_is_final(self) -> None:
        """Device 0 holds A and is busy for 3 s; device 1 is idle and empty."""
        nodes = ready(A, A, B, A, B)
        nodes[4].tail_s = 50.0  # a rank would take it first
        devices = [busy(3, resident={A: (-1, -1)}), Box()]
        # 1: 3 + 2 = 5 or 10 + 2 = 12 -> device 0; 2: 7 or 12 -> device 0;
        # 3 (B): 7 + 10 + 2 = 19 or 12 -> device 1; 4 (A): 9 or 24 -> device 0;
        # 5 (B): 9 + 10 + 2 = 21 or 14 -> device 1.
        lists, memo = step("eft", nodes, devices)
        assert lists == [[1, 2, 4], [3, 5]]
        # 1 and 3 have started. Device 1 is idle and has A, but what is bound stays bound.
        later = [busy(30, resident={A: (-1, -1)}), Box(resident={A: (-1, -1)})]
        left = [nodes[1], nodes[3], nodes[4]]
        assert step("eft", left, later, memo)[0] == [[2, 4], [5]]
        # What arrives now sees the queues: A behind 2 and 4 ends at 36, behind 5 at
        # 12 + 10 + 2 = 24.
        more = ready(A, A, A, A, A, A)
        assert step("eft", [*left, more[5]], later, memo)[0] == [[2, 4], [5, 6]]
