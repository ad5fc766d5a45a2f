"""A run from files to results: what the commands and the live benchmark share.

plan a job (workflow, inputs, cluster) -> fetch weights -> open engines -> predict -> run
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fate import __version__, registry
from fate.config import DeviceSetup
from fate.cost.profile import Profile, guess_profile
from fate.domain.errors import FateError
from fate.domain.faults import Fault
from fate.domain.graph import Graph
from fate.domain.messages import Record, WorkflowEnded, WorkflowStatus
from fate.drivers.clock import WallClock
from fate.drivers.execute import Executor, Limits
from fate.drivers.injected import Injector
from fate.drivers.recover import Recovered
from fate.drivers.run import Runtime, Usage
from fate.drivers.setup import Setup
from fate.drivers.tool_pool import ToolPool
from fate.engines.base import Engine, EngineInfo
from fate.engines.models import locate, typical_costs
from fate.jobs import Job, pack
from fate.policy.base import Policy
from fate.store import history
from fate.store.history import Lengths, Observer, WorkflowHistory
from fate.store.journal import Header, Journal
from fate.store.profiles import default_path, load_profile, save_profile
from fate.workflow.expand import Expander
from fate.workflow.expectations import Expectations, Seen
from fate.workflow.faults import load_faults
from fate.workflow.tokens import TokenCounter
from fate.workflow.twins import TwinIndex
from fate.workflow.values import MemoryOutputs, OutputReader

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who decides, and how: overrides of what the cluster file says. `faults` happen on purpose.

    `objective` stands for options of the policy (see `registry.aim`); `options` win over it.
    """

    policy: str | None = None
    objective: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 0
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that ended.

    `results` has each workflow's declared outputs, in order of inputs. `profile` is what the run
    learned, `seen` what it saw of the workflow's stages, `rss_bytes` the largest resident set of
    each device process.
    """

    header: Header
    ended: tuple[WorkflowEnded, ...]
    results: tuple[Mapping[str, Any], ...]
    usage: Usage
    profile: Profile
    seen: WorkflowHistory
    rss_bytes: Mapping[str, int]

    @property
    def status(self) -> WorkflowStatus:
        """The worst status of any workflow."""
        found = [end.status for end in self.ended]
        return "failed" if "failed" in found else "cancelled" if "cancelled" in found else "ok"


def planned_faults(path: Path | None, job: Job) -> tuple[Fault, ...]:
    """Return the faults of a plan file for a job's cluster; none without a file."""
    if path is None:
        return ()
    return load_faults(path, tuple([device.id for device in job.resolved.cluster.devices]))


def choose(job: Job, choice: Choice) -> tuple[Policy, str, dict[str, Any]]:
    """Return the policy that decides, its name and its options."""
    name = choice.policy or job.resolved.policy
    options = {} if choice.objective is None else registry.aim(name, choice.objective)
    options.update(choice.options)
    if name == job.resolved.policy:
        options = {**job.resolved.policy_options, **options}
    return registry.build("policy", name, **options), name, options


def known_profile(job: Job) -> Profile:
    """Return what is known of the job's cluster: measured here, else typical, else guessed."""
    cluster = job.resolved.cluster
    guess = guess_profile(cluster)
    for row in guess.costs.values():
        row.update({model: c for model in row if (c := typical_costs(model)) is not None})
    return load_profile(default_path(), cluster, msgspec.structs.replace(guess, source="typical"))


def make_setup(job: Job, policy: Policy, profile: Profile, seed: int) -> Setup:
    """Return what drivers start from."""
    return Setup(
        cluster=job.resolved.cluster,
        profile=profile,
        policy=policy,
        options=job.resolved.options,
        seed=seed,
    )


def expanders(
    job: Job,
    counter: TokenCounter,
    outputs: OutputReader,
    lengths: Lengths = "mean",
    seen: WorkflowHistory | None = None,
) -> dict[str, Expander]:
    """Return an expander for every workflow of a job, by workflow id.

    Args:
        job: the job.
        counter: counts tokens for all of them.
        outputs: where finished texts are read.
        lengths: which length of answers in earlier runs to expect where the file says nothing.
        seen: what earlier runs have seen; None means all of those on this machine.
    """
    expected, twins = expectations(job, lengths, seen), TwinIndex()
    return {
        job.workflow_id(index): Expander(
            job.program.spec,
            job.workflow_id(index),
            inputs,
            job.resolved.roles,
            counter,
            outputs,
            job.program,
            history=expected,
            twins=twins,
        )
        for index, inputs in enumerate(job.inputs)
    }


def expectations(
    job: Job, lengths: Lengths = "mean", seen: WorkflowHistory | None = None
) -> Expectations:
    """Return what earlier runs of a job's workflow have seen: on this machine, or `seen`."""
    known = history.load_history(history.default_path(), job.name) if seen is None else seen
    return Expectations(
        {
            path: Seen(
                tokens=stage.length(lengths),
                items=stage.mean_items,
                rounds=stage.mean_rounds,
                probability=stage.probability,
            )
            for path, stage in known.items()
        }
    )


def graphs_of(
    job: Job, lengths: Lengths = "mean", seen: WorkflowHistory | None = None
) -> list[Graph]:
    """Return the graphs of a job as they are known before anything runs; see `expanders`."""
    made = expanders(job, TokenCounter(), MemoryOutputs(), lengths, seen)
    return [expander.graph() for expander in made.values()]


def fetch_weights(job: Job, report: Report) -> dict[str, Path]:
    """Bring every model that the job's roles mean onto this machine; return files by model."""
    needed = {model.id for model in job.resolved.roles.values()}
    found: dict[str, Path] = {}
    for setup in job.resolved.devices:
        for model, source in setup.sources.items():
            if setup.device.managed and model in needed and model not in found:
                engine = registry.resolve("engine", setup.engine)
                reads = getattr(engine, "reads_weights", True)
                found[model] = locate(source, report) if reads else Path()
    return found


@asynccontextmanager
async def open_engines(
    job: Job, weights: Mapping[str, Path], log_dir: Path | None = None
) -> AsyncGenerator[dict[str, Engine]]:
    """Start every device of a job; they are closed whatever happens."""
    engines = {setup.device.id: _engine(setup, weights, log_dir) for setup in job.resolved.devices}
    try:
        await asyncio.gather(*[engine.open() for engine in engines.values()])
        _check_embedding(job, engines)
        yield engines
    finally:
        await asyncio.gather(
            *[engine.close() for engine in engines.values()], return_exceptions=True
        )


def _check_embedding(job: Job, engines: Mapping[str, Engine]) -> None:
    """Refuse devices that should make vectors and cannot."""
    wanted = {model.id for model in job.resolved.roles.values() if model.task == "embed"}
    for setup in job.resolved.devices:
        models = [model.id for model in setup.models if model.id in wanted]
        if models and not engines[setup.device.id].capabilities.embed:
            raise FateError(
                f"device {setup.device.id!r}: engine {setup.engine!r} cannot embed, but may be "
                f"given {models[0]!r}; leave that out of the device's `models:` in the cluster file"
            )


async def run_job(  # noqa: PLR0913 - everything a run depends on, by name
    job: Job,
    engines: Mapping[str, Engine],
    choice: Choice,
    *,
    profile: Profile,
    journal_path: Path,
    counter: TokenCounter | None = None,
    predicted_s: float | None = None,
    limits: Limits | None = None,
    on_record: Callable[[Record], None] | None = None,
    on_start: Callable[[Runtime], None] | None = None,
) -> Finished:
    """Run a job on open engines; everything is journalled at `journal_path`."""
    policy, name, options = choose(job, choice)
    setup = make_setup(job, policy, profile, choice.seed)
    counter = counter or TokenCounter()
    header = msgspec.structs.replace(
        first_header(job.name, setup, (name, options)),
        run=journal_path.parent.name,
        engines=tuple([engine_facts(device, each.info) for device, each in engines.items()]),
        predicted_makespan_s=predicted_s,
    )
    with Journal.create(journal_path, header, pack(job)) as journal:
        process = Process(
            engines=engines,
            limits=limits,
            on_record=on_record,
            on_start=on_start,
            faults=choice.faults,
        )
        return await drive(job, journal, header, setup, process, counter=counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What a process brings to a run: open engines, limits, and who is told of what happens.

    `faults` happen on purpose.
    """

    engines: Mapping[str, Engine]
    limits: Limits | None = None
    on_record: Callable[[Record], None] | None = None
    on_start: Callable[[Runtime], None] | None = None
    faults: tuple[Fault, ...] = ()


async def drive(  # noqa: PLR0913 - everything a run depends on, by name
    job: Job,
    journal: Journal,
    header: Header,
    setup: Setup,
    process: Process,
    *,
    counter: TokenCounter | None = None,
    left: Recovered | None = None,
    observer: Observer | None = None,
) -> Finished:
    """Run a job to its end, from the start or from where a former process left it."""
    works = expanders(job, counter or TokenCounter(), journal.outputs)
    observer = observer or Observer()

    def tell(record: Record) -> None:
        observer.add(record)
        if process.on_record is not None:
            process.on_record(record)

    clock = WallClock(0.0 if left is None else left.at_s)
    async with (
        ToolPool(setup.cluster.tool_slots) as own_tools,
        Injector(process.engines, process.faults, clock) as injector,
    ):
        executor = Executor(
            injector.engines, works, journal.outputs, process.limits, own_tools=own_tools
        )
        executor.injected = injector
        runtime = Runtime(setup, executor, journal, clock=clock, on_record=tell)
        if process.on_start is not None:
            process.on_start(runtime)
        if left is None:
            outcome = await runtime.run([work.graph() for work in works.values()])
        else:
            outcome = await runtime.resume(left)
    journal.set_end(outcome.status)
    return Finished(
        header=header,
        ended=tuple(outcome.ended[workflow] for workflow in works),
        results=results_of(works, outcome.ended),
        usage=runtime.usage,
        profile=runtime.core.estimator.profile("measured on this machine"),
        seen=observer.seen,
        rss_bytes=executor.rss_bytes,
    )


def results_of(
    works: Mapping[str, Expander], ended: Mapping[str, WorkflowEnded]
) -> tuple[Mapping[str, Any], ...]:
    """Return each workflow's declared outputs, as far as they are there."""
    return tuple([w.results(ended=ended[name].status == "ok") for name, w in works.items()])


def first_header(
    workflow: str, setup: Setup, policy: tuple[str, Mapping[str, Any]], *, simulated: bool = False
) -> Header:
    """Return what a journal says of its run before anything happens; `policy` has its options."""
    return Header(
        run="",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        simulated=simulated,
        policy=policy[0],
        policy_options=dict(policy[1]),
        seed=setup.seed,
        cluster=setup.cluster,
        options=setup.options,
        profile=setup.profile,
        workflow=workflow,
        version=__version__,
    )


def setup_of(
    header: Header, policy: str | None = None, options: Mapping[str, Any] | None = None
) -> Setup:
    """Return what a journal's run started from, under its own policy or another one."""
    name = policy or header.policy
    known = header.policy_options if name == header.policy else {}
    return Setup(
        cluster=header.cluster,
        profile=header.profile,
        policy=registry.build("policy", name, **{**known, **(options or {})}),
        options=header.options,
        seed=header.seed,
    )


def remember(job: Job, finished: Finished) -> None:
    """Keep what a run has learned of this machine and of its workflow for the next one."""
    save_profile(default_path(), job.resolved.cluster, finished.profile)
    if finished.seen:
        history.save_history(history.default_path(), job.name, finished.seen)


def engine_facts(device: str, info: EngineInfo) -> dict[str, Any]:
    """Return an engine's identity as summaries show it."""
    return {"device": device, "name": info.name, "version": info.version, "models": info.models}


def _engine(setup: DeviceSetup, weights: Mapping[str, Path], log_dir: Path | None) -> Engine:
    if setup.device.managed:
        models = tuple(model for model in setup.models if model.id in weights)
        sources = {model.id: str(weights[model.id]) for model in models}
    else:
        models, sources = setup.models, dict(setup.sources)
    options = dict(setup.options)
    if log_dir is not None and setup.engine == "llamacpp":
        options.setdefault("log_dir", log_dir)
    return registry.build(
        "engine", setup.engine, device=setup.device, models=models, sources=sources, **options
    )
