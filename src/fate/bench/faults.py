"""`fate bench faults`: what a killed, hung or slowed device costs, and whether all is finished.

A device is struck at a drawn moment of a run. The same work without a fault takes F seconds on D
devices, so it is worth D x F device-seconds. With L of them lost (the device is gone, stands still,
or does a part of what it could) nobody could end before F + L / D: the capacity that remained.
The figure is the makespan over that.
"""

import asyncio
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from fate.bench import synthetic
from fate.bench.live_run import Bench
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Progress, Report, Target
from fate.bench.statistics import exact, ratio
from fate.bench.tiers import cluster_job, tier_cluster
from fate.core.options import SchedulerOptions
from fate.domain.faults import Fault, FaultKind
from fate.domain.messages import DeviceLost, DeviceReady, Record
from fate.drivers.calibrate import calibrate
from fate.drivers.clock import WallClock
from fate.drivers.execute import Executor
from fate.drivers.faulty import simulate_faults
from fate.drivers.injected import Injector
from fate.drivers.run import Runtime
from fate.drivers.setup import Setup
from fate.session import fetch_weights, open_engines
from fate.store.journal import Journal
from fate.workflow.tokens import TokenCounter

KINDS: tuple[FaultKind, ...] = ("kill", "stop", "slow")
#: A slow device takes so many times as long, for so long [s].
FACTOR, SLOW_S = 10.0, 5.0
#: Chains of the simulated cell, and its devices.
_CHAINS, _DEVICES = 24, 4
_CELL, _POLICY = "mixed", "fate"

TARGETS = [
    Target(cell=cell, policy=_POLICY, metric=metric, kind="at_most", bound=bound)
    for cell in ("virtual", _CELL)
    for metric, bound in (("unfinished", 0.0), ("makespan_over_remaining", 1.25))
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run with a fault beside one without; `lost_s` are device-seconds.

    `same_outputs` compares both, `same_without` the one without with the first of all without:
    what an engine computes depends in the last bit on what its cache holds, and now and then that
    turns a word.
    """

    kind: FaultKind
    fault: Fault
    makespan_s: float
    fault_free_s: float
    lost_s: float
    devices: int
    finished: bool
    same_outputs: bool | None = None
    same_without: bool | None = None

    @property
    def remaining_s(self) -> float:
        """When the work could have ended on the capacity that remained [s]."""
        return self.fault_free_s + self.lost_s / self.devices


def faults(out: Path, echo: Echo, *, runs: int = 50, seed: int = 0, virtual: bool = False) -> int:
    """Strike, run, compare, report; return how many targets are missed.

    Args:
        out: folder for the results.
        echo: where lines for people go.
        runs: runs with a fault, in virtual time and on real devices each.
        seed: seeds the kinds, devices and moments.
        virtual: leave the real devices out.
    """
    report = Report("faults", out, echo)
    report.show_machine()
    _summarise(report, "virtual", [_virtual(seed + run) for run in range(runs)])
    if not virtual:
        _summarise(report, _CELL, asyncio.run(_real(report, runs, seed)))
    report.show_rows()
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


def drawn(devices: Sequence[str], longest_s: float, seed: int) -> Fault:
    """Return a fault of a drawn kind, on a drawn device, in the first three quarters of a run."""
    draw = random.Random(seed)  # noqa: S311  # not a secret
    kind = draw.choice(KINDS)
    return Fault(
        kind=kind,
        device=draw.choice(list(devices)),
        at_s=draw.uniform(0.0, 0.75 * longest_s),
        for_s=SLOW_S if kind == "slow" else None,
        factor=FACTOR,
    )


def lost_seconds(fault: Fault, records: Sequence[Record], makespan_s: float) -> float:
    """Return the device-seconds that a fault cost by itself, until the run's end."""
    begin_s = min(fault.at_s or 0.0, makespan_s)
    events = [(record.at_s, event) for record in records for event in record.events]
    lost = [at_s for at_s, e in events if isinstance(e, DeviceLost) and e.device == fault.device]
    back = [at_s for at_s, e in events if isinstance(e, DeviceReady) and e.device == fault.device]
    if fault.kind == "slow":
        end_s = min([begin_s + SLOW_S, makespan_s, *lost])
        slowed_s = (end_s - begin_s) * (1.0 - 1.0 / fault.factor)
        gone_s = sum(b - a for a, b in zip(lost, [*back, makespan_s], strict=False))
        return slowed_s + gone_s
    if not lost:
        return 0.0
    return min([*back, makespan_s]) - begin_s


def _virtual(seed: int) -> Trial:
    """Run chains in virtual time, on estimates that are true."""
    on = synthetic.cluster(_DEVICES)
    setup = Setup(
        cluster=on,
        profile=synthetic.profile(on),
        policy=ready_policy(_POLICY),
        options=SchedulerOptions(chunk_s=0.0, cool_down_s=2.0),
        seed=seed,
    )
    arrivals = [(0.0, graph) for graph in synthetic.chains(_CHAINS, seed)]
    free = simulate_faults(arrivals, setup, ())
    fault = drawn([device.id for device in on.devices], free.makespan_s, seed)
    struck = simulate_faults(arrivals, setup, (fault,))
    return Trial(
        kind=fault.kind,
        fault=fault,
        makespan_s=struck.makespan_s,
        fault_free_s=free.makespan_s,
        lost_s=lost_seconds(fault, struck.records, struck.makespan_s),
        devices=_DEVICES,
        finished=struck.status == "ok",
    )


class _Struck(Bench):
    """A live bench whose runs may be struck."""

    async def strike(
        self, fault: Fault | None, seed: int
    ) -> tuple[float, list[Record], dict[str, Any], bool]:
        """Return the makespan, the log, the outputs by workflow, and whether all ended well."""
        setup = self._setup(_POLICY, seed)
        options = msgspec.structs.replace(setup.options, cool_down_s=2.0)
        setup = Setup(
            cluster=setup.cluster, profile=setup.profile, policy=setup.policy, options=options,
            seed=seed,
        )  # fmt: skip
        records, clock = list[Record](), WallClock()
        with TemporaryDirectory(prefix="fate-bench-") as folder:
            header = self._header(_CELL, setup)
            planned = (fault,) if fault is not None else ()
            with Journal.create(Path(folder) / "run.sqlite", header) as journal:
                works = self.works(_CELL, journal.outputs)
                graphs = [work.graph() for work in works.values()]
                async with Injector(self.engines, planned, clock) as injector:
                    executor = Executor(injector.engines, works, journal.outputs)
                    executor.injected = injector
                    runtime = Runtime(
                        setup, executor, journal, clock=clock, on_record=records.append
                    )
                    outcome = await runtime.run(graphs)
                results = {name: work.results() for name, work in works.items()}
        if fault is None:
            self.learned[_POLICY] = runtime.core.estimator.profile("calibrated, then earlier runs")
        for engine in self.engines.values():
            await engine.restart()
        return outcome.makespan_s, records, results, outcome.status == "ok"


async def _real(report: Report, runs: int, seed: int) -> list[Trial]:
    """Run a cell with and without a fault, by turns, on real devices."""
    job = cluster_job(tier_cluster("synthetic"))
    weights = fetch_weights(job, report.echo)
    trials: list[Trial] = []
    async with open_engines(job, weights) as engines:
        cluster = job.resolved.cluster
        report.echo("calibrating with all devices busy ...")
        bench = _Struck(
            cluster=cluster,
            engines=engines,
            models=job.resolved.roles,
            calibrated=await calibrate(cluster, engines, source="calibrated", seed=seed),
            counter=TokenCounter(),
            cores=len(os.sched_getaffinity(0)),
        )
        names = [device.id for device in cluster.devices]
        progress = Progress(runs, report.echo)
        first: dict[str, Any] = {}
        for run in range(runs):
            free_s, _, expected, _ = await bench.strike(None, seed + run)
            first = first or expected
            fault = drawn(names, free_s, seed + run)
            took_s, records, results, well = await bench.strike(fault, seed + run)
            trial = Trial(
                kind=fault.kind,
                fault=fault,
                makespan_s=took_s,
                fault_free_s=free_s,
                lost_s=lost_seconds(fault, records, took_s),
                devices=len(names),
                finished=well,
                same_outputs=results == expected,
                same_without=expected == first if run else None,
            )
            trials.append(trial)
            over = trial.makespan_s / trial.remaining_s
            progress.step(f"{fault.kind} of {fault.device} at {fault.at_s:.1f} s: {over:.2f}")
    return trials


def _summarise(report: Report, cell: str, trials: Sequence[Trial]) -> None:
    """Add the figures of a cell, of all kinds together and of each."""
    for trial in trials:
        report.run({"cell": cell, **msgspec.to_builtins(trial)})
    unfinished = sum(not trial.finished for trial in trials)
    report.add(cell, _POLICY, "unfinished", exact(unfinished, len(trials)))
    for name, each in (
        ("outputs_differ", [trial.same_outputs for trial in trials]),
        ("outputs_differ_without_fault", [trial.same_without for trial in trials]),
    ):
        compared = [same for same in each if same is not None]
        if compared:
            report.add(cell, _POLICY, name, exact(compared.count(False), len(compared)))
    for kind in (None, *KINDS):
        meant = [trial for trial in trials if kind in (None, trial.kind)]
        if meant:
            name = "makespan_over_remaining" + (f"_{kind}" if kind else "")
            pairs = [(trial.makespan_s, trial.remaining_s) for trial in meant]
            report.add(cell, _POLICY, name, ratio(pairs))
