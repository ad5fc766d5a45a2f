"""`fate bench live`: policies against each other on real models, side by side, on equal work."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from fate.bench.cells import GAIN
from fate.bench.live_plan import LivePlan
from fate.bench.live_rows import LiveRow, kept_rows, row_of
from fate.bench.live_run import LiveRun, open_bench, plain_name
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Progress, Report, Target, table
from fate.bench.statistics import average, middle, ratio
from fate.bench.suites.live_page import ALL, write_live
from fate.bench.suites.results import ASIDE, RESULTS, keep, read_rows, with_aside
from fate.bench.tiers import cluster_job, tier_cluster
from fate.bench.workers import resumable
from fate.domain.errors import FateError
from fate.session import Job

#: Policies that others are compared with.
REFERENCES = ("round-robin", "round-robin-idle", "late-eft", "idle-affinity", "fate")
_RATIOS: Final = ("wall_s", "loads", "computed_tokens")
_AVERAGES: Final = (
    "wall_s",
    "loads",
    "prompt_tokens",
    "computed_tokens",
    "cached_tokens",
    "restored",
    "copies",
    "moved_bytes",
    "move_s",
    "load_s",
    "prefill_s",
    "decode_s",
    "idle_s",
    "planner_cpu_share",
    "fallback_share",
)
_AT_MOST = {
    "loads_over_round-robin": 0.50,
    "computed_tokens_over_round-robin": 0.75,
    "wall_over_round-robin": 0.75,
    "wall_over_round-robin-idle": 0.80,
    "planner_cpu_share": 0.02,
    "prediction_error": 0.15,
    "prediction_error_at_half": 0.10,
}
_AHEAD = {
    "wall_over_late-eft": 0.95,
    "wall_over_idle-affinity": 0.95,
    "planner_cpu_share": 0.02,
    "prediction_error_at_half": 0.10,
}
TARGETS = [
    *[
        Target(cell=ALL, policy="foresight", metric=metric, kind="at_most", bound=bound)
        for metric, bound in _AHEAD.items()
    ],
    *[
        Target(cell=ALL, policy="fate", metric=metric, kind="at_most", bound=bound)
        for metric, bound in _AT_MOST.items()
    ],
    *[
        Target(cell=ALL, policy="fate", metric=metric, kind="reaches_down_to", bound=1.0)
        for metric in ("wall_over_late-eft", "wall_over_idle-affinity")
    ],
    Target(
        cell="control",
        policy="fate",
        metric="wall_over_round-robin-idle",
        kind="overlaps",
        bound=0.95,
        upper=1.05,
    ),
]


def live(out: Path, echo: Echo, plan: LivePlan, asked: str = "fate bench live") -> int:
    """Calibrate, run, report; return how many targets are missed."""
    job = cluster_job(tier_cluster(plan.tier))
    report = Report("live", out, echo, keep=plan.resume)
    report.show_machine()
    kept = list[LiveRow]()
    if plan.resume:
        # What was set aside is of earlier sessions: it makes no round with what this one left.
        kept = kept_rows(read_rows(out / RESULTS, LiveRow), report.machine, plan)
        if aside := keep(out, RESULTS, with_aside(out, RESULTS, LiveRow), kept):
            echo(f"rows that do not count here, set aside in {out / ASIDE}: {aside}")
    with resumable(out):
        runs = measured(plan, report, job, kept)
    summarise(report, runs, {name: name for name in REFERENCES})
    report.show_rows()
    echo("")
    echo(_time_split(runs))
    echo("")
    missed = report.show_targets(TARGETS)
    summary = report.write()
    write_live(report, REFERENCES, TARGETS, asked)
    echo(f"{summary}, report.html, report.md, results.jsonl")
    return missed


def measured(
    plan: LivePlan, report: Report, job: Job, kept: Sequence[LiveRow] = ()
) -> list[LiveRow]:
    """Calibrate and run all that is not kept; return all runs in the order of the plan."""
    if kept:
        report.echo(f"{len(kept)} of {plan.runs} runs are there already")
    runs = [*kept]
    if len(kept) < plan.runs:
        for policy in {policy for cell in plan.cells for policy in plan.of(cell)}:
            ready_policy(plain_name(policy))
        runs = asyncio.run(_measure(job, plan, report, kept))
    found = {row.key: row for row in runs}
    return [
        found[cell, seed, policy] for cell, _, seed in plan.rounds() for policy in plan.of(cell)
    ]


async def _measure(
    job: Job, plan: LivePlan, report: Report, kept: Sequence[LiveRow]
) -> list[LiveRow]:
    """Run every cell under every policy, pair by pair, the first policy rotating."""
    runs, whole = [*kept], {(row.cell, row.seed) for row in kept}
    async with open_bench(job, report, plan.seeds[0], park=plan.park) as bench:
        progress = Progress(plan.runs - len(kept), report.echo)
        for cell, pair, seed in plan.rounds():
            for policy in rotated(plan.of(cell), pair) if (cell, seed) not in whole else ():
                run = await bench.run(cell, policy, pair, seed)
                check_equal_work(runs, run)
                if all(other.cell != cell for other in runs):
                    report.echo(_prompts(run))
                row = row_of(run, report, plan)
                runs.append(row)
                report.run(msgspec.to_builtins(row))
                progress.step(_line(run))
    return runs


def summarise(report: Report, runs: Sequence[LiveRun], references: Mapping[str, str]) -> None:
    """Add the figures of every cell, then those of `all`: the cells with a gain, pooled.

    Others are compared with the `references`, under the names given there.
    """
    for cell in dict.fromkeys(run.cell for run in runs):
        _add_cell(report, cell, [run for run in runs if run.cell == cell], references)
    if all(any(run.cell == cell for run in runs) for cell in GAIN):
        _add_cell(report, ALL, [run for run in runs if run.cell in GAIN], references)


def _add_cell(
    report: Report, cell: str, runs: Sequence[LiveRun], references: Mapping[str, str]
) -> None:
    by_policy: dict[str, dict[tuple[str, int], LiveRun]] = defaultdict(dict)
    for run in runs:
        by_policy[run.policy][run.cell, run.seed] = run
    for policy, own in by_policy.items():
        for metric in _AVERAGES:
            report.add(
                cell, policy, metric, average([getattr(run, metric) for run in own.values()])
            )
        for metric in ("prediction_error", "prediction_error_at_half"):
            errors = [getattr(run, metric) for run in own.values()]
            report.add(cell, policy, metric, middle(errors))
        for other, label in references.items():
            theirs = by_policy.get(other, {})
            pairs = [(own[key], theirs[key]) for key in own if key in theirs]
            if policy == other or not pairs:
                continue
            for metric in _RATIOS:
                figures = [(getattr(a, metric), getattr(b, metric)) for a, b in pairs]
                name = f"{metric.removesuffix('_s')}_over_{label}"
                report.add(cell, policy, name, ratio(figures))


def check_equal_work(before: Sequence[LiveRun], run: LiveRun) -> None:
    """Every policy must be given the same work: same calls, same number of generated tokens."""
    first = next((other for other in before if other.cell == run.cell), run)
    for mine, theirs in zip(run.calls, first.calls, strict=True):
        work = (mine.stage, mine.model, mine.calls, mine.output_tokens)
        if work != (theirs.stage, theirs.model, theirs.calls, theirs.output_tokens):
            raise FateError(
                f"bench: {run.cell}, {mine.stage}: {run.policy} did {work}, "
                f"{first.policy} did {theirs}; the comparison would not be fair"
            )


def rotated(policies: list[str], by: int) -> list[str]:
    """Return the policies with another one first, so that none always runs on a fresh machine."""
    by %= len(policies)
    return policies[by:] + policies[:by]


def _line(run: LiveRun) -> str:
    return (
        f"{run.cell} {run.policy}: {run.wall_s:.2f} s (predicted {run.predicted_s:.2f}), "
        f"{run.loads} loads, {run.computed_tokens} of {run.prompt_tokens} prompt tokens computed"
    )


def _prompts(run: LiveRun) -> str:
    """Show what the calls of a cell are, as the engines counted them."""
    rows = [
        (
            c.stage,
            c.model,
            str(c.calls),
            f"{c.prompt_tokens:.0f}",
            f"{c.output_tokens / c.calls:.0f}",
        )
        for c in run.calls
    ]
    head = (f"{run.cell}: stage", "model", "calls", "prompt tokens", "answer tokens")
    return table(head, rows)


def _time_split(runs: Sequence[LiveRun]) -> str:
    """Show where round-robin's device time goes, in the mean: what there is to be gained."""
    rows: list[tuple[str, ...]] = []
    for cell in dict.fromkeys(run.cell for run in runs):
        mine = [run for run in runs if run.cell == cell and run.policy == "round-robin"]
        uses = [
            sum(getattr(run, use) for run in mine) / len(mine)
            for use in ("load_s", "prefill_s", "decode_s", "idle_s")
            if mine
        ]
        if uses:
            rows.append((cell, *[f"{seconds:.2f}" for seconds in uses]))
    head = ("round-robin, device-seconds", "load", "prefill", "decode", "idle")
    return table(head, rows)
