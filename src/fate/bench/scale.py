"""`fate bench scale`: whether a decision costs the same however much work is waiting."""

import multiprocessing
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from fate.bench import synthetic
from fate.bench.decisions import TimedPolicy, run_chains, time_core
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Report, Target
from fate.bench.statistics import exact
from fate.domain.messages import Record
from fate.drivers.setup import Setup

DEVICES = 16
#: Ready chunks in view: the default bound for this many devices.
READY = 64
SIZES = (1_000, 10_000)

TARGETS = [
    Target(cell="growth", policy="fate", metric="decision_growth", kind="at_most", bound=1.3),
    Target(cell="growth", policy="fate", metric="memory_growth", kind="at_most", bound=1.3),
]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A simulation of `stages` stages that all arrive at once.

    `plan_s` and `core_s` are means per decision; `peak_bytes` is the most the core held at once,
    snapshots included.
    """

    stages: int
    decisions: int
    plan_s: float
    core_s: float
    peak_bytes: int


def scale(out: Path, echo: Echo, sizes: tuple[int, int] = SIZES) -> int:
    """Measure and report; return how many targets are missed.

    Each size runs in a fresh process, so that neither memory nor caches of one help the other.
    """
    report = Report("scale", out, echo)
    report.show_machine()
    small, large = (_in_fresh_process(stages, report) for stages in sizes)
    growth = (large.plan_s + large.core_s) / (small.plan_s + small.core_s)
    per_stage = (large.peak_bytes / large.stages) / (small.peak_bytes / small.stages)
    report.add("growth", "fate", "decision_growth", exact(growth, 2))
    report.add("growth", "fate", "memory_growth", exact(per_stage, 2))
    report.show_rows()
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


def measure(stages: int) -> Measured:
    """Simulate, then take the core's steps again to time them apart from the policy."""
    policy = ready_policy("fate")
    run_chains(policy, ready=READY, devices=DEVICES, workflows=DEVICES)
    timed = TimedPolicy(policy)
    workflows = stages // synthetic.CHAIN
    outcome, setup = run_chains(timed, ready=READY, devices=DEVICES, workflows=workflows)
    decisions = len(timed.seconds)
    return Measured(
        stages=stages,
        decisions=decisions,
        plan_s=sum(timed.seconds) / decisions,
        core_s=time_core(outcome.records, setup).total_s / decisions,
        peak_bytes=_peak_bytes(outcome.records, setup),
    )


def _peak_bytes(records: Sequence[Record], setup: Setup) -> int:
    """Let the core take the steps once more, with its allocations counted."""
    tracemalloc.start()
    try:
        time_core(records, setup)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _in_fresh_process(stages: int, report: Report) -> Measured:
    report.echo(f"simulating {stages} stages on {DEVICES} devices ...")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        found = pool.submit(measure, stages).result()
    cell, n = f"{stages} stages", found.decisions
    figures: dict[str, float] = {
        "plan_ms": 1e3 * found.plan_s,
        "core_ms": 1e3 * found.core_s,
        "decision_ms": 1e3 * (found.plan_s + found.core_s),
        "memory_mib": found.peak_bytes / 2**20,
        "memory_kib_per_stage": found.peak_bytes / 2**10 / found.stages,
    }
    for metric, value in figures.items():
        report.add(cell, "fate", metric, exact(value, n))
    facts: dict[str, Any] = {"cell": cell, "policy": "fate", "decisions": n, **figures}
    report.run(facts)
    return found
