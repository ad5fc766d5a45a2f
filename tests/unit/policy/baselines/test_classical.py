"""HEFT, CPOP and PEFT on one graph and two devices, followed by hand.

                                      on device 0, 1   bytes   upward rank
    1 (A) -> 3 (A) -> 5 (B)      1        2, 1           1     1.5 + 1.5 + 8 = 11
    1 -> tool .5 s -> 4 (B) -> 5 2        -, .5          0     .5 + 1.5 = 2
    2 (A) -> 5                   3        2, 1           1     1.5 + 1 + 1.5 = 4
                                 4        6, 3           2     4.5 + 2 + 1.5 = 8
                                 5        2, 1           -     1.5

Device 1 is twice as fast, 2 runs there only; a byte takes 1 s to the other device; a load takes
10 s and one model fits. Times are seconds from now.
"""

import pytest
from tests.strategies import Box, Node, make_snapshot
from tests.unit.policy.baselines.test_baselines import MODELS, A, B, numbered, policy

from fate.domain.plan import Memo

NOW_S = 100.0
#: number -> (model, output tokens, bytes, children)
STAGES: dict[int, tuple[int, float, float, tuple[int, ...]]] = {
    1: (A, 10.0, 1.0, (3, 4)),
    2: (A, 0.0, 0.0, (5,)),
    3: (A, 10.0, 1.0, (5,)),
    4: (B, 50.0, 2.0, (5,)),
    5: (B, 10.0, 0.0, ()),
}
IDLE = (Box(), Box(speed=2.0))
#: Device 0 holds B, device 1 holds A.
LOADED = (Box(resident={B: (-1, -1)}), Box(speed=2.0, resident={A: (-1, -1)}))

Lists = list[list[int]]


def stages(*numbers: int, **moved: tuple[float, float]) -> list[Node]:
    """Return stages of the graph with the edges among them; `n4=(1, 0)` gives 4 its transfer."""
    nodes: list[Node] = []
    for number in numbers:
        model, output, size, children = STAGES[number]
        nodes.append(
            Node(
                model=model,
                output=output,
                output_bytes=size,
                instance=number,
                eligible=(0, 1) if number == 2 else (),
                after_s=0.5 if number == 4 else 0.0,
                transfer_s=moved.get(f"n{number}", ()),
                children=tuple(numbers.index(child) for child in children if child in numbers),
            )
        )
    return nodes


def step(
    name: str,
    nodes: list[Node],
    ready: int,
    devices: tuple[Box, ...],
    memo: Memo | None = None,
) -> tuple[Lists, Lists, Memo | None]:
    """Plan with the first `ready` nodes ready; return ready lists, bound lists and the memo."""
    snapshot = make_snapshot(nodes[:ready], devices, MODELS, nodes[ready:], now_s=NOW_S, link_s=1.0)
    plan = policy(name).plan(snapshot, memo)
    bound = [
        [int(chunk.instance.rpartition("/s")[2]) for chunk in order]
        for order in (plan.memo.orders if plan.memo else ())
    ]
    return numbered(snapshot, plan), bound, plan.memo


class TestHeft:
    """By rank, where it ends first, gaps included; for good."""

    def test_a_graph_is_scheduled_when_it_arrives(self) -> None:
        """By rank: 1, 3 and 4 behind it, 2, and 5; loads are not seen."""
        # 1: ends at 2 or 1 -> device 1. 4, ready at 1.5: 1.5 + 1 + 6, 1.5 + 3 -> 1, to 4.5.
        # 3, ready at 1: 1 + 1 + 2 = 4, or behind 4, since 1 s does not fit between 1 and 1.5:
        # 5.5 -> device 0. 2: fits exactly between 1 and 1.5 on device 1. 5, ready at 4.5:
        # 4.5 + 2 (from 4) + 2, 4.5 + 1 (from 3) + 1 -> device 1.
        lists, bound, memo = step("heft", stages(1, 2, 3, 4, 5), 2, LOADED)
        assert bound == [[3], [1, 2, 4, 5]]
        assert lists == [[], [1, 2]]
        # 1 is done, 2 runs, 4 waits for its tool: 3 starts where it was bound, on device 0.
        later = (Box(), Box(free_in=(0.5,), speed=2.0))
        lists, bound, memo = step("heft", stages(3, 4, 5), 1, later, memo)
        assert (lists, bound) == ([[3], []], [[3], [4, 5]])
        # 3 is done and device 0 idle, but 4 is bound to device 1, however long that takes.
        lists, bound, memo = step("heft", stages(4, 5), 1, (Box(), Box(free_in=(60.0,))), memo)
        assert (lists, bound) == ([[], [4]], [[], [4, 5]])

    def test_a_graph_that_arrives_later_is_scheduled_around_the_first(self) -> None:
        """5 waits for 4, which runs on device 1 for 5 s; 6 of another graph takes 2 s or 1 s."""
        _, _, memo = step("heft", stages(1, 2, 3, 4, 5), 2, IDLE)
        five = stages(5)[0]
        five.released_at_s = NOW_S + 5.0
        new = Node(instance=6, workflow=1, after_s=0.0)
        # 5 stays on device 1, from 5 to 6. 6: 2 on device 0, or behind 5 at 7.
        devices = (Box(), Box(free_in=(5.0,), speed=2.0))
        assert step("heft", [new, five], 1, devices, memo)[:2] == ([[6], []], [[6], [5]])
        # With device 0 busy for 9 s, and 5 not released before 8: 11, or between 5 and 8: 6.
        five.released_at_s = NOW_S + 8.0
        devices = (Box(free_in=(9.0,)), Box(free_in=(5.0,), speed=2.0))
        assert step("heft", [new, five], 1, devices, memo)[:2] == ([[], [6]], [[], [6, 5]])

    def test_what_was_bound_to_a_lost_device_is_bound_again(self) -> None:
        """Device 1 is gone: 4 and 5 go to device 0, 2 nowhere until it is back."""
        _, _, memo = step("heft", stages(1, 2, 3, 4, 5), 2, IDLE)
        nodes = stages(2, 3, 4, 5)
        for node in nodes:
            node.eligible = (0, 0) if node.instance == 2 else (1, 0)
        gone = (Box(), Box(free_in=(float("inf"),)))
        lists, bound, memo = step("heft", nodes, 2, gone, memo)
        assert (lists, bound) == ([[3], []], [[3, 4, 5], []])
        assert step("heft", stages(2, 3, 4, 5), 2, IDLE, memo)[0] == [[3], [2]]

    def test_a_map_that_is_cut_is_bound_chunk_by_chunk(self) -> None:
        """3 was one task while it waited; now it is two chunks of one item, 2 s or 1 s each."""
        _, bound, memo = step("heft", stages(1, 3), 1, IDLE)
        assert bound == [[], [1, 3]]
        chunks = stages(3, 3)
        # The first ends at 2 or 1 -> device 1; the second at 2 or 2 -> device 0.
        lists, bound, memo = step("heft", chunks, 2, IDLE, memo)
        assert lists == bound == [[3], [3]]
        # Both stay, whoever is idle.
        busy = (Box(free_in=(30.0,)), Box(speed=2.0))
        assert step("heft", chunks, 2, busy, memo)[0] == [[3], [3]]


class TestHeftFrontier:
    """By rank when they are ready, where they end first without loads, for good."""

    def test_it_follows_the_rank_and_ignores_loads(self) -> None:
        """Device 1 is twice as fast. Ranks: 5 (2 + 9 s), 3 (2 + 4 s), then 1, 2, 4 by index."""
        nodes = [Node(model=m, instance=i) for i, m in enumerate((B, B, A, A, B), 1)]
        nodes[4].tail_s, nodes[2].tail_s = 9.0, 4.0
        devices = (Box(resident={B: (-1, -1)}), Box(speed=2.0, resident={A: (-1, -1)}))
        # 5: 2 s or 1 s -> device 1 (although B is loaded on device 0); 3: 2 or 2 -> device 0;
        # 1: 4 or 2 -> device 1; 2: 4 or 3 -> device 1; 4: 4 or 4 -> device 0.
        lists, _, memo = step("heft-frontier", nodes, 5, devices)
        assert lists == [[3, 4], [5, 1, 2]]
        late = (Box(), Box(free_in=(60.0,)))
        assert step("heft-frontier", nodes[:2], 2, late, memo)[0] == [[], [1, 2]]

    def test_gathering_parents_outputs_counts(self) -> None:
        """Equal devices, but one needs 3 s to fetch what the call reads."""
        node = Node(instance=1, transfer_s=(3.0, 0.0))
        assert step("heft-frontier", [node], 1, (Box(), Box()))[0] == [[], [1]]

    def test_stages_that_wait_are_not_bound(self) -> None:
        """Of the whole graph only what is ready has a device, unlike under `heft`."""
        assert step("heft-frontier", stages(1, 2, 3, 4, 5), 2, IDLE)[1] == [[], [1, 2]]


class TestHeftState:
    """The same, loads counted; a gap only for what finds its model loaded."""

    def test_each_device_keeps_its_model(self) -> None:
        """Device 0 holds B, device 1 holds A."""
        # 1: 10 + 2, 1 -> 1. 4 (B), ready at 1.5: 1.5 + 1 + 6 = 8.5, 1.5 + 10 + 3 -> 0.
        # 3, ready at 1: behind 4 with a load, or 2 -> 1. 2: 2.5 -> 1.
        # 5 (B), ready at 8.5: 8.5 + 1 (from 3) + 2 = 11.5, 8.5 + 10 + 2 + 1 -> 0.
        lists, bound, _ = step("heft-state", stages(1, 2, 3, 4, 5), 2, LOADED)
        assert bound == [[4, 5], [1, 3, 2]]
        assert lists == [[], [1, 2]]

    @pytest.mark.parametrize(("model", "lists"), [(B, [[6], [1, 2]]), (A, [[], [1, 2, 6]])])
    def test_a_gap_takes_only_what_finds_its_model(self, model: int, lists: Lists) -> None:
        """6 takes 1.5 s on device 0, which waits for 4 until 1.5 with B loaded."""
        # Rank 1.125, so 6 is last. B: from 0 to 1.5 on device 0; A: behind 2 on device 1,
        # 2.5 + .75, as it must not unload B before 4.
        nodes = stages(1, 2, 3, 4, 5)
        new = Node(model=model, output=5.0, instance=6, workflow=1, after_s=0.0)
        for node in nodes:
            node.children = tuple(child + (child > 1) for child in node.children)
        assert step("heft-state", [*nodes[:2], new, *nodes[2:]], 3, LOADED)[0] == lists

    def test_a_cached_prompt_counts(self) -> None:
        """3 shares 90 of its tokens with what 1 leaves: 1.1 s behind 1 on device 0."""
        nodes = stages(1, 3)
        nodes[0].prompt = nodes[1].prompt = (("context", 90),)
        equal = (Box(resident={A: (-1, -1)}), Box(resident={A: (-1, -1)}))
        # Equal devices: 1 -> 0, to 2. Other work of 2.05 s is ready at once: it goes to device
        # 1. 3: 2 + 1.1 on device 0, 2.05 + 1 + 2 on device 1.
        other = Node(output=10.5, instance=6, workflow=1)
        nodes[0].children = (2,)
        assert step("heft-state", [nodes[0], other, nodes[1]], 2, equal)[1] == [[1, 3], [6]]


class TestHeftLate:
    """By rank where it ends first, loads not seen, nothing bound."""

    def test_the_foremost_ready_chunks_with_every_plan(self) -> None:
        """Four plans along the graph."""
        # 1 (11): 2, 1 -> 1. 2 (2): -, 1.5 -> 1.
        lists, bound, memo = step("heft-late", stages(1, 2, 3, 4, 5), 2, LOADED)
        assert (lists, bound, memo) == ([[], [1, 2]], [], None)
        # 3 (4) passes 2 (2): 1 + 2, 1 -> 1; 2: 1.5 -> 1.
        nodes = stages(2, 3, 4, 5, n3=(1.0, 0.0))
        assert step("heft-late", nodes, 2, LOADED)[0] == [[], [3, 2]]
        # With device 1 busy for 2.2 s 3 would end at 3, not 3.2, on device 0.
        assert step("heft-late", nodes, 2, (Box(), Box(free_in=(2.2,), speed=2.0)))[0] == [[3], [2]]
        # 3 runs on device 1 for .5 s more. 4 (8): 1 + 6, .5 + 3 -> 1; 2: 4 -> 1.
        short = (Box(), Box(free_in=(0.5,), speed=2.0))
        assert step("heft-late", stages(2, 4, 5, n4=(1.0, 0.0)), 2, short)[0] == [[], [4, 2]]
        # 4 runs on device 1 for 3 s; 5 waits for it: 3 + 2, 3 + 1.
        last = (Box(), Box(free_in=(3.0,), speed=2.0))
        assert step("heft-late", stages(5, n5=(3.0, 0.0)), 1, last)[0] == [[], [5]]


class TestCpop:
    """The critical path on one device, whatever else it has to do."""

    BUSY = (Box(), Box(free_in=(20.0,), speed=2.0))

    def test_the_path_is_bound_to_the_quickest_device(self) -> None:
        """Rank sums 11, 2, 6.5, 11, 11: the path 1-4-5 takes 10 s on device 0, 5 s on 1."""
        # 1 -> 1, from 20 to 21, although device 0 is idle. 4 (11), ready at 21.5 -> 1, to 24.5.
        # 3 (6.5), ready at 21: 21 + 1 + 2 = 24, behind 4: 25.5 -> 0. 2 (2): between 21 and
        # 21.5 -> 1. 5 (11) -> 1.
        lists, bound, memo = step("cpop", stages(1, 2, 3, 4, 5), 2, self.BUSY)
        assert (lists, bound) == ([[], [1, 2]], [[3], [1, 2, 4, 5]])
        # HEFT would have begun on device 0.
        assert step("heft", stages(1, 2, 3, 4, 5), 2, self.BUSY)[0] == [[1], [2]]
        assert step("cpop", stages(4, 5), 1, self.BUSY, memo)[0] == [[], [4]]

    def test_loads_move_what_is_not_on_the_path(self) -> None:
        """`cpop-state`: device 1 has to load B for the path; device 0 holds B."""
        # 1 -> 1, to 1. 4 -> 1: 1.5 + 10 + 3 = 14.5. 3 (A), ready at 1: behind 4, where A is
        # gone, 25.5; on device 0: 1 + 10 + 1 + 2 = 14 -> 0. 2 (A): 1 to 1.5 on device 1, A is
        # still there. 5 -> 1: 14.5 + 1 + 1.
        lists, bound, _ = step("cpop-state", stages(1, 2, 3, 4, 5), 2, LOADED)
        assert (lists, bound) == ([[], [1, 2]], [[3], [1, 2, 4, 5]])


class TestPeft:
    """Optimistic costs: 5: (0, 0). 4: (2, 1). 3: (2, 1). 2: (1, 1). 1: (5.5, 4.5).

    Of 1: child 3 costs at best min(4, 2 + 1), 2; child 4 min(8.5, 4 + 1 + .5), 4.5. Means over
    the devices that may run a stage: 5, 1, 1.5, 1.5, 0.
    """

    def test_finish_plus_what_is_left(self) -> None:
        """By mean cost: 1; then 3 before 4, which is equal; 2; 5."""
        # 1: 2 + 5.5, 1 + 4.5 -> 1. 3, ready at 1: 4 + 2, 2 + 1 -> 1. 4, ready at 1.5: 8.5 + 2,
        # 5 + 1 -> 1. 2: 5.5 on 1. 5, ready at 5.5: 5.5 + 3 + 2, 6.5 -> 1.
        lists, bound, memo = step("peft", stages(1, 2, 3, 4, 5), 2, LOADED)
        assert (lists, bound) == ([[], [1, 2]], [[], [1, 3, 4, 2, 5]])
        # Final: device 0 is idle, device 1 busy for a minute.
        late = (Box(), Box(free_in=(60.0,), speed=2.0))
        assert step("peft", stages(2, 3, 4, 5), 2, late, memo)[0] == [[], [3, 2]]

    def test_loads_count_in_the_finish(self) -> None:
        """`peft-state`: device 0 holds B, device 1 holds A."""
        # 1: 12 + 5.5, 1 + 4.5 -> 1. 3, ready at 1: 1 + 10 + 1 + 2, 2 -> 1. 4 (B), ready at 1.5:
        # 8.5 + 2, 2 + 10 + 3 + 1 -> 0. 2: 2.5 -> 1. 5 (B), ready at 8.5: 8.5 + 1 + 2,
        # 8.5 + 10 + 2 + 1 -> 0.
        lists, bound, _ = step("peft-state", stages(1, 2, 3, 4, 5), 2, LOADED)
        assert (lists, bound) == ([[], [1, 2]], [[4, 5], [1, 3, 2]])

    def test_late_binding_with_every_plan(self) -> None:
        """`peft-late` along the graph."""
        lists, bound, memo = step("peft-late", stages(1, 2, 3, 4, 5), 2, LOADED)
        assert (lists, bound, memo) == ([[], [1, 2]], [], None)
        # 3 (1.5) before 2 (1). Device 1 is busy for 2.2 s: 3 + 2, 3.2 + 1 -> 1, and waits.
        nodes = stages(2, 3, 4, 5, n3=(1.0, 0.0))
        busy = (Box(), Box(free_in=(2.2,), speed=2.0))
        assert step("peft-late", nodes, 2, busy)[0] == [[], [3, 2]]
        # 4 (1.5): 7 + 2, .5 + 3 + 1 -> 1; 2 (1) -> 1.
        short = (Box(), Box(free_in=(0.5,), speed=2.0))
        assert step("peft-late", stages(2, 4, 5, n4=(1.0, 0.0)), 2, short)[0] == [[], [4, 2]]

    def test_late_binding_that_sees_loads(self) -> None:
        """`peft-state-late`: 4 (B) goes to the device that holds B."""
        # 4: 1 + 6 + 2, 10 + 3 + 1 -> 0. 2 (A): .5 on device 1.
        nodes = stages(2, 4, 5, n4=(1.0, 0.0))
        assert step("peft-state-late", nodes, 2, LOADED)[0] == [[4], [2]]
        # 3 (A) and 5 (B): 3 -> 1 (10 + 1 + 2 + 2, 1 + 1); 5 -> 0 (2, 10 + 3 + 1).
        nodes = stages(3, 5, n3=(1.0, 0.0), n5=(0.0, 3.0))
        nodes[0].children = ()
        assert step("peft-state-late", nodes, 2, LOADED)[0] == [[5], [3]]
