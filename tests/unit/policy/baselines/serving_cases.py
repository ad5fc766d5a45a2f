"""What the hand-worked cases of the workflow-serving proxies share.

Models, devices and times are those of `test_baselines`: a load takes 10 s, a call 1 s + 1 s.
"""

from collections.abc import Sequence

from tests.strategies import Box, Keys, Node, make_snapshot
from tests.unit.policy.baselines.test_baselines import MODELS, A, numbered, policy

from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot

#: Two idle devices that hold A and nothing else.
WARM = (Box(resident={A: (-1, -1)}), Box(resident={A: (-1, -1)}))


def call(number: int, **about: object) -> Node:
    """Return a call with a number of its own."""
    return Node(instance=number, **about)  # type: ignore[arg-type]  # fields of Node


def look(
    name: str,
    ready: Sequence[Node],
    devices: Sequence[Box] = WARM,
    waiting: Sequence[Node] = (),
    memo: Memo | None = None,
    contents: Sequence[Keys] = (),
) -> tuple[Snapshot, Plan]:
    """Return a snapshot and what a policy plans on it."""
    snapshot = make_snapshot(ready, devices, MODELS, waiting, contents=contents)
    return snapshot, policy(name).plan(snapshot, memo)


def decide(
    name: str,
    ready: Sequence[Node],
    devices: Sequence[Box] = WARM,
    waiting: Sequence[Node] = (),
    memo: Memo | None = None,
    contents: Sequence[Keys] = (),
) -> tuple[list[list[int]], Memo | None]:
    """Return the numbers of the calls on each device's list, and the memo."""
    snapshot, plan = look(name, ready, devices, waiting, memo, contents)
    return numbered(snapshot, plan), plan.memo
