"""Suites on the headline's cells: wrong estimates, arrivals over time, parts left out."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec

from fate.bench.case import Case
from fate.bench.hints import Undeclared
from fate.bench.policies import ready_policy
from fate.bench.suites.problem import Problem
from fate.bench.suites.real_dag import HEADLINE, ProxySpec, batch
from fate.bench.suites.results import Run
from fate.bench.suites.suite import Choice, Pool, Within, never
from fate.bench.workloads.arrivals import at_share
from fate.bench.workloads.noise import biased, noisy, stale_prefixes, wrong_lengths
from fate.bench.workloads.regimes import NON_COMPUTE
from fate.policy.base import Policy

#: The group in which nothing is wrong.
EXACT = "exact"
#: What may be wrong: name -> how a case is changed. The first changes nothing.
WRONG: dict[str, Callable[[Case], Case]] = {
    EXACT: lambda case: case,
    "sigma .3": lambda case: noisy(case, 0.3),
    "sigma .5": lambda case: noisy(case, 0.5),
    "bias .7": lambda case: biased(case, 0.7),
    "bias 1.4": lambda case: biased(case, 1.4),
    "lengths off 2x": lambda case: wrong_lengths(case, 2.0),
    "stale prefixes": lambda case: stale_prefixes(case, 0.3),
    "missing edges": lambda case: case,
}
#: The share of stages of which policies are not shown the edges.
UNDECLARED = {"missing edges": 0.3}
_QUICK_WRONG = (EXACT, "sigma .5")
#: Whose capacity arrivals are a share of, and the shares.
CAPACITY_OF = "late-eft"
SHARES = (0.5, 0.7, 0.9)
_QUICK_SHARES = (0.9,)
#: Workflows at once; those that arrive, in full and in a quick run, which has these regimes.
_BATCH, _ARRIVING, _QUICK_ARRIVING = 2, 16, 5
_QUICK_REGIMES = ("switch", "prefix")

#: `fate` with a part left out, or with another bound: policy -> what it is called.
ABLATIONS: dict[str, str] = {
    "fate": "fate",
    "fate?residency=false": "without residency",
    "fate?locality=false": "without locality",
    "fate?prefix=false": "without prefix",
    "fate?residency=false&locality=false&prefix=false": "without all three",
    "fate?reachability=false": "without reachability",
    "fate?depth=0": "without horizon",
    "fate?depth=1": "depth 1, not 2",
    "fate?depth=3": "depth 3, not 2",
    "fate?max_shards=1": "without shards",
    "fate?max_shards=4": "4 shards, not 2",
    "fate?solver=false": "without CP-SAT",
    "fate?solver_max=16": "CP-SAT up to 16, not 12",
    "fate?late_binding=false": "without late binding",
    "fate?moves=0": "without search",
    "fate?moves=100": "100 moves, not 1 000",
    "fate?moves=4000": "4 000 moves, not 1 000",
}
#: Bounds of the frontier.
FRONTIERS = (8, 16, 32, 64, 128)


class WrongSpec(msgspec.Struct, frozen=True, kw_only=True, tag="wrong-estimates"):
    """A batch of which policies believe something wrong: `wrong` is a key of `WRONG`."""

    base: ProxySpec
    wrong: str

    def case(self, seed: int, store: Path) -> Case:
        """Make the case."""
        return WRONG[self.wrong](self.base.case(seed, store))

    def shown(self, policy: Policy, seed: int) -> Policy:
        """Hide what is not declared."""
        share = UNDECLARED.get(self.wrong)
        return policy if share is None else Undeclared(policy, share, seed)


class ArrivalSpec(msgspec.Struct, frozen=True, kw_only=True, tag="poisson"):
    """Workflows that arrive at a share of what late-EFT can do with all of them at once."""

    base: ProxySpec
    share: float

    def case(self, seed: int, store: Path) -> Case:
        """Make the case."""
        return at_share(self.base.case(seed, store), self.share, ready_policy(CAPACITY_OF), seed)


class FrontierSpec(msgspec.Struct, frozen=True, kw_only=True, tag="frontier"):
    """A batch of which policies see at most `frontier` ready calls."""

    base: ProxySpec
    frontier: int

    def case(self, seed: int, store: Path) -> Case:
        """Make the case."""
        case = self.base.case(seed, store)
        bound = self.frontier
        options = msgspec.structs.replace(case.options, frontier_min=bound, frontier_max=bound)
        return dataclasses.replace(case, options=options)


def noise_problems(choice: Choice) -> list[Problem]:
    """Return the headline's instances, with each thing that may be wrong."""
    wrong = _QUICK_WRONG if choice.quick else tuple(WRONG)
    return [
        Problem(suite="noise", cell=f"{name}/{base.regime}", seed=seed, spec=spec)
        for name in wrong
        for base in _bases(_BATCH, choice)
        for spec in [WrongSpec(base=base, wrong=name)]
        for seed in choice.seeds
    ]


def arrival_problems(choice: Choice) -> list[Problem]:
    """Return workflows arriving at each share of capacity."""
    count = _QUICK_ARRIVING if choice.quick else _ARRIVING
    regimes = _QUICK_REGIMES if choice.quick else NON_COMPUTE
    return [
        Problem(suite="arrivals", cell=f"{share:g}/{base.regime}", seed=seed, spec=spec)
        for share in (_QUICK_SHARES if choice.quick else SHARES)
        for base in _bases(count, choice, regimes)
        for spec in [ArrivalSpec(base=base, share=share)]
        for seed in choice.seeds
    ]


def headline_problems(suite: str, choice: Choice) -> list[Problem]:
    """Return the headline's instances as they are."""
    return [
        Problem(suite=suite, cell=base.cell, seed=seed, spec=base)
        for base in _bases(_BATCH, choice)
        for seed in choice.seeds
    ]


def frontier_problems(choice: Choice) -> list[Problem]:
    """Return the headline's instances under each bound of the frontier."""
    return [
        Problem(suite="frontier", cell=f"F{bound}/{base.regime}", seed=seed, spec=spec)
        for bound in (FRONTIERS[::2] if choice.quick else FRONTIERS)
        for base in _bases(_BATCH, choice)
        for spec in [FrontierSpec(base=base, frontier=bound)]
        for seed in choice.seeds
    ]


def noise_pools() -> list[Pool]:
    """Return a group for each thing that may be wrong."""
    return [Pool(name, _with("wrong", name), never) for name in WRONG]


def arrival_pools() -> list[Pool]:
    """Return a group for each share of capacity."""
    return [Pool(load_name(s), _with("share", s), _with("share", s)) for s in SHARES]


def frontier_pools() -> list[Pool]:
    """Return a group for each bound."""
    return [Pool(f"F{bound}", _with("frontier", bound), never) for bound in FRONTIERS]


def load_name(share: float) -> str:
    """Return the name of a group of arrivals."""
    return f"load {share:g}"


def bases(found: Sequence[Problem]) -> list[Problem]:
    """Return problems with their batch in place of what is made of it: for preparing."""
    return [
        msgspec.structs.replace(problem, spec=cast("ProxySpec", problem.spec.base))
        if hasattr(problem.spec, "base")
        else problem
        for problem in found
    ]


def _bases(workflows: int, choice: Choice, regimes: Sequence[str] = NON_COMPUTE) -> list[ProxySpec]:
    return [batch(HEADLINE, regime, workflows, choice) for regime in regimes]


def _with(name: str, value: object) -> Within:
    def within(run: Run) -> bool:
        return run.settings[name] == value

    return within
