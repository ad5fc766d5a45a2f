"""`fate run`: a real workflow on real models."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fate.begin import Watch, begin
from fate.cli.options import (
    ClusterFile,
    FaultFile,
    Inputs,
    JsonFile,
    NoReuse,
    Objective,
    OutFile,
    Plain,
    PolicyName,
    Quiet,
    Roles,
    Settings,
    TimelineFile,
    parse_pairs,
    parse_settings,
)
from fate.cli.publish import EXIT_CODES, Targets, publish, until_end
from fate.cli.show import Show
from fate.drivers.warm import start_warm_up
from fate.jobs import Job, load_job
from fate.session import Choice, Finished, choose, fetch_weights, planned_faults
from fate.store.runs import RUN_FILE, RunStore


def run(
    workflow: Annotated[Path, typer.Argument(metavar="WORKFLOW", help="Workflow file (YAML).")],
    inputs: Inputs = None,
    each: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON Lines of inputs: one workflow for each line."),
    ] = None,
    out: OutFile = None,
    cluster: ClusterFile = None,
    roles: Roles = None,
    policy: PolicyName = None,
    objective: Objective = None,
    settings: Settings = None,
    seed: Annotated[int, typer.Option(help="Seeds every random draw of the policy.")] = 0,
    json_: JsonFile = None,
    timeline: TimelineFile = None,
    faults: FaultFile = None,
    no_reuse: NoReuse = False,
    plain: Plain = False,
    quiet: Quiet = False,
) -> None:
    """Run WORKFLOW on real models, planned over all devices; print its outputs.

    On a terminal a live view shows what every device does. Ctrl-C ends cleanly and keeps what is
    finished, a second Ctrl-C stops at once; `fate resume` goes on. The exit code is 0 when every
    workflow ended well, 1 when one failed, 130 when the run was cancelled.
    """
    job = load_job(
        workflow,
        assignments=inputs or (),
        each=each,
        cluster=cluster,
        roles=parse_pairs(roles or (), "--role"),
        reuse=not no_reuse,
    )
    choice = Choice(
        policy=policy,
        objective=objective,
        options=parse_settings(settings or ()),
        seed=seed,
        faults=planned_faults(faults, job),
    )
    targets = Targets(out, json_, timeline)
    targets.check()
    job = replace(job, targets=targets.named())
    start_warm_up(choose(job, choice)[0])
    show = Show(job, choice, quiet=quiet, plain=plain)
    weights = fetch_weights(job, show.say)
    journal_path = RunStore().new() / RUN_FILE
    finished = until_end(_run(job, choice, weights, journal_path, show), journal_path)
    publish(job, finished, show, journal_path, targets)
    raise typer.Exit(EXIT_CODES[finished.status])


async def _run(
    job: Job, choice: Choice, weights: Mapping[str, Path], path: Path, show: Show
) -> Finished:
    watch = Watch(record=show.add, predicted=show.expects, started=show.started)
    async with show.watching():
        return await begin(job, choice, weights, path, watch)
