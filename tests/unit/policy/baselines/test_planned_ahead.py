"""Plans for whole workflows, followed by hand: Halo's two strategies and Helium.

As in `test_baselines`: a load takes 10 s, a token of an answer .1 s, a call 1 s + 1 s.
"""

from tests.strategies import Box, Node
from tests.unit.policy.baselines.serving_cases import WARM, call, decide
from tests.unit.policy.baselines.test_baselines import A, B, busy

from fate.domain.plan import Memo

HOLDS_A, HOLDS_B = {A: (-1, -1)}, {B: (-1, -1)}
BUSY = busy(5, HOLDS_A)


def two_trees() -> tuple[list[Node], list[Node]]:
    """1 -> 4 -> 6, 1 -> 5, 2 -> 5, and 3 alone."""
    ready = [call(1, children=(3, 4)), call(2, children=(4,)), call(3)]
    return ready, [call(4, children=(5,)), call(5), call(6)]


class TestHaloHeuristic:
    """Steps of the farthest operators, on a parent's device."""

    def test_steps_by_distance_on_parents_devices(self) -> None:
        """Edges below 1, 2, 3: 2, 1, 0."""
        # Step 1: three for two devices: 1 -> 0, 2 -> 1; 3 waits. Step 2: what became ready, 4 and
        # 5: 4 -> 0 with its parent 1; 5: 1's device is taken -> 1 with 2. Step 3: 6 -> 0 with 4;
        # one device is left for 3.
        ready, waiting = two_trees()
        lists, memo = decide("halo-heuristic", ready, WARM, waiting)
        assert memo is not None and memo.ahead == ((1, 4, 6), (2, 5, 3))
        # In order: 3 is ready, but behind 5, which is not.
        assert lists == [[1], [2]]
        # 2 is done and 1 runs: device 1 is idle, and still 3 does not overtake 5.
        left = [call(3)], [call(4, children=(3,)), call(5), call(6)]
        lists, memo = decide("halo-heuristic", left[0], (BUSY, WARM[1]), left[1], memo)
        assert lists == [[], []]
        # 1 is done: 4 and 5 may begin, 3 behind 5; 6 waits for 4.
        then = [call(3), call(4, children=(3,)), call(5)]
        lists, memo = decide("halo-heuristic", then, WARM, [call(6)], memo)
        assert lists == [[4], [5, 3]]
        assert memo is not None and memo.ahead == ((4, 6), (5, 3))

    def test_what_is_new_is_planned_with_all_that_waits(self) -> None:
        """7 arrives: step 1 takes 4 (1 edge; its parent ran on 1) and, of the ends, 3 before 7."""
        memo = Memo(ahead=((4, 6), (3,)))
        ready = [call(3), call(4, children=(3,), parents_on=(0, 1)), call(7)]
        lists, memo = decide("halo-heuristic", ready, WARM, [call(6)], memo)
        # 4 -> 1, 3 -> 0; step 2: 6 -> 1 with 4, 7 -> 0.
        assert memo is not None and memo.ahead == ((3, 7), (4, 6))
        assert lists == [[3, 7], [4]]

    def test_an_operator_with_many_items_is_spread(self) -> None:
        """Two chunks of two items for two devices; with two items in all it stays whole."""
        many = [call(1, items=2), call(1, items=2)]
        assert decide("halo-heuristic", many)[0] == [[1], [1]]
        assert decide("halo-heuristic", [call(1), call(1)])[0] == [[1, 1], []]

    def test_nothing_runs_and_the_head_waits(self) -> None:
        """A list whose head cannot begin does not stop everything."""
        lists, _ = decide("halo-heuristic", [call(2)], WARM, [call(1)], Memo(ahead=((1, 2), ())))
        assert lists == [[2], []]

    def test_late_binding_starts_the_farthest_where_parents_ran(self) -> None:
        """1 and 2 start; then 4 goes to its parent's device, and 3 to the one that is left."""
        ready, waiting = two_trees()
        assert decide("halo-heuristic-late", ready, WARM, waiting)[0] == [[1], [2]]
        left = [call(3), call(4, children=(2,), parents_on=(0, 1))]
        assert decide("halo-heuristic-late", left, WARM, [call(6)])[0] == [[3], [4]]
        # 3 does not wait for anything: device 1 is idle.
        assert decide("halo-heuristic-late", left[:1], (BUSY, WARM[1]))[0] == [[], [3]]


def models() -> tuple[list[Node], list[Node]]:
    """Demands 10 (A), 5 (B), 3 (A), 4 (B), 2 (A) s; 4 waits for 1, and 5 for 2."""
    ready = [
        call(1, model=A, output=100.0, children=(3,)),
        call(2, model=B, output=50.0, children=(4,)),
        call(3, model=A, output=30.0),
    ]
    return ready, [call(4, model=B, output=40.0), call(5, model=A, output=20.0)]


class TestHalo:
    """Beam search over steps."""

    def test_steps_follow_models(self) -> None:
        """Device 0 had A last, device 1 had B: a change costs 10 s, the same again saves 2.67 s."""
        # Step 1: 1 and 2 have a child: 1 -> 0 (7.3, not 20), 2 -> 1 (2.3, not 15).
        # Step 2: 3, 4, 5 are alike: 3 -> 0 (.3, not 13), 4 -> 1 (1.3, not 14).
        # Step 3: 5 -> 0 (-.7, not 12), although 0 has more to do.
        ready, waiting = models()
        devices = (Box(resident=HOLDS_A), Box(resident=HOLDS_B))
        lists, memo = decide("halo", ready, devices, waiting)
        assert memo is not None and memo.ahead == ((1, 3, 5), (2, 4))
        assert lists == [[1, 3], [2]], "4 waits for 1"
        # 2 is done, 1 runs: 5 is ready, but behind 3; device 1 waits for 4.
        left = [call(3, model=A), call(5, model=A)]
        running = (busy(5, HOLDS_A), Box(resident=HOLDS_B))
        lists, _ = decide("halo", left, running, [call(4, model=B)], memo)
        assert lists == [[3, 5], []]

    def test_swapped_neighbours_can_win(self) -> None:
        """Two calls of A, 10 and 3 s, in one step; only device 0 has A, and it is busy for 20 s.

        As they stand: 1 -> 0, 3 -> 1: 20 + 7.3 and 13, 27.3 at most. Swapped: 20 + .3 and 20.
        """
        ready, _ = models()
        alone = [call(1, model=A, output=100.0), ready[2]]
        devices = (busy(20, HOLDS_A), Box(resident=HOLDS_B))
        assert decide("halo", alone, devices)[0] == [[3], [1]]
        assert decide("halo-late", alone, devices)[0] == [[3], [1]]

    def test_the_heaviest_is_spread_over_devices_left(self) -> None:
        """Four items, alone: two parts. With two items, or beside other work, it stays whole."""
        many = [call(1, items=2, output=20.0), call(1, items=2, output=20.0)]
        assert decide("halo", many)[0] == [[1], [1]]
        assert decide("halo", [call(1), call(1)])[0] == [[1, 1], []]
        assert decide("halo", [*many, call(2, model=B)])[0] == [[1, 1], [2]]

    def test_late_binding_searches_from_what_devices_do(self) -> None:
        """The first plan again; then device 1 is idle, and 5 is searched for anew."""
        ready, waiting = models()
        devices = (Box(resident=HOLDS_A), Box(resident=HOLDS_B))
        lists, memo = decide("halo-late", ready, devices, waiting)
        assert (lists, memo) == ([[1, 3], [2]], None)
        # Device 0 is busy for 5 s. Alike by rank: 3 and 5. As they stand 3 -> 0, 5 -> 1: 5.3, 12;
        # swapped 5 -> 0, 3 -> 1: 4.3, 13. The first has less on its most loaded device.
        left = [call(3, model=A, output=30.0), call(5, model=A, output=20.0)]
        running = (busy(5, HOLDS_A), Box(resident=HOLDS_B))
        assert decide("halo-late", left, running)[0] == [[3], [5]]


def prompts() -> tuple[list[Node], list[Node]]:
    """Prompts s-x of 1 and 4, s of 2 and 6, t of 3 and 5; 6 waits for 3."""
    s, x, t = ("s", 50), ("x", 30), ("t", 50)
    ready = [
        call(1, prompt=(s, x)),
        call(2, prompt=(s,)),
        call(3, prompt=(t,), children=(5,)),
        call(4, prompt=(s, x)),
        call(5, prompt=(t,)),
    ]
    return ready, [call(6, prompt=(s,))]


class TestHelium:
    """A walk over the tree of prompts, divided by token steps."""

    def test_walk_and_partition(self) -> None:
        """An answer of 10 tokens behind n new ones costs 10 n + 55 token steps.

        Walk: below t is the only path of one edge, so t first: 3, then 5. Then s: the subtree x (1,
        4), the end 2, and 6, which can begin only a step later.
        """
        # 3: 1055 on either -> 0. 5: behind t 1055 + 555 on 0, 1055 on 1 -> 1. 1: equal -> 0 (2110).
        # 4: behind s-x 2110 + 255 on 0, 1055 + 1055 on 1 -> 1 (2110). 2: equal -> 0 (2665).
        # 6: 2665 + 555 on 0, 2110 + 555 on 1 -> 1.
        ready, waiting = prompts()
        lists, memo = decide("helium", ready, WARM, waiting)
        assert memo is not None and memo.ahead == ((3, 1, 2), (5, 4, 6))
        assert lists == [[3, 1, 2], [5, 4]]
        # 3 and 5 have run, 4 runs: 6 is ready and next on device 1.
        left = [ready[0], ready[1], call(6, prompt=(("s", 50),))]
        assert decide("helium", left, (WARM[0], BUSY), memo=memo)[0] == [[1, 2], [6]]

    def test_devices_skip_what_is_not_ready(self) -> None:
        """The order is soft: 6 stands first on device 1 but waits."""
        memo = Memo(ahead=((1,), (6, 2)))
        waiting = [call(6)]
        assert decide("helium", [call(1), call(2)], WARM, waiting, memo)[0] == [[1], [2]]

    def test_late_binding_counts_what_is_cached(self) -> None:
        """The same walk: 3, 5, 1, 4, 2 in turn by token steps; then a cached prefix decides."""
        ready, waiting = prompts()
        assert decide("helium-late", ready, WARM, waiting)[0] == [[3, 1, 2], [5, 4]]
        holds_s = Box(resident={A: (0, -1)})
        contents = ((("m0", 0), ("s", 50)),)
        # 1: 1055 on 0, 555 on 1 -> 1. 4: 1055, 555 + 555 -> 0. 2: 2110, 1110 -> 1.
        left = [ready[0], ready[1], ready[3]]
        lists, _ = decide("helium-late", left, (WARM[0], holds_s), contents=contents)
        assert lists == [[4], [1, 2]]


def test_a_lost_device_makes_a_new_plan() -> None:
    """What was laid down for a device that is gone is laid down for the other one."""
    lost = Box(free_in=(float("inf"),))
    for name in ("halo", "halo-heuristic", "helium"):
        memo = Memo(ahead=((1,), (2,)))
        lists, memo = decide(name, [call(1), call(2)], (WARM[0], lost), memo=memo)
        assert lists == [[1, 2], []], name
        assert memo is not None and memo.ahead == ((1, 2), ()), name
