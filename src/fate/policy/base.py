"""The policy contract."""

from typing import Literal, Protocol, TypeAlias

from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot

#: none: the frontier alone, for rules. near: generations below it as well, bounded in number, for a
#: horizon term. all: every visible stage with every edge, for a search over the whole DAG.
Lookahead: TypeAlias = Literal["none", "near", "all"]


class Policy(Protocol):
    """Orders the ready frontier over all devices.

    Pure: same snapshot and memo, same plan. Each frontier chunk at most once, only on devices
    where it is eligible; lists may name busy devices (waiting is allowed), but while nothing runs
    some idle device gets work. Randomness comes from a generator seeded with `snapshot.seed`.
    A policy that can aim at different things has `objectives` besides: its options by name of
    objective, for `--objective` (`registry.aim`). Checked by tests/contract/test_policies.py.
    """

    @property
    def name(self) -> str:
        """Registered name, kebab-case; written into every decision record."""
        ...

    @property
    def eager(self) -> bool:
        """Whether to plan when work arrives although no device is idle (early binding)."""
        ...

    @property
    def inline(self) -> bool:
        """Whether a plan takes microseconds, so that a worker thread costs more than it saves."""
        ...

    @property
    def lookahead(self) -> Lookahead:
        """Which stages that are not ready to see: `none`, those `near` the frontier, or `all`."""
        ...

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Return ordered lists per device, prefetches, and the memo for the next call."""
        ...
