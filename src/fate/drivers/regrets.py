"""What comes after a chunk: what it would cost the rest to have the chunk on another device."""

from collections.abc import Sequence

from fate.domain.graph import Chunk
from fate.domain.plan import Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Policy
from fate.policy.fate.policy import FatePolicy
from fate.policy.foresight.policy import ForesightPolicy


def regrets(policy: Policy, snapshot: Snapshot, plan: Plan, chunk: Chunk) -> Sequence[float]:
    """Return [D] seconds that a policy held against each device beyond the chunk's own end.

    Nothing where it looks at the chunk alone, or where the chunk was not ready.

    Args:
        policy: the one that made the plan.
        snapshot: what it saw.
        plan: what it answered.
        chunk: one of the snapshot's.
    """
    if isinstance(policy, FatePolicy | ForesightPolicy) and chunk in snapshot.chunks:
        return policy.regrets(snapshot, plan, snapshot.chunks.index(chunk))
    return ()
