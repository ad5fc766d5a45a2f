"""`fate bench park`: what kept KV states spare, on the cells of the live bench.

Kept: parked while their model is away, copied before they would be overwritten, and moved between
devices, which share a disk.
"""

from dataclasses import replace
from pathlib import Path

from fate.bench.cells import GAIN
from fate.bench.live import measured, summarise
from fate.bench.live_plan import LivePlan
from fate.bench.report import Echo, Report, Target
from fate.bench.suites.live_page import ALL
from fate.bench.tiers import cluster_job, linked, tier_cluster
from fate.config import LOCAL_BYTES_PER_S

#: Side by side on equal work: all of it, without moves, and nothing of it.
ON, PARKED, OFF = "fate+park+move", "fate+park", "fate"
TARGETS = [
    Target(cell=ALL, policy=ON, metric="computed_tokens_over_off", kind="at_most", bound=0.65),
    Target(cell=ALL, policy=ON, metric="wall_over_off", kind="at_most", bound=0.90),
]


def park(out: Path, echo: Echo, *, pairs: int, tier: str, seed: int) -> int:
    """Run `mixed` and `chains` with parking on and off, interleaved; return the targets missed."""
    report = Report("park", out, echo)
    report.show_machine()
    seeds = range(seed, seed + pairs)
    plan = LivePlan(cells=GAIN, policies=(ON, PARKED, OFF), seeds=seeds, tier=tier)
    resolved = tier_cluster(tier)
    on = replace(resolved, cluster=linked(resolved.cluster, LOCAL_BYTES_PER_S))
    runs = measured(plan, report, cluster_job(on))
    summarise(report, runs, {OFF: "off"})
    report.show_rows()
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed
