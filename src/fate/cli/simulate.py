"""`fate simulate`: workflows in virtual time; nothing is loaded, no model runs."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from fate import __version__
from fate.cli.options import (
    ClusterFile,
    FaultFile,
    Inputs,
    JsonFile,
    PolicyName,
    Roles,
    Settings,
    TimelineFile,
    parse_pairs,
    parse_settings,
)
from fate.cli.publish import write_json
from fate.cli.timeline import sheet_of
from fate.cost.profile import Profile
from fate.domain.errors import FateError
from fate.domain.graph import Graph, Stage
from fate.drivers.faulty import simulate_faults
from fate.drivers.recorded import carry_over, learned
from fate.drivers.setup import Outcome, Setup
from fate.drivers.warm import start_warm_up
from fate.drivers.world import Truth
from fate.jobs import Job, load_job
from fate.session import Choice, choose, graphs_of, known_profile, make_setup, planned_faults
from fate.store.history import Lengths, Observer, WorkflowHistory
from fate.store.journal import Header, Journal
from fate.store.runs import RUN_FILE, RunStore
from fate.view.fold import fold
from fate.view.metrics import Summary, summary
from fate.view.report import render
from fate.view.timeline import write_timeline


def simulate(
    workflows: Annotated[
        list[Path], typer.Argument(metavar="WORKFLOW...", help="Workflow files (YAML).")
    ],
    inputs: Inputs = None,
    cluster: ClusterFile = None,
    roles: Roles = None,
    policy: PolicyName = None,
    settings: Settings = None,
    seed: Annotated[int, typer.Option(help="Seeds every random draw.")] = 0,
    copies: Annotated[int, typer.Option(min=1, help="Submit every workflow this often.")] = 1,
    noise: Annotated[
        float, typer.Option(min=0.0, help="Sigma of the log-normal noise on durations.")
    ] = 0.0,
    length_noise: Annotated[
        float, typer.Option(min=0.0, help="Sigma of the log-normal noise on output lengths.")
    ] = 0.0,
    lengths: Annotated[
        Lengths,
        typer.Option(help="Which length of answers in earlier runs to expect: mean, p50 or p90."),
    ] = "mean",
    failure_rate: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Probability that an attempt of a call fails.")
    ] = 0.0,
    faults: FaultFile = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="What calls and loads cost, and how long answers are, as in a run that ended.",
        ),
    ] = None,
    json_: JsonFile = None,
    timeline: TimelineFile = None,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Print the decision log, one JSON line per step.")
    ] = False,
) -> None:
    """Run WORKFLOWs in virtual time under a policy; every output says `simulated`."""
    jobs = [
        load_job(
            path,
            assignments=inputs or (),
            cluster=cluster,
            roles=parse_pairs(roles or (), "--role"),
        )
        for path in workflows
    ]
    choice = Choice(
        policy=policy,
        options=parse_settings(settings or ()),
        seed=seed,
        faults=planned_faults(faults, jobs[0]),
    )
    known = _Known(known_profile(jobs[0])) if like is None else _as_in(like, jobs[0])
    truth = Truth(
        profile=known.profile, noise=noise, length_noise=length_noise, failure_rate=failure_rate
    )
    setup, header = _begin(jobs, choice, known.profile)
    arrivals = [(0.0, graph) for graph in _graphs(jobs, copies, lengths, known.seen)]
    outcome = simulate_faults(arrivals, setup, choice.faults, truth)
    figures = _keep(header, outcome, setup, timeline)
    _show(figures, outcome, setup, json_, decisions=decisions)
    raise typer.Exit(0 if outcome.status == "ok" else 1)


class _Known(NamedTuple):
    """What is known before: costs, and what runs have seen (None: all of this machine's)."""

    profile: Profile
    seen: WorkflowHistory | None = None


def _as_in(run: str, job: Job) -> _Known:
    """Return what one run has learned, its costs carried over to the job's cluster."""
    path = RunStore().find(run)
    with Journal.open(path) as journal:
        header, records = journal.header, list(journal.records())
    observer = Observer()
    for record in records:
        observer.add(record)
    if not observer.seen:
        raise FateError(f"--like {run}: the run has answered nothing; name another one")
    cluster = job.resolved.cluster
    costs = learned(records, header.cluster, header.profile)
    return _Known(carry_over(costs, header.cluster, cluster), observer.seen)


def _begin(jobs: Sequence[Job], choice: Choice, profile: Profile) -> tuple[Setup, Header]:
    """Return what the simulation starts from, its policy ready, and the header of its journal."""
    chosen, name, options = choose(jobs[0], choice)
    warming = start_warm_up(chosen)
    if warming is not None:
        warming.join()
    setup = make_setup(jobs[0], chosen, profile, choice.seed)
    header = Header(
        run="",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        simulated=True,
        policy=name,
        policy_options=options,
        seed=choice.seed,
        cluster=setup.cluster,
        options=setup.options,
        profile=profile,
        workflow=", ".join(job.name for job in jobs),
        version=__version__,
    )
    return setup, header


def _graphs(
    jobs: Sequence[Job], copies: int, lengths: Lengths, seen: WorkflowHistory | None
) -> list[Graph]:
    """Every workflow, as often as asked, under ids of their own."""
    graphs: list[Graph] = []
    for job in jobs:
        for graph in graphs_of(job, lengths, seen):
            graphs += [graph] if copies == 1 else [rename(graph, n) for n in range(copies)]
    ids = [graph.id for graph in graphs]
    return graphs if len(set(ids)) == len(ids) else [rename(g, n) for n, g in enumerate(graphs)]


def rename(graph: Graph, number: int) -> Graph:
    """Return a copy of a graph with an id of its own; what its outputs are called follows."""
    new = f"{graph.id}-{number}"
    before, after = f"out:{graph.id}/", f"out:{new}/"
    stages = tuple([_rename_outputs(stage, before, after) for stage in graph.stages])
    return msgspec.structs.replace(graph, id=new, stages=stages)


def _rename_outputs(stage: Stage, before: str, after: str) -> Stage:
    prompt = tuple(
        [
            msgspec.structs.replace(segment, key=segment.key.replace(before, after, 1))
            for segment in stage.prompt
        ]
    )
    body = tuple([_rename_outputs(each, before, after) for each in stage.body])
    return msgspec.structs.replace(stage, prompt=prompt, body=body)


def _keep(header: Header, outcome: Outcome, setup: Setup, timeline: Path | None) -> Summary:
    """Write the journal, so that explain and replay work on simulated runs too."""
    path = RunStore().new() / RUN_FILE
    header = msgspec.structs.replace(header, run=path.parent.name)
    with Journal.create(path, header) as journal:
        for record in outcome.records:
            journal.append(record)
        journal.set_end(outcome.status)
    history = fold(setup.cluster, outcome.records)
    figures = summary(
        header, history, timeline=str(timeline) if timeline else None, journal=str(path)
    )
    if timeline is not None:
        write_timeline(timeline, [sheet_of(header, outcome.records, setup, figures)])
    return figures


def _show(
    figures: Summary, outcome: Outcome, setup: Setup, target: str | None, *, decisions: bool
) -> None:
    if decisions:
        print(json_line({"simulated": True, "policy": figures.policy, "seed": figures.seed}))
        for record in outcome.records:
            print(msgspec.json.encode(record).decode())
    write_json(figures, target)
    print(render(figures, fold(setup.cluster, outcome.records)), file=sys.stderr)
    for end in outcome.ended.values():
        if end.status != "ok":
            print(f"simulated: {end.status}: {end.workflow}: {end.reason}", file=sys.stderr)


def json_line(row: object) -> str:
    """Return one JSON line."""
    return msgspec.json.encode(row).decode()
