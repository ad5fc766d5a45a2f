"""Who is run, and whom others are compared with: chosen on development seeds, then fixed.

`fate bench SUITE --seeds dev --choose` runs every registered baseline on a suite's problems and
says which are best; this table is what it said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fate.bench.rivals import PLANNERS, as_published, with_late_binding
from fate.bench.statistics import ratio
from fate.bench.suites.results import Run
from fate.bench.suites.suite import Within

REFERENCE = "round-robin"
#: Names that stand for a policy in ratios.
BEST_PUBLISHED, BEST_BASELINE = "best-published", "best-baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The baselines that stand for all: the best one as published, the best that binds late."""

    published: str
    late: str


CHOSEN: dict[str, Chosen] = {
    # of 50 baselines on the headline's four regimes, development seed 0
    "real-dag": Chosen(published="min-min", late="peft-state-late"),
}
_DEFAULT = CHOSEN["real-dag"]

#: The twelve of a full run.
TWELVE = (
    "round-robin",
    "round-robin-idle",
    "idle-affinity",
    "heft",
    "peft",
    "min-min",
    "continuum",
    "sufferage-state",
    "peft-state-late",
    "late-eft",
    *PLANNERS,
)


def chosen(suite: str) -> Chosen:
    """Return a suite's comparison baselines."""
    return CHOSEN.get(suite, _DEFAULT)


def labels(suite: str) -> dict[str, str]:
    """Return the names that stand for a policy in a suite's ratios."""
    best = chosen(suite)
    return {BEST_PUBLISHED: best.published, BEST_BASELINE: best.late}


def few(suite: str) -> list[str]:
    """Return the policies of a quick run."""
    best = chosen(suite)
    return list(dict.fromkeys([REFERENCE, best.published, best.late, *PLANNERS]))


def many(suite: str) -> list[str]:
    """Return the policies of a full run."""
    return list(dict.fromkeys([*TWELVE, *few(suite)]))


def ranking(runs: Sequence[Run], within: Within, names: Sequence[str]) -> list[tuple[str, float]]:
    """Return policies by makespan over round-robin's, geometric mean, best first."""
    base = {run.problem: run for run in runs if run.policy == REFERENCE and within(run)}
    found: list[tuple[str, float]] = []
    for name in names:
        pairs = [
            (run.makespan_s, base[run.problem].makespan_s)
            for run in runs
            if run.policy == name and within(run) and run.problem in base
        ]
        if pairs:
            found.append((name, ratio(pairs).mean))
    return sorted(found, key=lambda row: (row[1], row[0]))


def verdict(suite: str, runs: Sequence[Run], within: Within) -> list[str]:
    """Return lines that say which baselines are best, and whether the table agrees."""
    best, lines = chosen(suite), list[str]()
    for what, names, fixed in (
        ("as published", as_published(), best.published),
        ("with late binding", with_late_binding(), best.late),
    ):
        order = ranking(runs, within, names)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in order[:6])
        first = order[0][0] if order else "none"
        agrees = "as fixed" if first == fixed else f"but {fixed} is fixed in bench/suites/chosen.py"
        lines.append(f"best {what}: {shown} ({agrees})")
    return lines
