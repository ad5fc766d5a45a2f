"""What `--choose` does: every baseline on development seeds, and which of them are best."""

from collections.abc import Mapping, Sequence

from fate.bench.rivals import RIVALS, as_published, reconstructed, with_late_binding
from fate.bench.statistics import ratio
from fate.bench.suites.chosen import CHOSEN, REFERENCE, chosen
from fate.bench.suites.results import Run
from fate.bench.suites.suite import Within, always

#: How many of a kind are named.
_NAMED = 8


def candidates() -> list[str]:
    """Return all baselines, the reference first: planners are not chosen, they are compared."""
    return list(dict.fromkeys([REFERENCE, *RIVALS]))


def kinds() -> dict[str, list[str]]:
    """Return the groups in which baselines are ranked.

    Reconstructions are ranked with what binds late and by themselves: they may be the best to
    compare with, but nobody published them as they are.
    """
    return {
        "as published": as_published(),
        "with late binding": with_late_binding(),
        "of all": list(RIVALS),
        "reconstructed": reconstructed(),
    }


def ranking(
    runs: Sequence[Run],
    names: Sequence[str],
    within: Within = always,
    figure: str = "makespan_s",
) -> list[tuple[str, float]]:
    """Return policies by a figure over round-robin's, geometric mean over problems, best first.

    Args:
        runs: what was run.
        names: whom to rank.
        within: the runs that count.
        figure: an attribute of runs.
    """
    base = {run.problem: run for run in runs if run.policy == REFERENCE and within(run)}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for run in runs:
        if run.policy in pairs and within(run) and run.problem in base:
            pairs[run.policy].append((getattr(run, figure), getattr(base[run.problem], figure)))
    found = [(name, ratio(own).mean) for name, own in pairs.items() if own]
    return sorted(found, key=lambda row: (row[1], row[0]))


def verdict(
    suite: str, runs: Sequence[Run], groups: Mapping[str, Within], figure: str = "makespan_s"
) -> list[str]:
    """Return lines that say which baselines are best in each group, and what is fixed.

    Args:
        suite: whose table entry is looked at.
        runs: of every candidate.
        groups: name -> the runs that count; the first decides.
        figure: an attribute of runs.
    """
    lines: list[str] = []
    for number, (group, within) in enumerate(groups.items()):
        for kind, names in kinds().items():
            order = ranking(runs, names, within, figure)
            if not order:
                continue
            shown = ", ".join(f"{name} {value:.3f}" for name, value in order[:_NAMED])
            note = _note(suite, kind, order[0][0]) if not number else ""
            lines.append(f"{group}, best {kind}: {shown}{note}")
    return lines


def _note(suite: str, kind: str, first: str) -> str:
    """Say whether the table has who is best."""
    best = chosen(suite)
    fixed = {"as published": best.published, "with late binding": best.late}.get(kind)
    if fixed is None:
        return ""
    if suite not in CHOSEN:
        return f" (nothing is fixed for this suite, {fixed} stands in)"
    return " (as fixed)" if first == fixed else f" (but {fixed} is fixed in bench/suites/chosen.py)"
