"""Rules that are known from abstracts only, followed by hand: TOPAS, Latency-Aware Orchestration.

As in `test_baselines`: a load takes 10 s, a call of 100 prompt and 10 answer tokens 1 s + 1 s.
"""

from tests.strategies import Box, Kind, Node, make_snapshot
from tests.unit.policy.baselines.serving_cases import WARM, call, decide
from tests.unit.policy.baselines.test_baselines import A, B, busy, numbered, policy

from fate.domain.plan import Prefetch

C = 2
HOLDS_A, HOLDS_B = {A: (-1, -1)}, {B: (-1, -1)}


def tasks() -> list[Node]:
    """Tasks 0 (paths 10 and 2 s), 1 (6 and 5 s), 2 (2 s), the last 120 s old."""
    return [
        call(1, workflow=0, tail_s=8.0),
        call(2, workflow=0),
        call(3, workflow=1, tail_s=4.0),
        call(4, workflow=1, tail_s=3.0),
        call(5, workflow=2, age_s=120.0),
    ]


class TestTopas:
    """What shortens tasks most per token of KV, where it ends first."""

    def test_longest_paths_and_aging(self) -> None:
        """Calls of 2 s and 110 tokens shorten their tasks by 2, 0, 2, 1, 2 s; the last counts 3x.

        1 and 3 are on their task's longest path; 4 is 1 s behind it, 2 is 8 s behind.
        """
        # 5 -> 0 (2 s), 1 -> 1 (2 s), 3 -> 0 (4 s), 4 -> 1 (4 s), 2 -> 0 (6 s).
        assert decide("topas", tasks())[0] == [[5, 3, 2], [1, 4]]
        # Nothing is bound: 5 runs on 0 for 5 s more, 1 is done: 3 -> 1, 4 -> 1 (4 s), 2 -> 1 (6 s).
        left = [tasks()[1], tasks()[2], tasks()[3]]
        left[0].tail_s = left[1].tail_s = left[2].tail_s = 0.0
        lists, memo = decide("topas", left, (busy(5, HOLDS_A), WARM[1]))
        # Now all paths are as long: 2, 3, 4 by arrival; 4 would end at 7 s on 0, at 6 s on 1.
        assert (lists, memo) == ([[], [2, 3, 4]], None)

    def test_what_is_cached_counts(self) -> None:
        """50 cached tokens save .5 s: 2 goes before 1, and to where they are."""
        nodes = [call(1, workflow=0), call(2, workflow=1, prompt=(("p", 50),))]
        devices = (WARM[0], Box(resident={A: (0, -1)}))
        contents = ((("m0", 0), ("p", 50)),)
        assert decide("topas", nodes, devices, contents=contents)[0] == [[1], [2]]
        alone = (Box(resident={A: (0, -1)}),)
        assert decide("topas", nodes, alone, contents=contents)[0] == [[2, 1]]

    def test_what_is_handed_on_counts(self) -> None:
        """2 leaves 60 tokens to a child that waits for nothing else: before 1; 3's has two parents.

        The child of 2 makes its path no longer here, so that only reuse can tell them apart.
        """
        prompt = (("p", 60),)
        nodes = [
            call(1, workflow=0),
            call(2, workflow=1, prompt=prompt, children=(3,)),
            call(3, workflow=2, prompt=(("q", 60),), children=(4,)),
        ]
        waiting = [
            call(4, workflow=1, prompt=prompt),
            call(5, workflow=2, prompt=(("q", 60),)),
            call(6, workflow=2, children=(4,)),
        ]
        assert decide("topas", nodes, WARM[:1], waiting)[0] == [[2, 1, 3]]


class TestLatencyAware:
    """Most delayed path first; finish, and what loads and evictions mean for what comes."""

    def test_finish_weighed_with_demand(self) -> None:
        """Five ready calls, A B A B A, on devices with A and B; three of five want A."""
        # Paths of 8, 6, 4, 3, 2 s: 1, 2, 3, 4, 5. Elsewhere a load: 1 would end at 12 s, + .5 x
        # .4 x 10 for B that goes, - .5 x .6 x 10 for A that comes = 11, not 2 -> 0. Likewise all.
        tails_s = (6.0, 4.0, 2.0, 1.0, 0.0)
        nodes = [
            call(number, model=model, tail_s=tail_s)
            for number, model, tail_s in zip(range(1, 6), (A, B, A, B, A), tails_s, strict=True)
        ]
        devices = (Box(resident=HOLDS_A), Box(resident=HOLDS_B))
        assert decide("latency-aware", nodes, devices)[0] == [[1, 3, 5], [2, 4]]

    def test_what_is_in_demand_is_not_evicted(self) -> None:
        """A call of C fits on either device after 12 s; its three children want A, nobody B."""
        kinds = (Kind(), Kind(), Kind())
        ready = [call(1, model=C, children=(1, 2, 3))]
        waiting = [call(number, model=A) for number in (2, 3, 4)]
        devices = (Box(resident=HOLDS_A), Box(resident=HOLDS_B))
        # Evicting A costs .5 x .75 x 10 s, evicting B nothing.
        snapshot = make_snapshot(ready, devices, kinds, waiting)
        plan = policy("latency-aware").plan(snapshot, None)
        assert numbered(snapshot, plan) == [[], [1]]
        # late-eft has no reason to spare A.
        assert numbered(snapshot, policy("late-eft").plan(snapshot, None)) == [[1], []]

    def test_a_model_is_loaded_ahead_when_its_time_comes(self) -> None:
        """Device 1 is idle and empty; a stage of B is ready in 5 s, when its parent ends."""
        devices = (busy(5, HOLDS_A), Box())
        for ends_s, wishes in ((105.0, (Prefetch(device=1, model=B),)), (115.0, ())):
            waiting = [call(2, model=B, released_at_s=ends_s)]
            snapshot = make_snapshot([], devices, (Kind(), Kind()), waiting)
            assert policy("latency-aware").plan(snapshot, None).prefetch == wishes
