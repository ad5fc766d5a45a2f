"""`fate bench live`: policies against each other on real models, side by side, on equal work."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fate.bench.cells import GAIN
from fate.bench.live_run import LiveRun, open_bench, plain_name
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Progress, Report, Target, table
from fate.bench.statistics import average, middle, ratio
from fate.bench.tiers import cluster_job, tier_cluster
from fate.domain.errors import FateError
from fate.session import Job

POLICIES = (
    "round-robin",
    "round-robin-idle",
    "least-loaded",
    "idle-affinity",
    "late-eft",
    "fate",
    "foresight",
)
#: Policies that others are compared with.
REFERENCES = ("round-robin", "round-robin-idle", "late-eft", "idle-affinity", "fate")
#: What is run where nothing can be gained, unless policies are named.
_NO_GAIN_POLICIES = ("round-robin", "round-robin-idle", "fate", "foresight")
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
ALL = "all"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlan:
    """What to run: `policies` None means all where something can be gained, few elsewhere.

    `park` lets every policy park KV states; `+park` behind a name lets one.
    """

    cells: Sequence[str]
    policies: Sequence[str] | None
    pairs: int
    tier: str
    seed: int
    park: bool = False

    def of(self, cell: str) -> list[str]:
        """Return the policies of a cell, in the order of the first pair."""
        if self.policies is not None:
            return list(self.policies)
        return list(POLICIES if cell in GAIN else _NO_GAIN_POLICIES)

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return self.pairs * sum(len(self.of(cell)) for cell in self.cells)


def live(out: Path, echo: Echo, plan: LivePlan) -> int:
    """Calibrate, run, report; return how many targets are missed."""
    report = Report("live", out, echo)
    report.show_machine()
    runs = measured(plan, report, cluster_job(tier_cluster(plan.tier)))
    summarise(report, runs, {name: name for name in REFERENCES})
    report.show_rows()
    echo("")
    echo(_time_split(runs))
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


def measured(plan: LivePlan, report: Report, job: Job) -> list[LiveRun]:
    """Calibrate and run everything, after a look at every policy's name."""
    for policy in {policy for cell in plan.cells for policy in plan.of(cell)}:
        ready_policy(plain_name(policy))
    return asyncio.run(_measure(job, plan, report))


async def _measure(job: Job, plan: LivePlan, report: Report) -> list[LiveRun]:
    """Run every cell under every policy, pair by pair, the first policy rotating."""
    runs: list[LiveRun] = []
    async with open_bench(job, report, plan.seed, park=plan.park) as bench:
        progress = Progress(plan.runs, report.echo)
        for pair in range(plan.pairs):
            for cell in plan.cells:
                for policy in rotated(plan.of(cell), pair):
                    run = await bench.run(cell, policy, pair, plan.seed + pair)
                    check_equal_work(runs, run)
                    if all(other.cell != cell for other in runs):
                        report.echo(_prompts(run))
                    runs.append(run)
                    report.run({"tier": plan.tier, **msgspec.to_builtins(run)})
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
        by_policy[run.policy][run.cell, run.pair] = run
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
