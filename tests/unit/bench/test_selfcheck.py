"""The rules between runs: they hold, and each of them can be broken."""

import dataclasses
from collections.abc import Callable

import pytest

from fate.bench import selfcheck
from fate.bench.case import Case
from fate.bench.exact import Exact
from fate.bench.guards import GuardError
from fate.bench.rivals import RIVALS
from fate.bench.selfcheck import (
    check_names,
    check_optimum,
    check_projection,
    check_rules,
    check_twin,
)
from fate.policy.base import Policy
from fate.policy.baselines.greedy import LateEft
from fate.policy.baselines.queueing import round_robin

#: Searches with small budgets: they are checked here for not being wrong, not for being good.
SMALL = ("fate?moves=40", "foresight?projections=4&rules=20")


def test_every_policy_keeps_the_rules() -> None:
    """All baselines and both planners, with other small cases than a run has."""
    twins = [name for name in RIVALS if f"{name}-state" in RIVALS]
    names = [*RIVALS, *SMALL]
    assert check_rules(names, seed=7) == len(names) + 1 + 2 * len(twins) + 2 * len(RIVALS)


def test_what_others_register_is_not_judged() -> None:
    """Rules are those of the policies that are built in; here only the projection is left."""
    assert check_rules(["somebody/elses"], seed=0) == 1


def stand_in(policies: dict[str, Callable[[], Policy]]) -> Callable[[str], Policy]:
    """Return what finds policies by name in a table."""
    return lambda name: policies[name]()


def test_twins_that_differ_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where states cost nothing there is nothing to see."""
    monkeypatch.setattr(selfcheck, "ready_policy", stand_in({"x": round_robin, "x-state": LateEft}))
    with pytest.raises(GuardError, match="x and x-state differ from call"):
        check_twin("x", seed=0)


def test_optima_that_are_too_high_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy cannot be better than the best there is: then the optimum is none."""
    real = selfcheck.solve_exact

    def too_high(case: Case) -> Exact:
        found = real(case)
        return dataclasses.replace(found, bound_s=2.0 * found.bound_s)

    monkeypatch.setattr(selfcheck, "solve_exact", too_high)
    with pytest.raises(GuardError, match=r"late-eft on a small case of seed 0: .* is below"):
        check_optimum(["late-eft"], seed=0)


def test_projections_that_are_off_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever little more than rounding."""

    def off(_case: Case, _seed: int) -> tuple[float, float]:
        return 0.0, 1e-6

    monkeypatch.setattr(selfcheck, "projection_error", off)
    with pytest.raises(GuardError, match="off by 1e-06 of the makespan"):
        check_projection(seed=0)


def test_names_that_matter_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something changes with the names: here the second workflow is gone."""

    def less(case: Case) -> Case:
        return dataclasses.replace(case, arrivals=case.arrivals[:1])

    monkeypatch.setattr(selfcheck, "renamed", less)
    with pytest.raises(GuardError, match=r"late-eft: .* when equal devices are renamed"):
        check_names("late-eft", seed=0)
