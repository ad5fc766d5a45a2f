"""`fate bench lead`: foresight against the best baseline, over the cells of several suites.

Suites write folders of their own; the lead that is aimed at is over the batch cells of two of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from fate.bench.report import Echo, Report, Target
from fate.bench.statistics import exact, ratio
from fate.bench.suites import native, real_dag
from fate.bench.suites.catalogue import suite
from fate.bench.suites.chosen import chosen
from fate.bench.suites.figures import LOST, LOST_CELLS, OVER_BEST
from fate.bench.suites.results import RESULTS, Run, read_runs
from fate.domain.errors import FateError

_POLICY = "foresight"
#: Suites and groups of their cells that are batch and not the control; lengths in `all` are drawn.
_DAGS, _DRAWN, _KNOWN = _GROUPS = (
    (real_dag.NAME, "grid"),
    (native.NATIVE, native.DRAWN),
    (native.NATIVE, native.KNOWN),
)
#: What is added up.
_SUMS = {"both": (_DAGS, _DRAWN), "both known": (_DAGS, _KNOWN)}
#: Policy and baseline on one problem.
_Pair: TypeAlias = tuple[Run, Run]

TARGETS = [
    Target(cell=name, policy=_POLICY, metric=metric, kind="at_most", bound=bound)
    for name in _SUMS
    for metric, bound in ((OVER_BEST, 0.88), (LOST_CELLS, 0.0))
]


def lead(out: Path, echo: Echo, folders: Sequence[Path]) -> int:
    """Report on what is in the folders of suites; return how many targets are missed.

    Raises:
        FateError: a folder has no results, or no runs of both policies.
    """
    runs = [run for folder in folders for run in _recorded(folder)]
    found = {group: _pairs(*group, runs) for group in _GROUPS}
    report = Report("lead", out, echo)
    report.show_machine()
    for (name, group), pairs in found.items():
        commits = sorted({run.commit for pair in pairs for run in pair})
        echo(f"{name} {group}: over {chosen(name).late}, runs of {', '.join(commits)}")
        _add(report, f"{name} {group}", pairs)
    for total, groups in _SUMS.items():
        _add(report, total, [pair for group in groups for pair in found[group]])
    report.show_rows()
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


def _recorded(folder: Path) -> list[Run]:
    found = read_runs(folder)
    if not found:
        made = " and ".join(f"`fate bench {name}`" for name in dict(_GROUPS))
        raise FateError(f"{folder / RESULTS}: no runs; {made} make them")
    return found


def _pairs(name: str, group: str, runs: Sequence[Run]) -> list[_Pair]:
    """Return foresight's runs in a suite's group, each with that of the best baseline."""
    within = next(pool.within for pool in suite(name).pools() if pool.name == group)
    best = chosen(name).late
    own, other = (
        {run.problem: run for run in runs if (run.suite, run.policy) == (name, policy)}
        for policy in (_POLICY, best)
    )
    pairs = [(own[key], other[key]) for key in own if key in other and within(own[key])]
    if not pairs:
        wanted = f"{_POLICY} and {best} on {name}'s {group}"
        raise FateError(f"no runs of {wanted} in these folders; `fate bench {name}` makes them")
    return pairs


def _add(report: Report, name: str, pairs: Sequence[_Pair]) -> None:
    """Add the ratio of makespans, and how many cells have all of their interval above `LOST`."""
    cells: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for run, best in pairs:
        cells.setdefault((run.suite, run.cell), []).append((run.makespan_s, best.makespan_s))
    lost = sum(ratio(own).low > LOST for own in cells.values())
    report.add(name, _POLICY, OVER_BEST, ratio([one for own in cells.values() for one in own]))
    report.add(name, _POLICY, LOST_CELLS, exact(lost, len(cells)))
