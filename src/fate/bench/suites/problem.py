"""What a suite asks of every policy: problems, each made from a small frozen description."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from fate.bench.case import Case


class Spec(Protocol):
    """A description from which any process makes the same case: a frozen msgspec Struct."""

    def case(self, seed: int, store: Path) -> Case:
        """Make the case. `store` keeps what is costly to make, for other processes too."""
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

    @property
    def settings(self) -> dict[str, Any]:
        """The description, as results show it."""
        return cast("dict[str, Any]", msgspec.to_builtins(self.spec))

    @property
    def label(self) -> str:
        """The problem, for people."""
        return f"{self.cell} seed {self.seed}"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A problem and the policies that one process runs on it, one after the other."""

    problem: Problem
    policies: tuple[str, ...]


def tasks(problems: Sequence[Problem], policies: Sequence[str]) -> list[Task]:
    """Return the job list: every policy on every problem, in this order."""
    return [Task(problem=problem, policies=tuple(policies)) for problem in problems]
