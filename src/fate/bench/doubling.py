"""`fate bench offline`: whether the offline best is worth its name.

Annealing starts from the schedule of `foresight` and values ten times as many plans as that did in
its whole run, then, in a run of its own, twenty times as many. What doubling changes tells how far
the search still is from where it leads; the lower bound tells how far that can be from the optimum.
"""

from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path

import msgspec

from fate.bench.bounds import lower_bound
from fate.bench.case import run_case
from fate.bench.guards import check
from fate.bench.offline import FACTOR, FORESIGHT, LEAST, offline_best, schedule_of, valued
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Progress, Report
from fate.bench.statistics import exact, ratio
from fate.bench.suites import real_dag
from fate.bench.suites.problem import Problem
from fate.bench.suites.suite import Choice
from fate.bench.workers import default_processes, spread


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Makespans of one problem [s], and the plans that `foresight` valued."""

    label: str
    stages: int
    valued: int
    foresight_s: float
    once_s: float
    twice_s: float
    bound_s: float


def offline(out: Path, echo: Echo, *, seeds: int, cells: int, jobs: int | None) -> None:
    """Measure and report."""
    report = Report("offline", out, echo)
    report.show_machine()
    problems = _problems(seeds, cells)
    real_dag.prepare(problems)
    progress, found = Progress(len(problems), echo), list[Measured]()
    work, processes = partial(measure, store=out), jobs or default_processes()
    with closing(spread(work, problems, processes, in_order=True)) as solved:
        for _, one in solved:
            found.append(one)
            report.run(msgspec.to_builtins(one))
            progress.step(
                f"{one.label}, {one.stages} stages: foresight {one.foresight_s:.1f} s, annealed "
                f"{one.once_s:.1f} s, with twice the effort {one.twice_s:.1f} s"
            )
    best = [min(one.once_s, one.twice_s, one.foresight_s) for one in found]
    doubled = [(min(o.once_s, o.twice_s), o.once_s) for o in found]
    most = max(1.0 - after / before for after, before in doubled)
    report.add("all", "offline-best", "doubled_over_once", ratio(doubled))
    report.add("all", "offline-best", "largest_gain_of_doubling", exact(most, len(found)))
    over_best = [(o.foresight_s, b) for o, b in zip(found, best, strict=True)]
    report.add("all", FORESIGHT, "makespan_over_offline-best", ratio(over_best))
    bounds = [(o.bound_s, b) for o, b in zip(found, best, strict=True)]
    report.add("all", "", "lower_bound_over_offline-best", ratio(bounds))
    report.show_rows()
    echo(f"summary: {report.write()}")


def _problems(seeds: int, cells: int) -> list[Problem]:
    """Return the first seeds of the first cells of real-dag's quick run."""
    choice = Choice(seeds=tuple(range(seeds)), quick=True)
    ordered = sorted(real_dag.problems(choice), key=lambda problem: problem.cell)
    by_cell = {cell: list(of) for cell, of in groupby(ordered, key=lambda p: p.cell)}
    names = list(dict.fromkeys(problem.cell for problem in real_dag.problems(choice)))[:cells]
    return [problem for name in names for problem in by_cell[name]]


def measure(problem: Problem, store: Path) -> Measured:
    """Run `foresight`, then annealing twice; module-level for spawned processes."""
    case = problem.case(store)
    outcome = run_case(case, ready_policy(FORESIGHT))
    bound = lower_bound(case)
    history = check(case, outcome, at_least_s=bound.seconds)
    start, plans = schedule_of(case, history), valued(outcome)
    spans = [
        check(case, found.outcome, at_least_s=bound.seconds).makespan_s
        for effort in (1, 2)
        for found in (offline_best(case, start, evaluations=effort * max(FACTOR * plans, LEAST)),)
    ]
    return Measured(
        label=problem.label,
        stages=len(history.stages),
        valued=plans,
        foresight_s=history.makespan_s,
        once_s=spans[0],
        twice_s=spans[1],
        bound_s=bound.seconds,
    )
