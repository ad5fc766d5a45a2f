"""Min-min, max-min and sufferage on two devices, followed by hand.

As in `test_baselines`: a load takes 10 s, a call 1 s and .1 s for each token of the answer; one
model fits at a time. Device 0 holds A, device 1 holds B, both are idle.
"""

from math import inf

import pytest
from hypothesis import given
from tests.strategies import Box, Node, snapshots
from tests.unit.policy.baselines.test_baselines import A, B, ready, step

from fate.domain.snapshot import Snapshot
from fate.policy.baselines.batch_mode import (
    BatchModeState,
    Urgency,
    max_min,
    max_min_state,
    min_min,
    min_min_state,
    sufferage,
    sufferage_state,
)
from fate.policy.kernel.problem import Weights, plain
from fate.policy.measures import StateFinish

DEVICES = (Box(resident={A: (-1, -1)}), Box(resident={B: (-1, -1)}))


def calls() -> list[Node]:
    """Five calls: A of 2, 6 and 3 s are numbers 1, 3 and 5; B of 2 and 4 s are 2 and 4."""
    nodes = ready(A, B, A, B, A)
    for node, tokens in zip(nodes, (10.0, 10.0, 50.0, 30.0, 20.0), strict=True):
        node.output = tokens
    return nodes


@pytest.mark.parametrize(
    ("name", "lists"),
    [
        # Ends now: 1, 2 at 2 s; then 5 at 2 + 3, 4 at 2 + 4, 3 at 5 + 6, all where they are warm.
        ("min-min-state", [[1, 5, 3], [2, 4]]),
        # Best ends 2 2 6 4 3: 3 first. Then 5 (9, not 13), 1 (11, not 12), then 4 before 2.
        ("max-min-state", [[3, 5, 1], [4, 2]]),
        # All lose 10 s elsewhere: 1. Behind it 2 and 4 would lose 12: 2. Then 3, 4, 5 lose 10
        # again: 3; now 4 would lose 16 (6 or 22), 5 only 4 (11 or 15): 4, then 5.
        ("sufferage-state", [[1, 3, 5], [2, 4]]),
    ],
)
def test_five_calls_under_the_state(name: str, lists: list[list[int]]) -> None:
    """Each rule step by step, loads counted."""
    assert step(name, calls(), DEVICES)[0] == lists


@pytest.mark.parametrize(
    ("name", "lists"),
    [
        # 1 at 1 s on device 1; 2 at 2 s on either: 0. 5 at 1 + 1.5; 4 at 2.5 + 2; 3 at 4.5 + 3.
        ("min-min", [[2], [1, 5, 4, 3]]),
        # Best ends 1 1 3 2 1.5: 3 on 1. Then 4 (4, not 5) on 0; 5 (4.5, not 7) on 1; 1 before 2
        # (5.5, not 6) on 1; 2 (6, not 6.5) on 0.
        ("max-min", [[4, 2], [3, 5, 1]]),
        # Losses 1 1 3 2 1.5: 3 on 1. Then 2 2 1 1.5: 1 on 0. Then 2: 0, 4: 1, 5: .5: 4 on 1.
        # Then 2: 2, 5: 1.5: 2 on 0. 5 ends at 6.5 on 1, 7 on 0.
        ("sufferage", [[1, 2], [3, 4, 5]]),
    ],
)
def test_five_calls_as_published(name: str, lists: list[list[int]]) -> None:
    """Each rule step by step; device 1 is twice as fast, and what is loaded is not seen."""
    devices = (Box(resident={A: (-1, -1)}), Box(speed=2.0))
    assert step(name, calls(), devices)[0] == lists


NAMES = [rule + kind for rule in ("min-min", "max-min", "sufferage") for kind in ("", "-state")]


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_run_is_left_out(name: str) -> None:
    """A call that fits nowhere is in no list; with one host there is no second best."""
    nodes = ready(A, B)
    nodes[0].eligible = (0, 0)
    nodes[1].eligible = (1, 0)
    assert step(name, nodes, DEVICES)[0] == [[2], []]


def by_hand(snapshot: Snapshot, urgency: Urgency) -> list[list[int]]:
    """Return the lists of a rule, every end worked out anew before every choice."""
    p = plain(snapshot, Weights(depth=0))
    finish = StateFinish(snapshot, p, 0)
    left, orders = list(range(p.frontier)), [list[int]() for _ in range(p.devices)]
    while True:
        ends = {node: [finish.end_s(node, d) for d in range(p.devices)] for node in left}
        possible = {node: sorted(e for e in row if e < inf) for node, row in ends.items()}
        urgent = max(
            (node for node in left if possible[node]),
            key=lambda node: (urgency(possible[node]), -node),
            default=None,
        )
        if urgent is None:
            return orders
        device = ends[urgent].index(min(ends[urgent]))
        finish.place(urgent, device)
        orders[device].append(urgent)
        left.remove(urgent)


@pytest.mark.parametrize(
    ("policy", "urgency"),
    [
        (min_min_state(), min_min().urgency),
        (max_min_state(), max_min().urgency),
        (sufferage_state(), sufferage().urgency),
    ],
    ids=["min-min", "max-min", "sufferage"],
)
@given(snapshot=snapshots())
def test_the_rules_of_the_kernel_are_those_without_it(
    policy: BatchModeState, urgency: Urgency, snapshot: Snapshot
) -> None:
    """Under the state the same call is the most urgent as by the rule as published."""
    expected = [[snapshot.chunks[node] for node in order] for order in by_hand(snapshot, urgency)]
    assert [list(order) for order in policy.plan(snapshot, None).orders] == expected
