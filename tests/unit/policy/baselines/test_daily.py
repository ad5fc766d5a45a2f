"""What people run every day, followed by hand on two devices; times as in `test_baselines`."""

import pytest
from tests.strategies import Box, Node
from tests.unit.policy.baselines.test_baselines import A, B, busy, policy, ready, step

from fate.domain.errors import FateError


class TestArrivalLru:
    """The oldest call, where its model is loaded or else on the first idle device."""

    def test_it_swaps_rather_than_waits(self) -> None:
        """Five calls; device 0 holds B, device 1 holds A at first."""
        nodes = ready(A, A, B, A, B)
        holds_a, holds_b = {A: (-1, -1)}, {B: (-1, -1)}
        # 1 finds A on device 1; 2 takes the idle device that is left and swaps A in there.
        first = [Box(resident=holds_b), Box(resident=holds_a)]
        assert step("arrival-lru", nodes, first)[0] == [[2], [1]]
        # Device 1 is idle: 3 is the oldest and swaps B in, although 4 would find A there.
        assert step("arrival-lru", nodes[2:], [busy(9, holds_a), first[1]])[0] == [[], [3]]
        # Device 0 has A and is idle: 4.
        assert step("arrival-lru", nodes[3:], [Box(resident=holds_a), busy(9, holds_b)])[0] == [
            [4],
            [],
        ]
        # Both idle: 5 finds B on device 1.
        last = [Box(resident=holds_a), Box(resident=holds_b)]
        assert step("arrival-lru", nodes[4:], last)[0] == [[], [5]]

    def test_a_second_slot_finds_the_model_that_the_first_one_brings(self) -> None:
        """Two slots on device 0: 1 loads A there, and 2 follows rather than load it again."""
        boxes = [Box(free_in=(0.0, 0.0)), Box()]
        assert step("arrival-lru", ready(A, A), boxes)[0] == [[1, 2], []]


def prompts() -> list[Node]:
    """Five calls: 1, 2 and 3 start with 50 tokens of content 0, 2 and 3 share 40 more."""
    nodes = ready(A, A, A, A, A)
    nodes[0].prompt = (("system", 50),)
    nodes[1].prompt = nodes[2].prompt = (("system", 50), ("document", 40))
    return nodes


CONTENTS = [((f"m{A}", 0), ("system", 50), ("examples", 20))]


#: Three sequences each; device 0 has content 0.
REPLICAS = (
    Box(resident={A: (0, -1, -1)}, sequences=3),
    Box(resident={A: (-1, -1, -1)}, sequences=3),
)


#: The weights of llm-d's guide.
GUIDE = {"queue": 2.0, "kv": 2.0, "prefix": 3.0}


class TestWeightedScorers:
    """2 x queue + 2 x free KV + 3 x prefix."""

    def test_sums_are_compared(self) -> None:
        """Sums of (device 0, device 1) for each call."""
        # 1: 2 + 2 + 1.5, 2 + 2 + 0 -> 0. 2: 0 + 2 + 1.5, 2 + 2 + 0 -> 1 (0 has the queue).
        # 3: 2 + 2 + 1.5, 2 + 2 + 2.7 -> 1. 4: 2 + 2, 0 + 2 -> 0. 5: equal -> 0.
        lists, memo = step(
            "weighted-scorers", prompts(), REPLICAS, contents=CONTENTS, options=GUIDE
        )
        assert lists == [[1, 4, 5], [2, 3]]
        # 1 and 2 run; 6 starts with 70 tokens of content 0, of which 3 will leave 50 on device
        # 1: 0 + 0 + 2.1, 2 + 0 + 1.5 -> 1.
        busy_now = [
            busy(2, {A: (0, -1, -1)}),
            busy(2, {A: (-1, -1, -1)}),
        ]
        for box in busy_now:
            box.sequences = 3
        new = ready(A, A, A, A, A, A)[5]
        new.prompt = (("system", 50), ("examples", 20))
        assert step(
            "weighted-scorers",
            [*prompts()[2:], new],
            busy_now,
            memo,
            contents=CONTENTS,
            options=GUIDE,
        )[0] == [[4, 5], [3, 6]]

    def test_queues_count_double_by_default(self) -> None:
        """Call 3: 4 + 2 + 1.5 on device 0; 0 + 2 + 2.7 on device 1, where 2 waits -> 0."""
        lists, _ = step("weighted-scorers", [*prompts()[1:3]], REPLICAS, contents=CONTENTS)
        assert lists == [[2], [3]]

    def test_weights_are_options(self) -> None:
        """With the prefix alone 2 follows 1: 1.5 against 0."""
        only = {"queue": 0.0, "kv": 0.0, "prefix": 1.0}
        lists, _ = step(
            "weighted-scorers", prompts()[:2], REPLICAS, contents=CONTENTS, options=only
        )
        assert lists == [[1, 2], []]

    def test_late_binding_thinks_again(self) -> None:
        """The same sums, but 4 and 5 are free to go where the queue is shorter by then."""
        lists, memo = step(
            "weighted-scorers-late", prompts(), REPLICAS, contents=CONTENTS, options=GUIDE
        )
        assert lists == [[1, 4, 5], [2, 3]]
        # Device 0 runs 1, device 1 is idle. 4: 2 + 0, 2 + 2 -> 1. 5: 2 + 0, 0 + 2: equal -> 0.
        again = step("weighted-scorers-late", prompts()[3:], [busy(9), Box()], memo, options=GUIDE)
        assert again[0] == [[5], [4]]

    def test_weights_without_meaning_are_refused(self) -> None:
        """All zero would choose device 0 for ever."""
        with pytest.raises(FateError, match="policy weighted-scorers: weights must not be neg"):
            policy("weighted-scorers", queue=0.0, kv=0.0, prefix=0.0)
