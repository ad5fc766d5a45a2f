"""Locality-first and prefix-affinity with their bound on load, followed by hand.

As in `test_baselines`: a call takes 2 s. With a cap of 1.25 and two devices, a device may take a
call while its seconds are at most .625 x (the seconds of both + 2).
"""

import pytest
from tests.strategies import Box, Node
from tests.unit.policy.baselines.test_baselines import A, busy, policy, ready, step

from fate.domain.errors import FateError

HOLDS = {A: (0, -1)}
EMPTY = {A: (-1, -1)}
CONTENTS = [((f"m{A}", 0), ("system", 50))]


def readers() -> list[Node]:
    """Five calls: 1, 2, 3 read what lies on device 0, 4 what lies on device 1, 5 nothing."""
    nodes = ready(A, A, A, A, A)
    for node in nodes[:3]:
        node.transfer_s = (0.0, 3.0)
    nodes[3].transfer_s = (3.0, 0.0)
    return nodes


def sharers() -> list[Node]:
    """Five calls: 1 to 4 start with the 50 tokens of content 0, 3 and 4 share 30 more."""
    nodes = ready(A, A, A, A, A)
    for node in nodes[:2]:
        node.prompt = (("system", 50),)
    for node in nodes[2:4]:
        node.prompt = (("system", 50), ("document", 30))
    return nodes


class TestLocalityFirst:
    """To the parents' outputs, while the load is within bounds."""

    def test_the_bound_sends_the_third_away(self) -> None:
        """Seconds of (device 0, device 1), and the bound."""
        # 1: (0, 0), 1.25: both may, 0 s or 3 s to gather -> 0. 2: (2, 0), 2.5 -> 0.
        # 3: (4, 0), 3.75: 0 may not -> 1. 4: (4, 2), 5: both may, 3 s or 0 s -> 1.
        # 5: (4, 4): equal -> 0.
        lists, memo = step("locality-first", readers(), [Box(), Box()])
        assert lists == [[1, 2, 5], [3, 4]]
        # Final, whoever is idle.
        assert step("locality-first", readers()[1:], [busy(9), Box()], memo)[0] == [
            [2, 5],
            [3, 4],
        ]

    def test_where_outputs_are_free_to_move_parents_decide(self) -> None:
        """1 and 2 come from device 1, 3 from both, more of it from device 1."""
        nodes = ready(A, A, A)
        nodes[0].parents_on = nodes[1].parents_on = (0, 1)
        nodes[2].parents_on = (1, 3)
        # 1: (0, 0) -> 1. 2: (0, 2), 2.5: both may -> 1. 3: (0, 4), 3.75: 1 may not -> 0.
        assert step("locality-first", nodes, [Box(), Box()])[0] == [[3], [1, 2]]

    def test_the_cap_is_an_option(self) -> None:
        """With a cap of 4 the first three stay with their data: 3 at (4, 0), bound 12."""
        lists, _ = step("locality-first", readers(), [Box(), Box()], options={"cap": 4.0})
        assert lists == [[1, 2, 3], [4, 5]]

    def test_late_binding_thinks_again(self) -> None:
        """1 and 2 have run; device 0 has 6 s to go, device 1 is idle."""
        lists, memo = step("locality-first-late", readers(), [Box(), Box()])
        assert lists == [[1, 2, 5], [3, 4]]
        # 3: (6, 0), 5: 0 may not -> 1. 4: (6, 2), 6.25: both may -> 1. 5: (6, 4), 7.5: both
        # may, nothing to gather: the less loaded -> 1.
        assert step("locality-first-late", readers()[2:], [busy(6), Box()], memo)[0] == [
            [],
            [3, 4, 5],
        ]


class TestPrefixAffinity:
    """To the longest cached prefix, while the load is within bounds."""

    def test_what_is_bound_is_as_good_as_cached(self) -> None:
        """Device 0 has content 0; seconds as for locality, since hits do not shorten the load."""
        # 1: 50 tokens or 0 -> 0. 2: (2, 0), 2.5: 50 (of 1, by then) or 0 -> 0.
        # 3: (4, 0), 3.75: 0 may not -> 1. 4: (4, 2), 5: 50 or 80 (of 3) -> 1. 5: equal -> 0.
        devices = [Box(resident=HOLDS), Box(resident=EMPTY)]
        lists, memo = step("prefix-affinity", sharers(), devices, contents=CONTENTS)
        assert lists == [[1, 2, 5], [3, 4]]
        later = [busy(30, HOLDS), Box(resident=HOLDS)]
        assert step("prefix-affinity", sharers()[1:], later, memo, contents=CONTENTS)[0] == [
            [2, 5],
            [3, 4],
        ]

    def test_late_binding_waits_for_the_prefix(self) -> None:
        """1 and 2 have started; device 0 has 3 s to go and still holds content 0."""
        nodes = sharers()[2:]
        # 3: (3, 0), 3.125: both may, 50 or 0 -> 0, though 1 is idle. 4: (5, 0), 4.375: 0 may
        # not -> 1. 5: (5, 2), 5.625: both may, nothing cached: the less loaded -> 1.
        devices = [busy(3, HOLDS), Box(resident=EMPTY)]
        lists, _ = step(
            "prefix-affinity-late", nodes, devices, contents=CONTENTS, options={"cap": 1.25}
        )
        assert lists == [[3], [4, 5]]


@pytest.mark.parametrize("name", ["locality-first", "prefix-affinity-late"])
def test_a_cap_below_the_mean_is_refused(name: str) -> None:
    """No device could take anything once all are equally loaded."""
    with pytest.raises(FateError, match=f"policy {name}: cap must be at least 1"):
        policy(name, cap=0.5)
