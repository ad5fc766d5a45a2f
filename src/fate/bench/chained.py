"""`fate bench chained`: a chained map under policies, and in loops as people write them by hand."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fate.bench.live_run import Bench, open_bench
from fate.bench.loops import LOOPS, run_loop
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Progress, Report, Target
from fate.bench.statistics import average, ratio
from fate.bench.tiers import cluster_job, tier_cluster
from fate.domain.errors import FateError
from fate.workflow.values import MemoryOutputs

CELL = "chained"
POLICIES = ("fate", "late-eft")
TARGETS = [
    Target(cell=CELL, policy="fate", metric=metric, kind="at_most", bound=bound)
    for metric, bound in (("wall_over_model-major", 1.0), ("wall_over_item-major", 0.6))
]


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the cell: figures as the engines report them."""

    how: str
    pair: int
    wall_s: float
    loads: int
    computed_tokens: int
    output_tokens: int


def chained(out: Path, echo: Echo, *, pairs: int, tier: str, seed: int) -> int:
    """Calibrate, run, report; return how many targets are missed."""
    report = Report(CELL, out, echo)
    report.show_machine()
    for policy in POLICIES:
        ready_policy(policy)
    summarise(report, asyncio.run(_measure(report, pairs, tier, seed)))
    report.show_rows()
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


async def _measure(report: Report, pairs: int, tier: str, seed: int) -> list[Pass]:
    """Run policies and loops pair by pair, another one first each time."""
    job = cluster_job(tier_cluster(tier))
    every = [*POLICIES, *LOOPS]
    passes: list[Pass] = []
    async with open_bench(job, report, seed) as bench:
        progress = Progress(pairs * len(every), report.echo)
        for pair in range(pairs):
            for how in every[pair % len(every) :] + every[: pair % len(every)]:
                run = await (_loop if how in LOOPS else _policy)(bench, how, pair, seed)
                if passes and run.output_tokens != passes[0].output_tokens:
                    raise FateError(f"bench: {how} generated {run.output_tokens} tokens, not equal")
                passes.append(run)
                report.run({"tier": tier, **msgspec.to_builtins(run)})
                progress.step(
                    f"{how}: {run.wall_s:.2f} s, {run.loads} loads, "
                    f"{run.computed_tokens} prompt tokens computed"
                )
    return passes


async def _policy(bench: Bench, how: str, pair: int, seed: int) -> Pass:
    run = await bench.run(CELL, how, pair, seed + pair)
    return Pass(
        how=how,
        pair=pair,
        wall_s=run.wall_s,
        loads=run.loads,
        computed_tokens=run.computed_tokens,
        output_tokens=run.output_tokens,
    )


async def _loop(bench: Bench, how: str, pair: int, seed: int) -> Pass:
    del seed
    outputs = MemoryOutputs()
    (work,) = bench.works(CELL, outputs).values()
    tally = await run_loop(how, work, outputs, bench.engines)
    return Pass(
        how=how,
        pair=pair,
        wall_s=tally.wall_s,
        loads=tally.loads,
        computed_tokens=tally.computed_tokens,
        output_tokens=tally.output_tokens,
    )


def summarise(report: Report, passes: Sequence[Pass]) -> None:
    """Add averages of everything, and each policy's ratios to the loops."""
    by_how = {how: [p for p in passes if p.how == how] for how in [*POLICIES, *LOOPS]}
    for how, own in by_how.items():
        for metric in ("wall_s", "loads", "computed_tokens"):
            report.add(CELL, how, metric, average([getattr(run, metric) for run in own]))
        for other in LOOPS if how in POLICIES else ():
            for metric in ("wall_s", "loads", "computed_tokens"):
                pairs = [
                    (getattr(mine, metric), getattr(theirs, metric))
                    for mine, theirs in zip(own, by_how[other], strict=True)
                ]
                report.add(CELL, how, f"{metric.removesuffix('_s')}_over_{other}", ratio(pairs))
