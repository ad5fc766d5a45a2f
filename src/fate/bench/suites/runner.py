"""Runs a suite: its job list over several processes, rows as they come, figures at the end."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec

from fate.bench.guards import GuardError
from fate.bench.machine import commit as this_commit
from fate.bench.offline import OFFLINE
from fate.bench.policies import plain_policy
from fate.bench.report import Echo, Progress, Report
from fate.bench.selfcheck import check_rules
from fate.bench.suites.chosen import REFERENCE
from fate.bench.suites.problem import Problem, Task
from fate.bench.suites.results import (
    RESULTS,
    TIMES,
    Key,
    Run,
    Times,
    append,
    code_digest,
    keep,
    rewrite,
    with_aside,
)
from fate.bench.suites.solve import RunError, Solved, solve
from fate.bench.workers import resumable, spread
from fate.domain.errors import FateError
from fate.registry import names
from fate.view.history import History

#: Renders the rows of a finished problem.
Line: TypeAlias = Callable[[Problem, Sequence[Run]], str]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold between runs of these policies, on small cases drawn by a seed."""

    policies: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """A frozen job list: every policy on every problem, in this order.

    `rules` are checked first, beside the first problems. What happens under each policy on the
    `drawn` problem is kept for the report. `bounded` as in `Suite`.
    """

    problems: Sequence[Problem]
    policies: Sequence[str]
    rules: Rules | None = None
    drawn: Problem | None = None
    bounded: bool = False

    def keys(self) -> list[Key]:
        """Return what every row is told apart by, in order."""
        return [
            (problem.suite, problem.cell, problem.seed, policy)
            for problem in self.problems
            for policy in self.policies
        ]


@dataclass(slots=True)
class Results:
    """Rows so far, and the files they are kept in; what happened in runs that are drawn.

    `aside` is how many earlier rows are of another list, code or settings.
    """

    out: Path
    runs: dict[Key, Run] = field(default_factory=dict[Key, Run])
    times: dict[Key, Times] = field(default_factory=dict[Key, Times])
    histories: dict[str, History] = field(default_factory=dict[str, History])
    aside: int = 0

    def add(self, runs: Sequence[Run], times: Sequence[Times]) -> None:
        """Keep the rows of a problem."""
        append(self.out / RESULTS, runs)
        append(self.out / TIMES, times)
        self.runs.update((run.key, run) for run in runs)
        self.times.update((each.key, each) for each in times)

    def finish(self, order: Sequence[Key]) -> list[Run]:
        """Put the rows into the job list's order, so that equal runs leave equal files."""
        rows = [self.runs[key] for key in order]
        rewrite(self.out / RESULTS, rows)
        rewrite(self.out / TIMES, [self.times[key] for key in order if key in self.times])
        return rows


def known_policies(wanted: Sequence[str], echo: Echo) -> list[str]:
    """Return a suite's own list without those that this version does not have."""
    registered = [*names("policy"), OFFLINE]
    missing = [name for name in wanted if name.partition("?")[0] not in registered]
    if missing:
        echo(f"not registered, left out: {', '.join(missing)}")
    return [name for name in wanted if name not in missing]


def named_policies(text: str) -> list[str]:
    """Return the policies that `--policies` names; round-robin is always among them.

    Raises:
        FateError: one is not registered, or has no such option.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise FateError("--policies: no name given")
    for name in found:
        if name != OFFLINE:
            plain_policy(name)
    last = [OFFLINE] if OFFLINE in found else []  # it is the best of all others, too
    return list(dict.fromkeys([REFERENCE, *[n for n in found if n != OFFLINE], *last]))


def earlier_results(out: Path, jobs: Jobs, *, resume: bool) -> Results:
    """Return what is kept of an earlier run: rows of this job list, of the same code and settings.

    With `resume` the others are set aside in a folder, from which a later command takes what is in
    its list; without it they are gone.
    """
    results, code = Results(out), code_digest()
    settings = {(p.suite, p.cell, p.seed): p.settings for p in jobs.problems}
    wanted = set(jobs.keys())

    def holds(run: Run) -> bool:
        same = run.code == code and settings.get(run.key[:3]) == run.settings
        return same and run.key in wanted

    runs = with_aside(out, RESULTS, Run) if resume else []
    times = with_aside(out, TIMES, Times) if resume else []
    results.runs = {run.key: run for run in runs if holds(run)}
    results.times = {t.key: t for t in times if t.key in results.runs and t.code == code}
    results.aside = keep(out, RESULTS, runs, list(results.runs.values()))
    keep(out, TIMES, times, list(results.times.values()))
    return results


def run_jobs(
    jobs: Jobs, results: Results, report: Report, *, processes: int, line: Line
) -> list[Run]:
    """Run what is missing and return all rows in the order of the job list.

    Args:
        jobs: the job list.
        results: what there is already; rows are added as they come.
        report: where progress goes.
        processes: how many run at once; 1 stays in this process.
        line: renders the rows of a finished problem.

    Raises:
        FateError: a run went wrong.
        KeyboardInterrupt: somebody stopped it; the rows so far are kept.
    """
    missing = sorted(_missing(jobs, results), key=_weight, reverse=True)
    progress = Progress(len(missing), report.echo, sum(map(_weight, missing)))
    todo = [*([jobs.rules] if jobs.rules else []), *missing]
    with resumable(results.out), closing(_done(todo, results.out, processes)) as done:
        for task, found in done:
            if isinstance(found, int):
                report.echo(_HOLD.format(found))
            elif isinstance(task, Task):
                results.add(found.runs, found.times)
                results.histories.update(found.histories)
                progress.step(line(task.problem, found.runs), _weight(task))
    return results.finish(jobs.keys())


_HOLD = "rules between runs hold in {} small ones; those of each run are checked as it ends"


def _weight(task: Task) -> float:
    """Return about how long a task takes: the longest go first, so that all cores end alike."""
    return task.problem.weight * len(task.policies)


def _missing(jobs: Jobs, results: Results) -> list[Task]:
    found: list[Task] = []
    for problem in jobs.problems:
        key = problem.suite, problem.cell, problem.seed
        left = tuple([name for name in jobs.policies if (*key, name) not in results.runs])
        if left:
            drawn = problem == jobs.drawn
            task = Task(problem=problem, policies=left, drawn=drawn, bounded=jobs.bounded)
            found.append(task)
    return found


def _done(
    todo: Sequence[Task | Rules], store: Path, processes: int
) -> Generator[tuple[Task | Rules, Solved | int]]:
    work = partial(_work, store=store, commit=this_commit(), code=code_digest())
    if processes == 1 or len(todo) < 2:
        yield from ((task, work(task)) for task in todo)
    else:
        yield from spread(work, todo, processes)


def _work(task: Task | Rules, store: Path, commit: str, code: str) -> Solved | int:
    """Do a task; module-level, because a spawned process looks it up by name.

    Returns:
        What came of it; of rules, in how many runs they hold.

    Raises:
        RunError: a run went wrong, or a rule is broken.
    """
    if isinstance(task, Task):
        return solve(task, store, commit, code)
    try:
        return check_rules(task.policies, task.seed)
    except GuardError as error:
        raise RunError(f"a rule between runs is broken: {error}") from error
