"""Who is run, and whom others are compared with: chosen on development seeds, then fixed.

`fate bench SUITE --seeds dev --choose` runs every registered baseline on a suite's problems and
says which are best; this table is what it said.
"""

from dataclasses import dataclass

from fate.bench.rivals import PLANNERS

REFERENCE = "round-robin"
#: Names that stand for a policy in ratios.
BEST_PUBLISHED, BEST_BASELINE = "best-published", "best-baseline"
#: Stands among policies in tables, and is none: what no run can be below.
LOWER_BOUND = "lower bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The baselines that stand for all: the best one as published, the best that binds late."""

    published: str
    late: str


CHOSEN: dict[str, Chosen] = {
    # all baselines, all development seeds, two workflows at once on every cluster, no control
    "real-dag": Chosen(published="sufferage", late="sufferage-state"),
    # all baselines, all cells, all development seeds (n = 60): heft .467, max-min .472, min-min
    # .479; latency-aware .392, peft-state-late .397, late-eft .398
    "llm-native": Chosen(published="heft", late="latency-aware"),
}
_DEFAULT = CHOSEN["real-dag"]

#: The twelve of a full run: those that are always there, then the best of `--choose`, of what is
#: published as of what binds late. Reconstructions are among them; reports mark them.
TWELVE = (
    "round-robin",
    "late-eft",
    *PLANNERS,
    "sufferage-state",
    "peft-state-late",
    "latency-aware",
    "min-min-state",
    "sufferage",
    "min-min",
    "max-min",
    "prefix-affinity",
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


def timed(suite: str) -> list[str]:
    """Return those, and the two rules that are always looked at beside planners."""
    return list(dict.fromkeys([*few(suite), "late-eft", "idle-affinity"]))


def many(suite: str) -> list[str]:
    """Return the policies of a full run."""
    return list(dict.fromkeys([*TWELVE, *few(suite)]))
