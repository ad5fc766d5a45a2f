"""Routers with queues, followed by hand: Autellix, Ayo, Parrot, Continuum, KVFlow.

As in `test_baselines`: a load takes 10 s, a call of 100 prompt and 10 answer tokens 1 s + 1 s.
"""

import pytest
from tests.strategies import Box, Node
from tests.unit.policy.baselines.serving_cases import WARM, call, decide
from tests.unit.policy.baselines.test_baselines import A, B, busy

HOLDS_A = {A: (-1, -1)}
BUSY = busy(5, HOLDS_A)


def programs() -> list[Node]:
    """Five calls of three programs. A token takes .1 s: queues end at 204.8, 819.2, 3276.8 s."""
    return [
        call(1, workflow=0, attained_s=300.0),
        call(2, workflow=1),
        call(3, workflow=0, attained_s=300.0, waited_s=600.0),
        call(4, workflow=2, attained_s=1000.0),
        call(5, workflow=1),
    ]


class TestPlas:
    """Least service of the program first."""

    def test_queues_by_service_and_fewest_calls(self) -> None:
        """Queues: 1 second, 2 and 5 first (no service), 4 third; 3 has starved: first."""
        # In order 2, 3, 5, 1, 4, each to the device with fewer calls: 0, 1, 0, 1, 0.
        lists, memo = decide("plas", programs())
        assert lists == [[2, 5, 4], [3, 1]]
        # 2 and 3 run. 6 is a long prompt: home is device 0, although 3 calls are there and 2 on
        # device 1. It is in the first queue like 5, which was there before it.
        left = [node for node in programs() if node.instance in (1, 4, 5)]
        new = call(6, workflow=3, tokens=3000.0, home=0)
        assert decide("plas", [*left, new], (BUSY, BUSY), memo=memo)[0] == [[5, 6, 4], [1]]

    def test_service_moves_a_queued_call_back(self) -> None:
        """Bound calls keep their device; their place follows what their program gets."""
        nodes = programs()
        _, memo = decide("plas", nodes)
        nodes[4].attained_s = 900.0  # 5 falls into the third queue, behind 4, which came first
        assert decide("plas", nodes[3:], (BUSY, BUSY), memo=memo)[0] == [[4, 5], []]

    def test_a_long_prompt_without_a_home_goes_to_fewest_calls(self) -> None:
        """The first call of a program has no home."""
        assert decide("plas", [call(1, tokens=3000.0)], (BUSY, WARM[1]))[0] == [[], [1]]

    def test_late_binding_chooses_anew(self) -> None:
        """The same queues; nothing stays where it was put, nobody waits for a busy home."""
        assert decide("plas-late", programs())[0] == [[2, 5, 4], [3, 1]]
        left = [node for node in programs() if node.instance in (1, 4, 5)]
        new = call(6, workflow=3, tokens=3000.0, home=0)
        # Device 0 runs one: 5 -> 1; 6 finds its home busy, (1, 1) calls -> 0; 1 -> 1; 4 -> 0.
        assert decide("plas-late", [*left, new], (BUSY, WARM[1]))[0] == [[6, 4], [5, 1]]
        # With a free slot at home it goes there, past the device that is lower.
        new.home = 1
        assert decide("plas-late", [new], WARM)[0] == [[], [6]]


class TestAtlas:
    """Least service on the longest path first."""

    def test_threads_of_one_program_differ(self) -> None:
        """The program has had 900 s; paths of 0, 250, 900, 100, 250 s: queues 1, 2, 3, 1, 2."""
        paths_s = (0.0, 250.0, 900.0, 100.0, 250.0)
        nodes = [call(i + 1, attained_s=900.0, path_s=path_s) for i, path_s in enumerate(paths_s)]
        # Order 1, 4, 2, 5, 3; calls before each are (1, 0) (1, 1) (2, 1) (2, 2) (3, 2).
        lists, memo = decide("atlas", nodes, (BUSY, WARM[1]))
        assert lists == [[4, 5], [1, 2, 3]]
        assert decide("atlas", nodes[1:], WARM, memo=memo)[0] == [[4, 5], [2, 3]]
        # Late: without 1, whose device is idle again, (1, 0) (1, 1) (2, 1) (2, 2) once more.
        assert decide("atlas-late", nodes[1:], (BUSY, WARM[1]))[0] == [[2, 3], [4, 5]]


def queries() -> tuple[list[Node], list[Node]]:
    """Two workflows: edges below calls 1 to 5 are 0, 2, 1, 1, 1; waiting ones are 6, 7, 8."""
    ready = [
        call(1, workflow=1),
        call(2, workflow=0, children=(5,)),
        call(3, workflow=0, children=(6,)),
        call(4, workflow=1, children=(7,)),
        call(5, workflow=0, children=(6,)),
    ]
    return ready, [call(6, children=(6,)), call(7), call(8, workflow=1)]


class TestAyo:
    """The oldest query, of it what is closest to the end, in turn."""

    def test_oldest_query_and_closest_to_its_end(self) -> None:
        """Workflow 0: 3 and 5 (1 edge), 2 (2 edges); workflow 1: 1 (none), 4. In turn 0 1 0 1 0."""
        ready, waiting = queries()
        lists, memo = decide("ayo", ready, WARM, waiting)
        assert lists == [[3, 2, 4], [5, 1]]
        # 3 and 5 run. 9, of workflow 0 and an end, takes the next turn, on device 1, and leads.
        left = [call(1, workflow=1), ready[1], call(4, workflow=1), call(9)]
        ends = [call(6, children=(5,)), call(7)]
        left[1].children = (4,)
        assert decide("ayo", left, (BUSY, BUSY), ends, memo)[0] == [[2, 4], [9, 1]]

    def test_late_binding_fills_idle_devices_in_turn(self) -> None:
        """Two idle devices take 3 and 5; then device 1 alone takes 2; then it is 0's turn."""
        ready, waiting = queries()
        lists, memo = decide("ayo-late", ready, WARM, waiting)
        assert lists == [[3], [5]]
        left = [call(1, workflow=1), call(2, children=(3,)), call(4, workflow=1)]
        lists, memo = decide("ayo-late", left, (BUSY, WARM[1]), [call(6)], memo)
        assert lists == [[], [2]]
        assert decide("ayo-late", left[2:], WARM, [], memo)[0] == [[4], []]


def siblings() -> tuple[list[Node], list[Node]]:
    """1 has 3 edges below it; 2, 3 and 4 share the consumer 9; 5 is an end, its prompt cached."""
    ready = [
        call(1, children=(5,)),
        *(call(number, children=(8,)) for number in (2, 3, 4)),
        call(5, prompt=(("p", 50),)),
    ]
    return ready, [call(6, children=(6,)), call(7, children=(7,)), call(8), call(9)]


#: Device 1 holds the prefix of call 5.
WITH_PREFIX = (WARM[0], Box(resident={A: (0, -1)}))
PREFIX = ((("m0", 0), ("p", 50)),)


class TestParrot:
    """Deep first, siblings together, prefixes where they are, bounds on what is together."""

    def test_groups_bounds_and_prefixes(self) -> None:
        """Order: 1 (3 edges), the group 2 3 4 (1 edge), 5 (none)."""
        ready, waiting = siblings()
        # 1: all alike -> 0, which now takes 4 calls at most. The group makes 4 of them: both may
        # take it, and 0 has the lower bound. 5: 4 are on 0, one more is too many -> 1.
        lists, memo = decide("parrot", ready, WARM, waiting)
        assert lists == [[1, 2, 3, 4], [5]]
        # 1 and 5 run. 7 and 8 share a consumer (1 edge): either device may take them; the group
        # queued on 0 bounds it at 99 999, nothing bounds 1 -> 0. 6 is an end, alone: there are 6
        # calls on 0 -> 1.
        new = [call(6), call(7, children=(6,)), call(8, children=(6,))]
        left = [*ready[1:4], *new]
        for node in left[:3]:
            node.children = (7,)
        both = (busy(5, HOLDS_A), busy(5, HOLDS_A))
        lists, memo = decide("parrot", left, both, [call(9), call(10)], memo)
        assert lists == [[2, 3, 4, 7, 8], [6]]

    def test_a_prefix_beats_room(self) -> None:
        """Device 1 is busy and device 0 is not; the prompt is cached on device 1."""
        devices = (WARM[0], busy(5, {A: (0, -1)}))
        lone = [call(5, prompt=(("p", 50),))]
        assert decide("parrot", lone, devices, contents=PREFIX)[0] == [[], [5]]
        assert decide("parrot", [call(6)], devices, contents=PREFIX)[0] == [[6], []]

    def test_what_no_device_may_take_waits_in_the_common_queue(self) -> None:
        """Eight calls alone fill two devices up to 4 each; the ninth is bound to none."""
        lists, memo = decide("parrot", [call(number) for number in range(1, 10)])
        assert [len(mine) for mine in lists] == [4, 4]
        assert memo is not None and sum(map(len, memo.orders)) == 8

    def test_late_binding_takes_no_more_than_free_slots(self) -> None:
        """1 -> 0; the group fits nowhere and is split: 2 -> 1. Then two free slots take 3 and 4."""
        ready, waiting = siblings()
        assert decide("parrot-late", ready, WITH_PREFIX, waiting, contents=PREFIX)[0] == [[1], [2]]
        left, consumer = [*ready[2:4], ready[4]], [call(9)]
        for node in left[:2]:
            node.children = (3,)
        wide = (BUSY, Box(free_in=(0.0, 0.0), resident=HOLDS_A))
        assert decide("parrot-late", left, wide, consumer)[0] == [[], [3, 4]]


def jobs() -> list[Node]:
    """Jobs 0 to 2; device 0 holds the prefix of 2, 4 and 5, all of which came from there."""
    prompt = (("p", 50),)
    return [
        call(1, workflow=2),
        call(2, workflow=1, prompt=prompt, parents_on=(1, 0), gap_s=0.5),
        call(3, workflow=0, parents_on=(0, 1)),
        call(4, workflow=0, prompt=prompt, parents_on=(1, 0), gap_s=2.5),
        call(5, workflow=1, prompt=prompt, parents_on=(1, 0), gap_s=1.0, waited_s=1.0),
    ]


class TestContinuum:
    """Jobs whose KV is held, then the oldest job."""

    def test_held_jobs_then_the_oldest(self) -> None:
        """2 and 5 are held on device 0; 3 has nothing cached; 4 paused 2.5 s, too long."""
        # 2, 5 -> 0 where they are held; then job 0: 3 -> 1 (2, 0), 4 -> 1 (2, 1); 1 -> 0 (2, 2).
        devices = (Box(resident={A: (0, -1)}), WARM[1])
        lists, memo = decide("continuum", jobs(), devices, contents=PREFIX)
        assert lists == [[2, 5, 1], [3, 4]]
        # 2 and 3 run; half a second later 5 has waited too long: job 1 still before job 2.
        left = [jobs()[0], jobs()[3], jobs()[4]]
        left[2].waited_s = 1.5
        both = (busy(5, {A: (0, -1)}), BUSY)
        lists, _ = decide("continuum", left, both, memo=memo, contents=PREFIX)
        assert lists == [[5, 1], [4]]

    def test_kv_that_is_gone_holds_nothing(self) -> None:
        """Without the prefix the order is that of jobs: 3, 4, 2, 5, 1."""
        assert decide("continuum", jobs(), contents=PREFIX)[0] == [[3, 2, 1], [4, 5]]

    def test_late_binding_may_wait_for_the_device_that_holds_it(self) -> None:
        """2 and 5 wait for device 0; the rest: 3 -> 1 (3, 0), 4 -> 1 (3, 1), 1 -> 1 (3, 2)."""
        devices = (busy(5, {A: (0, -1)}), WARM[1])
        lists, _ = decide("continuum-late", jobs(), devices, contents=PREFIX)
        assert lists == [[2, 5], [3, 4, 1]]


#: One sequence each: device 0 holds x, device 1 holds y.
AGENTS = (Box(resident={A: (0,)}, sequences=1), Box(resident={A: (1,)}, sequences=1))
X_AND_Y = ((("m0", 0), ("x", 50)), (("m0", 0), ("y", 50)))


@pytest.mark.parametrize("name", ["kvflow", "kvflow-late"])
class TestKvflow:
    """Fewest calls, then what is cached, then what is overwritten."""

    def test_queues_then_caches(self, name: str) -> None:
        """Calls before each: (0, 0) (1, 0) (1, 1) (1, 2) (2, 2)."""
        nodes = [call(number) for number in range(1, 6)]
        nodes[0].prompt, nodes[2].prompt = (("x", 50),), (("y", 50),)
        # 1 finds x on 0; 2 -> 1; 3 finds y on 1; 4 -> 0; 5: x and y are both needed now -> 0.
        assert decide(name, nodes, AGENTS, contents=X_AND_Y)[0] == [[1, 4, 5], [2, 3]]

    def test_what_is_needed_last_is_overwritten(self, name: str) -> None:
        """X is needed after one step, y after two: a call with neither goes where y is."""
        waiting = [call(2, prompt=(("x", 50),), children=(2,)), call(3, prompt=(("y", 50),))]
        lists, _ = decide(name, [call(1, children=(1,))], AGENTS, waiting, contents=X_AND_Y)
        assert lists == [[], [1]]

    def test_blocks_tell_what_goes_first(self, name: str) -> None:
        """Full caches of blocks: the least recently used node is x on 0, and nobody needs z."""
        boxes = [
            Box(cache=100, cached=((("m0", 0), ("x", 50)), (("m0", 0), ("z", 50)))),
            Box(cache=100, cached=((("m0", 0), ("z", 50)), (("m0", 0), ("x", 50)))),
        ]
        waiting = [call(2, prompt=(("x", 50),))]
        assert decide(name, [call(1, children=(1,))], boxes, waiting)[0] == [[], [1]]


def test_a_published_router_binds_for_good() -> None:
    """What was given to a device stays there, although the other one is idle by now."""
    for name in ("plas", "atlas", "ayo", "parrot", "continuum", "kvflow"):
        first = [call(1, model=A), call(2, model=B), call(3, model=A)]
        lists, memo = decide(name, first)
        assert sorted(number for mine in lists for number in mine) == [1, 2, 3], name
        home = next(device for device, mine in enumerate(lists) if 3 in mine)
        devices = [WARM[0], WARM[1]]
        devices[home] = busy(60)
        assert decide(name, first[2:], devices, memo=memo)[0][home] == [3], name
