"""`fate validate`: everything that is wrong with workflow and cluster files, at once."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from fate.config import FORMAT, ClusterSpec, load_cluster, resolve
from fate.domain.errors import FateError
from fate.workflow.context import check_context
from fate.workflow.load import load_workflow
from fate.workflow.source import read_yaml
from fate.workflow.spec import GroupStage, ModelStage, Stage, WorkflowSpec
from fate.workflow.tasks import check_tasks


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Workflow and cluster files.")
    ],
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check models and context sizes against this cluster."),
    ] = None,
) -> None:
    """Report every problem of files, with file and line; exit with 2 if there is any."""
    against = None if cluster is None else load_cluster(cluster)
    failed = False
    for file in files:
        try:
            line = _check(file, against)
        except FateError as error:
            failed = True
            print(error, file=sys.stderr)
        else:
            print(f"{file}: {line}")
    if failed:
        raise typer.Exit(2)


def _check(file: Path, cluster: ClusterSpec | None) -> str:
    if read_yaml(file, "workflow file").format == FORMAT:
        found = resolve(load_cluster(file), {}).cluster
        return f"ok: {_count(len(found.devices), 'device')}, {_count(len(found.models), 'model')}"
    spec = load_workflow(file)
    if cluster is not None:
        roles = resolve(cluster, spec.roles).roles
        check_tasks(spec, roles)
        check_context(spec, roles, file.parent)
    return f"ok: {_summary(spec)}"


def _summary(spec: WorkflowSpec) -> str:
    stages = list(_all_stages(spec.stages))
    calls = [stage for stage in stages if isinstance(stage, ModelStage)]
    used = {stage.model for stage in calls}
    maps = sum(stage.map is not None for stage in stages)
    loops = sum(stage.repeat is not None for stage in stages)
    return (
        f"{_count(len(stages), 'stage')} ({_count(len(calls), 'model stage')}, "
        f"{_count(maps, 'map')}, {_count(loops, 'loop')}), "
        f"{_count(len(used), 'role')}, {_count(len(spec.inputs), 'input')}"
    )


def _all_stages(stages: Mapping[str, Stage]) -> Iterator[Stage]:
    """Yield stages and those inside of groups."""
    for stage in stages.values():
        yield stage
        if isinstance(stage, GroupStage):
            yield from _all_stages(stage.stages)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
