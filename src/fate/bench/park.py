"""`fate bench park`: what parked KV states spare, on the cells of the live bench."""

from pathlib import Path

from fate.bench.cells import GAIN
from fate.bench.live import ALL, LivePlan, measured, summarise
from fate.bench.report import Echo, Report, Target
from fate.bench.tiers import cluster_job, tier_cluster

#: Side by side on equal work; the second is what the first is compared with.
ON, OFF = "fate+park", "fate"
TARGETS = [
    Target(cell=ALL, policy=ON, metric="computed_tokens_over_off", kind="at_most", bound=0.65),
    Target(cell=ALL, policy=ON, metric="wall_over_off", kind="at_most", bound=0.90),
]


def park(out: Path, echo: Echo, *, pairs: int, tier: str, seed: int) -> int:
    """Run `mixed` and `chains` with parking on and off, interleaved; return the targets missed."""
    report = Report("park", out, echo)
    report.show_machine()
    plan = LivePlan(cells=GAIN, policies=(ON, OFF), pairs=pairs, tier=tier, seed=seed)
    runs = measured(plan, report, cluster_job(tier_cluster(tier)))
    summarise(report, runs, {OFF: "off"})
    report.show_rows()
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed
