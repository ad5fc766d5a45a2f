"""`fate bench scale`: what a decision costs as more work waits and more devices take it."""

import math
import time
import tracemalloc
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, linear_regression

import msgspec

from fate.bench import synthetic
from fate.bench.decisions import SampledPolicy, TimedPolicy, run_chains, time_core
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Progress, Report, Target
from fate.bench.statistics import average, exact
from fate.bench.suites.results import RESULTS, code_digest, read_rows
from fate.bench.suites.scale_page import write_scale
from fate.bench.workers import resumable, spread
from fate.core.options import SchedulerOptions
from fate.domain.messages import Record
from fate.drivers.setup import Setup

#: Devices of the cells that differ in stages only.
DEVICES = 16
#: Policies that see all stages are asked for so many decisions, the first ones, in a full run and
#: in a quick one; those that see what is near for `_NEAR` times as many.
_SAMPLED, _SAMPLED_QUICK, _NEAR = 32, 6, 10
DEFAULT_POLICIES = ("fate", "foresight")

TARGETS = [
    Target(cell="growth", policy="fate", metric="decision_growth", kind="at_most", bound=1.3),
    Target(cell="growth", policy="fate", metric="memory_growth", kind="at_most", bound=1.3),
]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How many stages arrive at once, and how many devices there are."""

    stages: int
    devices: int

    @property
    def cell(self) -> str:
        """The cell's name."""
        return f"{self.stages} stages, {self.devices} devices"


FULL = tuple(
    Size(stages=stages, devices=devices)
    for devices, all_stages in ((DEVICES, (1_000, 3_000, 10_000)), (64, (1_000, 10_000)))
    for stages in all_stages
)
QUICK = (
    Size(stages=250, devices=DEVICES),
    Size(stages=1_000, devices=DEVICES),
    Size(stages=1_000, devices=64),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """What to measure, in how many processes; `resume` keeps what the same code measured."""

    sizes: Sequence[Size] = FULL
    policies: Sequence[str] = DEFAULT_POLICIES
    seeds: Sequence[int] = (0,)
    sampled: int = _SAMPLED
    processes: int = 1
    resume: bool = False


def scale_plan(*, quick: bool) -> ScalePlan:
    """Return the full plan, or the quick one."""
    if not quick:
        return ScalePlan()
    return ScalePlan(sizes=QUICK, policies=("fate",), sampled=_SAMPLED_QUICK)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A simulation of stages that all arrive at once.

    `plan_s` and `core_s` are processor seconds per decision that was timed; `peak_bytes` is the
    most the core held at once, snapshots included, 0 where that was not measured.
    """

    size: Size
    policy: str
    seed: int
    sampled: int
    code: str
    decisions: int
    plan_s: float
    core_s: float
    peak_bytes: int

    @property
    def key(self) -> tuple[Size, str, int, int]:
        """What tells this one apart."""
        return self.size, self.policy, self.seed, self.sampled


def scale(out: Path, echo: Echo, plan: ScalePlan, asked: str = "fate bench scale") -> int:
    """Measure and report; return how many targets are missed.

    Each simulation runs in a fresh process, so that neither memory nor caches of one help the next.
    """
    kept = _kept(out) if plan.resume else {}
    report = Report("scale", out, echo)
    report.show_machine()
    wanted = [
        (size, policy, seed, plan.sampled)
        for size in plan.sizes
        for policy in plan.policies
        for seed in plan.seeds
    ]
    found = {key: kept[key] for key in wanted if key in kept}
    if found:
        echo(f"{len(found)} of {len(wanted)} are there already")
    for each in found.values():
        report.run(msgspec.to_builtins(each))
    missing = [key for key in wanted if key not in found]
    progress = Progress(len(missing), echo, sum(size.stages for size, *_ in missing))
    fresh = spread(_measure, missing, plan.processes, in_order=True, tasks_each=1)
    with resumable(out), closing(fresh) as measured:
        for _, each in measured:
            found[each.key] = each
            report.run(msgspec.to_builtins(each))
            what = f"{each.policy}, {each.size.cell}: {1e3 * (each.plan_s + each.core_s):.3g} ms"
            progress.step(f"{what} in each of {each.decisions} decisions", each.size.stages)
    _add(report, [found[key] for key in wanted])
    report.show_rows()
    echo("")
    missed = report.show_targets(TARGETS)
    summary = report.write()
    write_scale(report, TARGETS, asked)
    echo(f"{summary}, report.html, report.md, results.jsonl")
    return missed


def _kept(out: Path) -> dict[tuple[Size, str, int, int], Measured]:
    """Return what the same code measured; lines that are cut off are left out."""
    found = read_rows(out / RESULTS, Measured)
    return {each.key: each for each in found if each.code == code_digest()}


def _measure(key: tuple[Size, str, int, int]) -> Measured:
    return measure(*key)


def measure(size: Size, policy: str, seed: int, sampled: int) -> Measured:
    """Simulate, then take the core's steps again to time them apart from the policy.

    Args:
        size: stages and devices.
        policy: its name, with options behind it.
        seed: shuffles the chains' models.
        sampled: decisions of a policy that sees all stages; `_NEAR` times as many of another. After
            them a greedy one takes over: what is measured is a decision with most of it waiting.
    """
    ready = _ready(size.devices)
    asked = ready_policy(policy)
    warm_up = SampledPolicy(asked, ready_policy("late-eft"), 2)
    run_chains(warm_up, ready=ready, devices=size.devices, workflows=size.devices)
    near = asked.lookahead != "all"
    timed = TimedPolicy(asked, clock=time.thread_time)
    count = _NEAR * sampled if near else sampled
    answers = SampledPolicy(timed, ready_policy("late-eft"), count)
    workflows = size.stages // synthetic.CHAIN
    outcome, setup = run_chains(
        answers, ready=ready, devices=size.devices, workflows=workflows, seed=seed
    )
    counted = near and size.devices == DEVICES
    return Measured(
        size=size,
        policy=policy,
        seed=seed,
        sampled=sampled,
        code=code_digest(),
        decisions=len(timed.seconds),
        plan_s=fmean(timed.seconds),
        core_s=_core_s(outcome.records, setup),
        peak_bytes=_peak_bytes(outcome.records, setup) if counted else 0,
    )


def _ready(devices: int) -> int:
    """Return the default bound on ready chunks in view."""
    options = SchedulerOptions()
    bound = options.frontier_per_device * devices
    return min(max(bound, options.frontier_min), options.frontier_max)


def _core_s(records: Sequence[Record], setup: Setup) -> float:
    """Return what the core takes for each decision, its snapshot included [s]."""
    times = time_core(records, setup, time.thread_time)
    return times.total_s / max(len(times.snapshot_s), 1)


def _peak_bytes(records: Sequence[Record], setup: Setup) -> int:
    """Let the core take the steps once more, with its allocations counted."""
    tracemalloc.start()
    try:
        time_core(records, setup)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _add(report: Report, found: Sequence[Measured]) -> None:
    """Add the figures of every cell, and how they grow."""
    for policy in dict.fromkeys(each.policy for each in found):
        own = [each for each in found if each.policy == policy]
        for size in dict.fromkeys(each.size for each in own):
            _add_cell(report, policy, size, [each for each in own if each.size == size])
        _add_growth(report, policy, own)


def _add_cell(report: Report, policy: str, size: Size, own: Sequence[Measured]) -> None:
    figures = {
        "plan_ms": [1e3 * each.plan_s for each in own],
        "core_ms": [1e3 * each.core_s for each in own],
        "decision_ms": [1e3 * (each.plan_s + each.core_s) for each in own],
        "decisions": [float(each.decisions) for each in own],
        "memory_mib": [each.peak_bytes / 2**20 for each in own],
        "memory_kib_per_stage": [each.peak_bytes / 2**10 / size.stages for each in own],
    }
    for metric, values in figures.items():
        if any(values):
            report.add(size.cell, policy, metric, average(values))


def _add_growth(report: Report, policy: str, own: Sequence[Measured]) -> None:
    """Add exponents: a decision takes stages (or devices) to that power."""
    along = [each for each in own if each.size.devices == DEVICES]
    sizes = sorted({each.size.stages for each in along})
    if len(sizes) > 1:
        points = [(float(each.size.stages), _decision_s(each)) for each in along]
        report.add("growth", policy, "exponent_of_stages", exact(exponent(points), len(points)))
        least, most = ([e for e in along if e.size.stages == n] for n in (sizes[0], sizes[-1]))
        grown = _mean_s(most) / _mean_s(least)
        report.add("growth", policy, "decision_growth", exact(grown, len(least)))
        held = [
            sum(e.peak_bytes for e in one) / sum(e.size.stages for e in one)
            for one in (least, most)
        ]
        if all(held):
            report.add("growth", policy, "memory_growth", exact(held[1] / held[0], len(least)))
    shared = [
        each
        for each in own
        if len({other.size.devices for other in own if other.size.stages == each.size.stages}) > 1
    ]
    if shared:
        stages = max(each.size.stages for each in shared)
        points = [
            (float(each.size.devices), _decision_s(each))
            for each in shared
            if each.size.stages == stages
        ]
        report.add("growth", policy, "exponent_of_devices", exact(exponent(points), len(points)))


def _decision_s(measured: Measured) -> float:
    return measured.plan_s + measured.core_s


def _mean_s(found: Sequence[Measured]) -> float:
    return sum(map(_decision_s, found)) / len(found)


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return e of the power law y = a x^e that fits (x, y) best, by least squares of logarithms."""
    xs, ys = ([math.log(point[i]) for point in points] for i in (0, 1))
    return linear_regression(xs, ys).slope
