"""Devices that run several calls at once, worked by hand.

A call has 100 prompt tokens at 10 ms and 10 output tokens at 100 ms, so it works 2 s if it is
alone, 3 s if it is the second one, 4 s if the third; a load takes 10 s. The clock stands at 100 s.
"""

from math import inf

import pytest
from tests.strategies import Box, Kind, Node, make_snapshot

from fate.domain.snapshot import Snapshot
from fate.policy.kernel.backend import ReferenceKernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_project import Aims, Places
from fate.policy.kernel.reference_rolled import LATE_EFT


def replay(snapshot: Snapshot, *orders: list[int]) -> list[float]:
    """Return when each call of the lists ends."""
    return ReferenceKernel(snapshot, Weights(depth=0)).replay(list(orders))


def project(snapshot: Snapshot, device: list[int], turn: list[float]) -> list[float]:
    """Return when each node of a plan ends."""
    whole = ReferenceKernel(snapshot, Weights()).whole(Aims(mean=0.0))
    return whole.project(Places(device, turn))[0].finish_s


def two(**box: object) -> Box:
    """A device with two idle slots."""
    return Box(**{"free_in": (0.0, 0.0), **box})  # type: ignore[arg-type]  # names of fields


def test_calls_that_begin_behind_a_load_meet_what_began_meanwhile() -> None:
    """Model 1 loads until 110 while a call of model 0 runs, to 110 or a little longer."""
    ready = [Node(model=1), Node(output=90.0)]
    box = two(resident={0: (-1, -1)}, memory=200)
    snapshot = make_snapshot(ready, [box], [Kind(), Kind()])
    # Node 1 begins at 100, alone, and works 1 + 9 s; it has just ended when node 0 begins at 110.
    assert replay(snapshot, [0, 1]) == [112.0, 110.0]
    slower = make_snapshot([Node(model=1), Node(output=95.0)], [box], [Kind(), Kind()])
    assert replay(slower, [0, 1]) == [113.0, 110.5]
    assert project(slower, [0, 0], [0.0, 1.0]) == [113.0, 110.5]


def test_a_model_in_use_is_not_evicted_and_what_needs_its_room_waits() -> None:
    """Two models fit, both are at work; the third is loaded when one of them is idle."""
    ready = [Node(model=0), Node(model=1, output=20.0), Node(model=2), Node(model=0)]
    box = Box(free_in=(0.0, 0.0, 0.0), resident={0: (-1,), 1: (-1,)}, memory=200)
    snapshot = make_snapshot(ready, [box], [Kind()] * 3)
    # 0 alone until 102; 1 beside it, 3 s at 1.5; 2 waits until 102, loads, begins at 112 alone.
    # 3 stands behind it and loads model 0 again, in place of 1, from 112 to 122.
    assert replay(snapshot, [0, 1, 2]) == [102.0, 104.5, 114.0, inf]
    assert replay(snapshot, [0, 1, 2, 3]) == [102.0, 104.5, 114.0, 124.0]
    assert project(snapshot, [0] * 4, [0.0, 1.0, 2.0, 3.0]) == [102.0, 104.5, 114.0, 124.0]


def test_a_sequence_in_use_is_left_alone() -> None:
    """The prompt's 90 tokens are in the sequence of the call that runs: the other one is empty."""
    prompt = (("head", 90), ("rest", 10))
    ready = [Node(prompt=prompt), Node(prompt=prompt)]
    contents = [(("m0", 0), ("head", 90))]
    free = two(resident={0: (0, -1)})
    # The first call finds 90 tokens and takes 0.1 + 1 s; the second, at 1.5, finds none.
    assert replay(make_snapshot(ready, [free], [Kind()], contents=contents), [0, 1]) == (
        pytest.approx([101.1, 103.0])
    )
    taken = Box(free_in=(0.0, 5.0), uses=((-1, -1), (0, 0)), resident={0: (0, -1)})
    snapshot = make_snapshot(ready[:1], [taken], [Kind()], contents=contents)
    assert replay(snapshot, [0]) == [103.0]


def test_calls_that_run_already_count_from_when_they_begin() -> None:
    """The call in slot 1 begins at 101: it is the second one then, and does not slow the first."""
    box = Box(
        free_in=(0.0, 3.0), uses=((-1, -1), (0, -1)), begins=((-1.0, 0.0, 0.0), (1.0, 0.0, 2.0)),
        resident={0: (-1,)},
    )  # fmt: skip
    snapshot = make_snapshot([Node(), Node(), Node()], [box], [Kind()])
    # 0: 100 to 102. Slot 1: 101 to 104. 1: from 102 beside slot 1, to 105. 2: from 104 to 107.
    assert replay(snapshot, [0, 1, 2]) == [102.0, 105.0, 107.0]
    assert project(snapshot, [0] * 3, [0.0, 1.0, 2.0]) == [102.0, 105.0, 107.0]


def test_loads_under_way_are_waited_for() -> None:
    """Model 0 is there at 104; model 1 is gone at 106 and loads anew."""
    box = two(resident={0: (-1, -1)}, settled_in={0: 4.0, 1: 6.0}, memory=200)
    snapshot = make_snapshot([Node(), Node(model=1)], [box], [Kind(), Kind()])
    assert replay(snapshot, [0, 1]) == [106.0, 118.0]
    assert project(snapshot, [0, 0], [0.0, 1.0]) == [106.0, 118.0]


def test_a_child_of_a_call_that_waits_for_its_load_is_released_when_that_ends() -> None:
    """Node 0 begins at 110 beside node 1, which ends at 112 anyhow; its child starts at 113."""
    ready, waiting = [Node(model=1, children=(2,)), Node(output=110.0)], [Node(after_s=0.0)]
    box = two(resident={0: (-1, -1)}, memory=200)
    snapshot = make_snapshot(ready, [box], [Kind(), Kind()], waiting)
    assert project(snapshot, [0] * 3, [0.0, 1.0, 2.0]) == [113.0, 112.0, 115.0]


def test_a_rule_goes_on_where_memory_is_in_use() -> None:
    """Its head waits for the call that runs; nothing is lost."""
    box = Box(free_in=(0.0, 3.0), uses=((-1, -1), (0, -1)), resident={0: (-1,)})
    snapshot = make_snapshot([Node(model=1), Node(model=1)], [box], [Kind(), Kind()])
    places = ReferenceKernel(snapshot, Weights()).whole(Aims()).rolled(LATE_EFT)
    assert places.device == [0, 0]
    assert project(snapshot, *places) == [115.0, 116.0]
