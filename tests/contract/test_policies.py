"""What `policy/base.py` promises, checked for every registered policy."""

from typing import cast

import msgspec
import numpy as np
import pytest
from hypothesis import given
from tests.strategies import snapshots

from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Policy
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference import appraise, benches
from fate.registry import BUILTIN, build

every_policy = pytest.mark.parametrize("name", sorted(BUILTIN["policy"]))

_ARRAYS = [name for name, kind in Snapshot.__annotations__.items() if "ndarray" in str(kind)]


def make(name: str) -> Policy:
    """Return a fresh policy object."""
    return cast("Policy", build("policy", name))


def freeze(snapshot: Snapshot) -> Snapshot:
    """Make writing to any array of the snapshot raise."""
    for name in _ARRAYS:
        getattr(snapshot, name).flags.writeable = False
    return snapshot


def check(snapshot: Snapshot, plan: Plan) -> None:
    """Each chunk at most once, only where it is eligible; indices exist; progress."""
    placed = [chunk for order in plan.orders for chunk in order]
    rows = {chunk: row for row, chunk in enumerate(snapshot.chunks)}
    assert len(plan.orders) == snapshot.devices
    assert len(set(placed)) == len(placed) and set(placed) <= set(rows)
    for device, order in enumerate(plan.orders):
        assert all(snapshot.eligible[rows[chunk], device] for chunk in order)
    for wish in plan.prefetch:
        assert 0 <= wish.device < snapshot.devices
        assert 0 <= wish.model < snapshot.load_s.shape[1]
    if _nothing_runs(snapshot) and _something_can_start(snapshot):
        assert any(plan.orders[device] for device in snapshot.idle()), "no idle device gets work"


def _nothing_runs(snapshot: Snapshot) -> bool:
    slots = snapshot.free_at_s
    return bool(np.all((slots <= snapshot.now_s) | np.isinf(slots)))


def _something_can_start(snapshot: Snapshot) -> bool:
    p = plain(snapshot, Weights(depth=0), lookahead=False)
    state = benches(p)
    return any(
        appraise(p, state[device], device, node) is not None
        for node in range(p.frontier)
        for device in snapshot.idle()
    )


@every_policy
def test_the_name_is_the_registered_one(name: str) -> None:
    """The name in decision records leads back to the registry."""
    assert make(name).name == name


@every_policy
@given(snapshot=snapshots())
def test_policy_contract(name: str, snapshot: Snapshot) -> None:
    """Plans are legal, a function of snapshot and memo alone, and survive the journal.

    One test, because drawing snapshots takes longer than planning on them.
    """
    policy, frozen = make(name), freeze(snapshot)
    plan = policy.plan(frozen, None)
    check(frozen, plan)
    assert plan.policy == name
    assert policy.plan(frozen, None) == plan == make(name).plan(frozen, None), "remembers"
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    again = policy.plan(frozen, plan.memo)
    check(frozen, again)
    assert make(name).plan(frozen, plan.memo) == again, "remembers by other means than its memo"
    # A memo of another cluster, with chunks long gone and everything bound everywhere.
    strange = Memo(orders=(snapshot.chunks,) * 6, cursor=99)
    check(frozen, policy.plan(frozen, strange))
