"""CP-SAT's choice against every assignment there is."""

from itertools import product

import numpy as np
import pytest
from tests.strategies import Box, Kind, Node, make_snapshot

from fate.domain.snapshot import Snapshot
from fate.policy.fate.cpsat import solve, to_ticks
from fate.policy.kernel.problem import UNLIMITED, Weights, plain
from fate.policy.kernel.reference import Future, Orders, objective, replay
from fate.policy.kernel.reference_plans import EFT, greedy, no_future


def random_snapshot(seed: int) -> Snapshot:
    """Draw up to five calls on up to two devices that hold one model each."""
    rng = np.random.default_rng(seed)
    kinds = [
        Kind(load_s=float(rng.uniform(0.5, 6.0)), unload_s=0.1, decode_s=float(rng.uniform(0, 0.3)))
        for _ in range(3)
    ]
    ready = [
        Node(
            model=int(rng.integers(3)),
            output=float(rng.integers(1, 40)),
            tail_s=float(rng.uniform(0, 5)),
        )
        for _ in range(int(rng.integers(2, 6)))
    ]
    boxes = [
        Box(
            free_in=(float(rng.uniform(0, 3)),),
            resident={int(rng.integers(3)): ()},
            sequences=0,
            speed=float(rng.uniform(0.5, 2)),
        )
        for _ in range(int(rng.integers(1, 3)))
    ]
    return make_snapshot(ready, boxes, kinds)


def by_force(snapshot: Snapshot, weights: Weights, order: list[int], future: Future) -> float:
    """Return the best J over all assignments in a fixed order that keep the shard limit."""
    p = plain(snapshot, weights)
    best_s = float("inf")
    for homes in product(range(p.devices), repeat=len(order)):
        hosts: dict[int, set[int]] = {}
        orders: Orders = [[] for _ in range(p.devices)]
        for node, device in zip(order, homes, strict=True):
            orders[device].append(node)
            hosts.setdefault(p.instance[node], set()).add(device)
        if all(len(devices) <= weights.limit for devices in hosts.values()):
            best_s = min(best_s, objective(p, orders, future))
    return best_s


@pytest.mark.parametrize("seed", range(25))
def test_the_answer_is_the_best_assignment_in_the_fixed_order(seed: int) -> None:
    """Loads, reloads and regret are priced as the exact replay prices them, up to ticks."""
    snapshot, weights = random_snapshot(seed), Weights(tau=0.5)
    p = plain(snapshot, weights)
    rng = np.random.default_rng(seed)
    future: Future = rng.uniform(0.0, 2.0, (p.frontier, p.devices)).tolist()
    hint = greedy(p, no_future(p), EFT)
    ends_s = replay(p, hint)
    home = {node: device for device, order in enumerate(hint) for node in order}
    order = sorted(home, key=lambda node: (ends_s[node], home[node], node))
    answer = solve(p, hint, future, ends_s)
    assert answer.status == "optimal" and answer.gap == 0.0 and answer.orders is not None
    best_s = by_force(snapshot, weights, order, future)
    assert objective(p, answer.orders, future) == pytest.approx(best_s, abs=0.02)


@pytest.mark.parametrize("limit", [1, UNLIMITED])
def test_an_instance_stays_within_its_column(limit: int) -> None:
    """Four chunks of one map on three devices: together at limit 1, spread without a limit."""
    chunks = [Node(instance=7, output=100.0) for _ in range(4)]
    p = plain(
        make_snapshot(chunks, [Box(), Box(), Box()], [Kind(load_s=1.0)]), Weights(limit=limit)
    )
    hint = greedy(p, no_future(p), EFT)
    orders = solve(p, hint, no_future(p), replay(p, hint)).orders
    assert orders is not None
    assert sum(bool(order) for order in orders) == (1 if limit == 1 else 3)


def test_a_device_that_serves_already_counts_where_it_can_take_no_more() -> None:
    """Of two devices that may hold chunks one runs some, and is too small for the others."""
    chunks = [Node(instance=7, output=100.0) for _ in range(4)]
    boxes = [Box(), Box(), Box(running=(7,), free_in=(50.0,), memory=0)]
    p = plain(make_snapshot(chunks, boxes, [Kind(load_s=1.0)]), Weights(limit=2))
    hint: Orders = [[0, 1, 2, 3], [], []]
    orders = solve(p, hint, no_future(p), replay(p, hint)).orders
    assert orders is not None
    assert [bool(order) for order in orders].count(True) == 1 and not orders[2]


def test_a_prefix_left_by_an_earlier_call_draws_the_next_one() -> None:
    """Second and third continue the first: 9 s of prefill saved beside it."""
    shared = (("system", 900),)
    ready = [Node(tokens=1000.0, prompt=shared), Node(tokens=1000.0, prompt=shared)]
    boxes = [Box(resident={0: (-1, -1)}), Box(free_in=(4.0,), resident={0: (-1, -1)})]
    p = plain(make_snapshot(ready, boxes, [Kind()]), Weights())
    answer = solve(p, [[0], [1]], no_future(p), replay(p, [[0], [1]]))
    assert answer.orders == [[0, 1], []]


def test_seconds_become_ticks_in_one_place() -> None:
    """Milliseconds, rounded."""
    assert (to_ticks(1.2345), to_ticks(0.0)) == (1234, 0)
