"""`fate bench view`: what the live view and the expected end cost while real models run."""

import asyncio
import os
from functools import partial
from io import StringIO
from pathlib import Path

from rich.console import Console

from fate.bench.live_run import LiveRun, open_bench
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Report, Target
from fate.bench.statistics import average, ratio
from fate.bench.tiers import cluster_job, tier_cluster
from fate.drivers.gauges import read_gauges
from fate.drivers.outlook import Outlook
from fate.drivers.run import Runtime
from fate.view.live import LiveView
from fate.view.screen import Gauges

#: What is run, and the terminal it is drawn for.
_CELL, _POLICY, _WIDTH, _HEIGHT = "mixed", "fate", 100, 30

TARGETS = [
    Target(cell=_CELL, policy=_POLICY, metric="view_cpu_share", kind="at_most", bound=0.02),
]


def view(out: Path, echo: Echo, pairs: int, seed: int) -> int:
    """Run with and without the view in turns; return how many targets are missed."""
    report = Report("view", out, echo)
    report.show_machine()
    ready_policy(_POLICY)
    asyncio.run(_measure(report, pairs, seed))
    report.show_rows()
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


async def _measure(report: Report, pairs: int, seed: int) -> None:
    job = cluster_job(tier_cluster("synthetic"))
    cores = len(os.sched_getaffinity(0))
    drawn, ahead, walls = list[float](), list[float](), list[tuple[float, float]]()
    async with open_bench(job, report, seed) as bench:
        for pair in range(pairs):
            plain = await bench.run(_CELL, _POLICY, pair, seed + pair)
            made: list[tuple[LiveView, Outlook]] = []
            run = await bench.run(_CELL, _POLICY, pair, seed + pair, partial(_watch, made))
            (shown, outlook), span_s = made[0], run.wall_s * cores
            drawn.append(shown.cpu_s / span_s)
            ahead.append(outlook.cpu_s / span_s)
            walls.append((run.wall_s, plain.wall_s))
            report.echo(_line(run, plain, drawn[-1], ahead[-1]))
            report.run({"cell": _CELL, "pair": pair, "view": drawn[-1], "outlook": ahead[-1]})
    report.add(_CELL, _POLICY, "view_cpu_share", average(drawn))
    report.add(_CELL, _POLICY, "outlook_cpu_share", average(ahead))
    report.add(_CELL, _POLICY, "wall_over_no_view", ratio(walls))


def _watch(made: list[tuple[LiveView, Outlook]], runtime: Runtime, outlook: Outlook) -> LiveView:
    """Return a view on a terminal that nobody looks at."""
    terminal = Console(file=StringIO(), force_terminal=True, width=_WIDTH, height=_HEIGHT)

    def gauges(shown: LiveView) -> Gauges:
        rate = shown.tokens_per_s(runtime.now_s)
        base = Gauges(
            title=_CELL, policy=_POLICY, now_s=0.0, tokens_per_s=rate, events=tuple(shown.news)
        )
        return read_gauges(runtime, outlook, base, shown.fold.open)

    shown = LiveView(runtime.core.fleet.cluster, gauges, terminal)
    made.append((shown, outlook))
    return shown


def _line(run: LiveRun, plain: LiveRun, drawn: float, ahead: float) -> str:
    return (
        f"{run.wall_s:.2f} s with the view, {plain.wall_s:.2f} s without; view {drawn:.2%}, "
        f"expected end {ahead:.2%} of the cores"
    )
