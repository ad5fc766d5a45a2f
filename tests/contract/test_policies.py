"""What `policy/base.py` promises, checked for every registered policy."""

from itertools import groupby
from typing import cast

import msgspec
import numpy as np
import pytest
from hypothesis import given
from tests.strategies import snapshots

from fate.bench.rivals import PLANNERS, RIVALS
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Policy
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference import appraise
from fate.policy.kernel.reference_state import benches
from fate.registry import BUILTIN, build

every_policy = pytest.mark.parametrize("name", sorted(BUILTIN["policy"]))

#: Rivals side by side, by the first letter; each planner on its own.
GROUPS = [
    *(tuple(group) for _, group in groupby(sorted(RIVALS), key=lambda name: name[0])),
    *((name,) for name in PLANNERS if name in BUILTIN["policy"]),
]

_ARRAYS = [name for name, kind in Snapshot.__annotations__.items() if "ndarray" in str(kind)]


def make(name: str) -> Policy:
    """Return a fresh policy object."""
    return cast("Policy", build("policy", name))


def freeze(snapshot: Snapshot) -> Snapshot:
    """Make writing to any array of the snapshot raise."""
    for name in _ARRAYS:
        getattr(snapshot, name).flags.writeable = False
    return snapshot


def check(snapshot: Snapshot, plan: Plan, name: str) -> None:
    """Each chunk at most once, only where it is eligible; indices exist; progress."""
    placed = [chunk for order in plan.orders for chunk in order]
    rows = {chunk: row for row, chunk in enumerate(snapshot.chunks)}
    assert len(plan.orders) == snapshot.devices, name
    assert len(set(placed)) == len(placed) and set(placed) <= set(rows), name
    for device, order in enumerate(plan.orders):
        assert all(snapshot.eligible[rows[chunk], device] for chunk in order), name
    for wish in plan.prefetch:
        assert 0 <= wish.device < snapshot.devices, name
        assert 0 <= wish.model < snapshot.load_s.shape[1], name
    if _nothing_runs(snapshot) and _something_can_start(snapshot):
        assert any(plan.orders[device] for device in snapshot.idle()), (
            f"{name}: no idle device gets work"
        )


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


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
@given(snapshot=snapshots())
def test_policy_contract(group: tuple[str, ...], snapshot: Snapshot) -> None:
    """Plans are legal, a function of snapshot and memo alone, and survive the journal.

    Several policies see each snapshot, because drawing one takes longer than planning on it.
    """
    frozen = freeze(snapshot)
    for name in group:
        _keeps_the_contract(name, frozen)


def _keeps_the_contract(name: str, snapshot: Snapshot) -> None:
    policy = make(name)
    plan = policy.plan(snapshot, None)
    check(snapshot, plan, name)
    assert plan.policy == name
    assert policy.plan(snapshot, None) == plan == make(name).plan(snapshot, None), name
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan, name
    again = policy.plan(snapshot, plan.memo)
    check(snapshot, again, name)
    assert make(name).plan(snapshot, plan.memo) == again, f"{name} remembers beside its memo"
    # A memo of another cluster, with chunks long gone and everything bound everywhere.
    strange = Memo(orders=(snapshot.chunks,) * 6, cursor=99)
    check(snapshot, policy.plan(snapshot, strange), name)
