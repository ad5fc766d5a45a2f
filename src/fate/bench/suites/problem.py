"""What a suite asks of every policy: problems, each made from a small frozen description."""

from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import msgspec

from fate.bench.case import Case
from fate.policy.base import Policy

#: A problem of so many workflows takes this power of it, about: more stages, more of them ready.
_GROWTH = 1.7


class Spec(Protocol):
    """A description from which any process makes the same case: a frozen msgspec Struct."""

    def case(self, seed: int, store: Path) -> Case:
        """Make the case. `store` keeps what is costly to make, for other processes too."""
        ...


@runtime_checkable
class Shows(Protocol):
    """A description that also says what policies are shown of the case."""

    def shown(self, policy: Policy, seed: int) -> Policy:
        """Return the policy behind whatever stands between it and the truth."""
        ...


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One instance: `cell` names the group it is counted in, `seed` is its place there."""

    suite: str
    cell: str
    seed: int
    spec: Any

    def case(self, store: Path) -> Case:
        """Make the case."""
        return cast("Spec", self.spec).case(self.seed, store)

    def shown(self, policy: Policy) -> Policy:
        """Return the policy as the problem lets it see."""
        return self.spec.shown(policy, self.seed) if isinstance(self.spec, Shows) else policy

    @property
    def weight(self) -> float:
        """About how long it takes, in that of one with a single workflow."""
        base = getattr(self.spec, "base", self.spec)
        return float(getattr(base, "workflows", 1)) ** _GROWTH

    @property
    def settings(self) -> dict[str, Any]:
        """The description, as results show it."""
        return cast("dict[str, Any]", msgspec.to_builtins(self.spec))

    @property
    def label(self) -> str:
        """The problem, for people."""
        return f"{self.cell} seed {self.seed}"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A problem and the policies that one process runs on it, one after the other.

    `drawn` problems keep what happened in each run, for the report. `bounded` ones take seconds
    for a lower bound that is as high as we can prove.
    """

    problem: Problem
    policies: tuple[str, ...]
    drawn: bool = False
    bounded: bool = False
