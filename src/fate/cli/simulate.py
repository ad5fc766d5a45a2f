"""`fate simulate`: workflows in virtual time; nothing is loaded, no model runs."""

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import typer

from fate.cli.options import (
    ClusterFile,
    FaultFile,
    Inputs,
    JsonFile,
    Objective,
    PolicyName,
    Roles,
    Settings,
    TimelineFile,
    parse_pairs,
    parse_settings,
)
from fate.cli.publish import write_json
from fate.cli.timeline import sheet_of
from fate.drivers.world import Truth
from fate.jobs import load_job
from fate.session import Choice, planned_faults
from fate.store.history import Lengths
from fate.view.fold import fold
from fate.view.metrics import Summary, summary
from fate.view.report import render
from fate.view.timeline import write_timeline
from fate.virtual import Simulated, graphs_to_run, known, simulate_graphs

Workflows: TypeAlias = Annotated[
    list[Path], typer.Argument(metavar="WORKFLOW...", help="Workflow files (YAML).")
]
Seed: TypeAlias = Annotated[int, typer.Option(help="Seeds every random draw.")]
Copies: TypeAlias = Annotated[int, typer.Option(min=1, help="Submit every workflow this often.")]
Noise: TypeAlias = Annotated[
    float, typer.Option(min=0.0, help="Sigma of the log-normal noise on durations.")
]
LengthNoise: TypeAlias = Annotated[
    float, typer.Option(min=0.0, help="Sigma of the log-normal noise on output lengths.")
]
ExpectedLengths: TypeAlias = Annotated[
    Lengths,
    typer.Option(help="Which length of answers in earlier runs to expect: mean, p50 or p90."),
]
FailureRate: TypeAlias = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Probability that an attempt of a call fails.")
]
Like: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="What calls and loads cost, and how long answers are, as in a run that ended.",
    ),
]
Decisions: TypeAlias = Annotated[
    bool, typer.Option("--decisions", help="Print the decision log, one JSON line per step.")
]


def simulate(
    workflows: Workflows,
    inputs: Inputs = None,
    cluster: ClusterFile = None,
    roles: Roles = None,
    policy: PolicyName = None,
    objective: Objective = None,
    settings: Settings = None,
    seed: Seed = 0,
    copies: Copies = 1,
    noise: Noise = 0.0,
    length_noise: LengthNoise = 0.0,
    lengths: ExpectedLengths = "mean",
    failure_rate: FailureRate = 0.0,
    faults: FaultFile = None,
    like: Like = None,
    json_: JsonFile = None,
    timeline: TimelineFile = None,
    decisions: Decisions = False,
) -> None:
    """Run WORKFLOWs in virtual time under a policy; every output says `simulated`."""
    given, meant = inputs or (), parse_pairs(roles or (), "--role")
    jobs = [load_job(path, assignments=given, cluster=cluster, roles=meant) for path in workflows]
    choice = Choice(
        policy=policy,
        objective=objective,
        options=parse_settings(settings or ()),
        seed=seed,
        faults=planned_faults(faults, jobs[0]),
    )
    before = known(jobs[0], like)
    truth = Truth(
        profile=before.profile, noise=noise, length_noise=length_noise, failure_rate=failure_rate
    )
    graphs = graphs_to_run(jobs, copies, lengths, before.seen)
    run = simulate_graphs(jobs, graphs, choice, truth)
    figures = _figures(run, timeline)
    if decisions:
        _print_decisions(run, figures)
    _show(run, figures, json_)
    raise typer.Exit(0 if run.outcome.status == "ok" else 1)


def _figures(run: Simulated, timeline: Path | None) -> Summary:
    """Return the summary; write the timeline where one is asked for."""
    records = run.outcome.records
    figures = summary(
        run.header,
        fold(run.setup.cluster, records),
        timeline=str(timeline) if timeline else None,
        journal=str(run.path),
    )
    if timeline is not None:
        write_timeline(timeline, [sheet_of(run.header, records, run.setup, figures)])
    return figures


def _print_decisions(run: Simulated, figures: Summary) -> None:
    print(json_line({"simulated": True, "policy": figures.policy, "seed": figures.seed}))
    for record in run.outcome.records:
        print(json_line(record))


def _show(run: Simulated, figures: Summary, target: str | None) -> None:
    write_json(figures, target)
    print(render(figures, fold(run.setup.cluster, run.outcome.records)), file=sys.stderr)
    for end in run.outcome.ended.values():
        if end.status != "ok":
            print(f"simulated: {end.status}: {end.workflow}: {end.reason}", file=sys.stderr)


def json_line(row: object) -> str:
    """Return one JSON line."""
    return msgspec.json.encode(row).decode()
