"""What `fate bench real-dag` and its siblings do: choose, run, sum up, report."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fate.bench.machine import commit as this_commit
from fate.bench.offline import OFFLINE
from fate.bench.report import Echo, Report, duration, table
from fate.bench.suites import chosen
from fate.bench.suites.catalogue import suite as find_suite
from fate.bench.suites.choosing import candidates, verdict
from fate.bench.suites.figures import add_figures
from fate.bench.suites.given import given
from fate.bench.suites.problem import Problem
from fate.bench.suites.record import check_page, record
from fate.bench.suites.results import ASIDE, Run, Times
from fate.bench.suites.runner import (
    Jobs,
    Results,
    Rules,
    earlier_results,
    known_policies,
    named_policies,
    run_jobs,
)
from fate.bench.suites.seeds import DEV, read_seeds
from fate.bench.suites.suite import Choice, Suite
from fate.bench.suites.tables import Book, planning_table, pool_table
from fate.bench.suites.write import write_report
from fate.bench.workers import default_processes

#: Seeds of a quick run.
QUICK_SEEDS = 2
#: Groups of cells whose tables the terminal shows; the report has all.
_SHOWN = 2
#: Policies in a line of progress; of more, the best.
_LISTED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a command line asks of a suite; None means the suite's own choice."""

    seeds: str = "dev"
    policies: str | None = None
    quick: bool = False
    processes: int | None = None
    resume: bool = False
    instances: Path | None = None
    graphs: Path | None = None
    trace: Path | None = None
    choose: bool = False
    record: Path | None = None


def run_suite(name: str, out: Path, echo: Echo, options: Options) -> int:
    """Run a suite and write everything it leaves; return how many targets are missed."""
    suite, start_s = find_suite(name), time.perf_counter()
    choice = choice_of(options)
    policies = _policies(suite, choice, options, echo)
    listed = suite.choosing if options.choose and suite.choosing else suite.problems
    found = listed(choice)
    own = tuple([name for name in policies if name != OFFLINE])
    rules = Rules(policies=own, seed=choice.seeds[0])
    jobs = Jobs(
        problems=found,
        policies=policies,
        rules=rules,
        drawn=next(iter(found), None),
        bounded=suite.bounded,
    )
    if options.record is not None:
        check_page(options.record)
    suite.prepare(jobs.problems)  # what is missing or wrong is said before earlier rows are gone
    out.mkdir(parents=True, exist_ok=True)
    results = earlier_results(out, jobs, resume=options.resume)
    report = Report(name, out, echo, keep=True)
    report.show_machine()
    echo(
        f"{name}: {len(jobs.problems)} problems x {len(policies)} policies, seeds "
        f"{', '.join(map(str, choice.seeds))} ({options.seeds})"
    )
    _show_earlier(results, len(jobs.keys()), echo)
    processes = options.processes or default_processes()
    runs = run_jobs(
        jobs, results, report, processes=processes, line=partial(_line, titles=suite.titles)
    )
    add_figures(report, suite, runs, chosen.labels(name))
    _show(report, suite, list(results.times.values()))
    if options.choose:
        for text in verdict(name, runs, suite.chosen_by, suite.chosen_figure):
            echo(text)
    for text in suite.says(runs):
        echo(text)
    missed = report.show_targets(list(suite.targets))
    report.write()
    took = f"{duration(time.perf_counter() - start_s)} in {processes} processes"
    asked = f"fate bench {name}{_asked(options, choice)}"
    document = write_report(report, suite, jobs, results, asked)
    if options.record is not None:
        record(options.record, document, asked, report.machine, took)
        echo(f"recorded in {options.record}")
    echo(f"took {took}; {out}/report.html, report.md, summary.json, results.jsonl")
    return missed


def _show_earlier(results: Results, wanted: int, echo: Echo) -> None:
    if results.runs:
        echo(f"{len(results.runs)} of {wanted} runs are there already")
    if results.aside:
        others = f"rows of another list, code or settings, set aside in {results.out / ASIDE}"
        echo(f"{others}: {results.aside}")


def _asked(options: Options, choice: Choice) -> str:
    """Return the options that decide what was run, seeds as numbers."""
    parts = [f"--seeds {','.join(map(str, choice.seeds))}"]
    if options.quick:
        parts.append("--quick")
    given = {name: getattr(options, name) for name in ("policies", "instances", "graphs", "trace")}
    parts += [f"--{name} {value}" for name, value in given.items() if value is not None]
    return " " + " ".join(parts)


def choice_of(options: Options) -> Choice:
    """Return what problems are wanted."""
    count = QUICK_SEEDS if options.quick else len(DEV)
    return Choice(
        seeds=read_seeds(options.seeds, this_commit(), count),
        quick=options.quick,
        instances=None if options.instances is None else given(options.instances),
        graphs=None if options.graphs is None else given(options.graphs),
        trace=None if options.trace is None else given(options.trace),
    )


def _policies(suite: Suite, choice: Choice, options: Options, echo: Echo) -> list[str]:
    if options.policies is not None:
        return named_policies(options.policies)
    if options.choose:
        return candidates()
    return known_policies(suite.policies(choice), echo)


def _line(problem: Problem, runs: Sequence[Run], titles: Mapping[str, str]) -> str:
    """Say what came out of a problem: makespans, over round-robin's where that was run too."""

    def name(run: Run) -> str:
        return titles.get(run.policy, run.policy)

    base = next((run.makespan_s for run in runs if run.policy == chosen.REFERENCE), None)
    if base is None:
        return f"{problem.label}: " + ", ".join(f"{name(r)} {r.makespan_s:.0f} s" for r in runs)
    others = [r for r in runs if r.policy != chosen.REFERENCE]
    more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    if more:
        others = sorted(others, key=lambda r: r.makespan_s)[:_LISTED]
    figures = ", ".join(f"{name(r)} {r.makespan_s / base:.3f}" for r in others) + more
    return f"{problem.label}, {runs[0].stages} stages: {figures} of round-robin's {base:.0f} s"


def _show(report: Report, suite: Suite, times: Sequence[Times]) -> None:
    """Print the figures of every pool that has some, and what planning took."""
    book = Book(report.rows, suite.titles)
    for pool in suite.pools()[: max(min(_SHOWN, suite.look.shown), 1)]:
        found = pool_table(book, pool.name)
        if found.lines:
            report.echo(f"\n{pool.name}")
            report.echo(table(found.head, found.lines))
    planning = planning_table(times, suite.titles)
    report.echo("\nplanning")
    report.echo(table(planning.head, planning.lines))
    report.echo("")
