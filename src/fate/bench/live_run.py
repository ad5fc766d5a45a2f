"""One run of one cell under one policy, on real engines, from empty devices to empty devices."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

import fate
from fate.bench.cells import CELLS
from fate.bench.policies import ready_policy
from fate.bench.report import Report
from fate.core.options import SchedulerOptions
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster, Model
from fate.domain.errors import FateError
from fate.domain.messages import Record
from fate.drivers.calibrate import calibrate
from fate.drivers.execute import Executor
from fate.drivers.outlook import Outlook
from fate.drivers.run import Runtime
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.engines.base import Engine
from fate.policy.base import Policy
from fate.session import Job, fetch_weights, open_engines
from fate.store.journal import Header, Journal
from fate.view.fold import fold
from fate.view.history import Bar, History
from fate.view.live import LiveView
from fate.view.metrics import Meters, Summary, summary
from fate.workflow.expand import Expander
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import OutputReader

#: Behind a policy's name: KV states are parked, and moved between devices.
PARK, MOVE = "park", "move"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of a stage had in common; tokens are means per call, output in all."""

    stage: str
    model: str
    calls: int
    prompt_tokens: float
    answer_tokens: float
    output_tokens: int


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run, as the engines report them; `*_s` of uses are summed over devices.

    Runs of a cell and a seed belong together: they were made side by side. `pair` is the place of
    the seed among those of its session, by which the first policy rotates.
    """

    cell: str
    policy: str
    pair: int
    seed: int
    wall_s: float
    predicted_s: float
    prediction_error: float
    prediction_error_at_half: float
    loads: int
    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    restored: int
    copies: int
    moved_bytes: int
    move_s: float
    output_tokens: int
    load_s: float
    prefill_s: float
    decode_s: float
    idle_s: float
    planner_cpu_share: float
    plan_ms_p50: float
    plan_ms_p99: float
    fallback_share: float
    calls: tuple[Call, ...]


@dataclass(slots=True)
class Bench:
    """Open engines, and what earlier runs have taught: costs, and how long texts are in tokens.

    Costs are learned by each policy from its own runs, for they depend on what runs side by side:
    two prefills at once take longer than a prefill beside a load. All begin with `calibrated`.
    `own_policies` are those of a suite itself, by name.
    """

    cluster: Cluster
    engines: Mapping[str, Engine]
    models: Mapping[str, Model]
    calibrated: Profile
    counter: TokenCounter
    cores: int
    park: bool = False
    own_policies: Mapping[str, Policy] = field(default_factory=dict[str, Policy])
    learned: dict[str, Profile] = field(default_factory=dict[str, Profile])

    async def run(
        self,
        cell: str,
        policy: str,
        pair: int,
        seed: int,
        watch: Callable[[Runtime, Outlook], LiveView] | None = None,
    ) -> LiveRun:
        """Run a cell under a policy; afterwards nothing is loaded anywhere.

        `+park` and `+move` behind a policy's name switch these on. `watch` returns the view that
        is drawn meanwhile.
        """
        setup = self._setup(policy, seed)
        records, views = list[Record](), list[LiveView]()

        def tell(record: Record) -> None:
            records.append(record)
            for view in views:
                view.add(record)

        with TemporaryDirectory(prefix="fate-bench-") as folder:
            header = self._header(cell, setup)
            with Journal.create(Path(folder) / "run.sqlite", header) as journal:
                works = self.works(cell, journal.outputs)
                graphs = [work.graph() for work in works.values()]
                predicted_s = simulate([(0.0, graph) for graph in graphs], setup).makespan_s
                executor = Executor(self.engines, works, journal.outputs)
                runtime = Runtime(setup, executor, journal, on_record=tell)
                outlook = Outlook(self._policy(policy), cores=self.cores)
                outlook.start(runtime)
                views += [watch(runtime, outlook)] if watch is not None else []
                async with AsyncExitStack() as stack:
                    for view in views:
                        await stack.enter_async_context(view)
                    outcome = await runtime.run(graphs)
                await outlook.stop()
        await self._empty(runtime)
        if outcome.status != "ok":
            reasons = "; ".join(end.reason for end in outcome.ended.values() if end.reason)
            raise FateError(f"bench: {cell} under {policy} ended {outcome.status}: {reasons}")
        source = "calibrated, then earlier runs"
        self.learned[policy] = runtime.core.estimator.profile(source)
        history = fold(self.cluster, records)
        meters = Meters(
            planning_s=tuple(runtime.usage.plan_s),
            scheduler_cpu_s=runtime.usage.cpu_s,
            cores=self.cores,
            expected_end=tuple(outlook.points),
        )
        header = msgspec.structs.replace(header, predicted_makespan_s=predicted_s)
        figures = summary(header, history, meters=meters)
        return _live_run(cell, policy, pair, figures, history, predicted_s)

    def _setup(self, policy: str, seed: int) -> Setup:
        switches = policy.split("+")[1:]
        return Setup(
            cluster=self.cluster,
            profile=self.learned.get(policy, self.calibrated),
            policy=self._policy(policy),
            options=SchedulerOptions(
                chunk_s=0.0, park=self.park or PARK in switches, move=MOVE in switches
            ),
            seed=seed,
        )

    def _policy(self, policy: str) -> Policy:
        name = plain_name(policy)
        return self.own_policies.get(name) or ready_policy(name)

    def _header(self, cell: str, setup: Setup) -> Header:
        return Header(
            run=cell,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            simulated=False,
            policy=setup.policy.name,
            seed=setup.seed,
            cluster=setup.cluster,
            options=setup.options,
            profile=setup.profile,
            workflow=cell,
            version=fate.__version__,
        )

    def works(self, cell: str, outputs: OutputReader) -> dict[str, Expander]:
        """Return the expanders of a cell's workflows."""
        works: dict[str, Expander] = {}
        for part in CELLS[cell]:
            models = {role: self.models[letter] for role, letter in part.roles.items()}
            program = part.program
            works[part.id] = Expander(
                program.spec, part.id, part.inputs, models, self.counter, outputs, program
            )
        return works

    async def _empty(self, runtime: Runtime) -> None:
        """Unload everything: no model and no prefix survives into the next run."""
        for state in runtime.core.fleet.devices:
            for model in state.models:
                await self.engines[state.device.id].unload(model)


@asynccontextmanager
async def open_bench(
    job: Job,
    report: Report,
    seed: int,
    *,
    park: bool = False,
    own_policies: Mapping[str, Policy] | None = None,
) -> AsyncGenerator[Bench]:
    """Fetch weights, open every device of a job, and calibrate them; closed whatever happens."""
    weights = fetch_weights(job, report.echo)
    async with AsyncExitStack() as stack:
        stack.enter_context(ended_in_order())
        engines = await stack.enter_async_context(open_engines(job, weights))
        cluster = job.resolved.cluster
        report.echo("calibrating with all devices busy ...")
        yield Bench(
            cluster=cluster,
            engines=engines,
            models=job.resolved.roles,
            calibrated=await calibrate(cluster, engines, source="calibrated", seed=seed),
            counter=TokenCounter(),
            cores=len(os.sched_getaffinity(0)),
            park=park,
            own_policies=own_policies or {},
        )


@contextmanager
def ended_in_order() -> Generator[None]:
    """SIGTERM cancels what runs, as asyncio lets Ctrl-C do: devices are closed before the end."""
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def plain_name(policy: str) -> str:
    """Return a policy's own name, without what is switched on."""
    return policy.partition("+")[0]


def _live_run(  # all that a run is told by
    cell: str, policy: str, pair: int, figures: Summary, history: History, predicted_s: float
) -> LiveRun:
    at_half = figures.prediction_error_at_half
    devices = figures.devices.values()
    return LiveRun(
        cell=cell,
        policy=policy,
        pair=pair,
        seed=figures.seed,
        wall_s=figures.makespan_s,
        predicted_s=predicted_s,
        prediction_error=abs(predicted_s - figures.makespan_s) / figures.makespan_s,
        prediction_error_at_half=0.0 if at_half is None else at_half,
        loads=figures.model_loads,
        prompt_tokens=figures.prompt_tokens,
        cached_tokens=figures.cached_tokens,
        computed_tokens=figures.prompt_tokens - figures.cached_tokens,
        restored=figures.restored,
        copies=figures.copies,
        moved_bytes=figures.moved_bytes,
        move_s=sum(d.move_s for d in devices),
        output_tokens=history.counts.output_tokens,
        load_s=sum(d.load_s + d.unload_s for d in devices),
        prefill_s=sum(d.prefill_s for d in devices),
        decode_s=sum(d.decode_s for d in devices),
        idle_s=sum(d.idle_s for d in devices),
        planner_cpu_share=figures.scheduler_cpu_share,
        plan_ms_p50=figures.planning_ms.p50,
        plan_ms_p99=figures.planning_ms.p99,
        fallback_share=figures.fallback_share,
        calls=_calls(history),
    )


def _calls(history: History) -> tuple[Call, ...]:
    """Return what each stage asked for, in order of names."""
    stages: dict[str, list[Bar]] = defaultdict(list)
    for bar in history.bars:
        if bar.kind == "call" and bar.outcome == "done":
            stages[bar.instance].append(bar)
    return tuple(_call(stage, bars) for stage, bars in sorted(stages.items()))


def _call(stage: str, bars: list[Bar]) -> Call:
    count = sum(bar.stop - bar.start for bar in bars)
    output = sum(bar.output_tokens for bar in bars)
    return Call(
        stage=stage,
        model=bars[0].model,
        calls=count,
        prompt_tokens=sum(bar.prompt_tokens for bar in bars) / count,
        answer_tokens=output / count,
        output_tokens=output,
    )
