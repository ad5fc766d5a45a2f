"""A job: what is to run, on which cluster; read from files, and stored in the run's own file.

A run that was accepted goes on without the files it came from: `pack` keeps the workflow, the
inputs and the cluster as data, `unpack` makes a job of them again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
from pydantic import ValidationError

from fate.config import ClusterSpec, Resolved, default_cluster, load_cluster, resolve
from fate.domain.errors import FateError
from fate.workflow.compile import compile_workflow
from fate.workflow.inputs import bind_inputs, parse_assignments
from fate.workflow.load import load_workflow
from fate.workflow.program import Program
from fate.workflow.spec import WorkflowSpec
from fate.workflow.tasks import check_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Workflows to run, one per set of inputs, and the cluster to run them on.

    `cluster` is what `resolved` was made from and `folder` where own modules are looked for: with
    them the job can be stored. `targets` are the files to write in the end, by option.
    """

    name: str
    program: Program
    inputs: tuple[Mapping[str, Any], ...]
    resolved: Resolved
    cluster: ClusterSpec | None = None
    folder: Path | None = None
    targets: Mapping[str, str] = field(default_factory=dict[str, str])

    def workflow_id(self, index: int) -> str:
        """Return the id of the index-th workflow."""
        return (
            self.program.spec.name if len(self.inputs) == 1 else f"{self.program.spec.name}-{index}"
        )


def load_job(
    workflow: Path,
    *,
    assignments: Iterable[str] = (),
    each: Path | None = None,
    cluster: Path | None = None,
    roles: Mapping[str, str] | None = None,
    reuse: bool = True,
) -> Job:
    """Read and check everything a run needs, before anything is started.

    Args:
        workflow: the workflow file.
        assignments: `name=value` and `name=@file`, the same for every workflow.
        each: a JSON Lines file with the inputs of one workflow per line.
        cluster: the cluster file; None makes one from the machine.
        roles: overrides of what roles mean.
        reuse: whether identical calls are answered once, where the file does not forbid it.
    """
    spec, folder = read_workflow(workflow)
    if not reuse:
        spec = spec.model_copy(update={"reuse": False})
    common = parse_assignments(spec, assignments)
    rows: list[dict[str, Any]] = [{}] if each is None else read_lines(each)
    given = [common | row for row in rows]
    return make_job(spec, given, cluster=cluster, roles=roles, folder=folder)


def read_workflow(workflow: str | Path | WorkflowSpec) -> tuple[WorkflowSpec, Path | None]:
    """Return a workflow, and the folder where its default files and own modules are.

    What does not come from a file has no folder.
    """
    if isinstance(workflow, WorkflowSpec):
        return workflow, None
    return load_workflow(workflow), Path(workflow).resolve().parent


def make_job(
    spec: WorkflowSpec,
    inputs: Sequence[Mapping[str, Any]],
    *,
    cluster: str | Path | ClusterSpec | None = None,
    roles: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Job:
    """Return the job of a checked workflow: inputs are bound, the cluster is read or made.

    Args:
        spec: the workflow.
        inputs: what is given to each run of it.
        cluster: a cluster, or its file; None makes one from the machine.
        roles: overrides of what roles mean.
        folder: where default files and own modules are, by default the working folder.
    """
    bound = [bind_inputs(spec, each, folder) for each in inputs]
    if cluster is None:
        cluster = _default_for(spec, roles or {})
    elif not isinstance(cluster, ClusterSpec):
        cluster = load_cluster(cluster)
    return assemble(spec, bound, cluster, roles, folder)


def assemble(
    spec: WorkflowSpec,
    inputs: Sequence[Mapping[str, Any]],
    cluster: ClusterSpec,
    roles: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Job:
    """Return the job of a checked workflow, its inputs and a cluster.

    Own modules are looked for in `folder`, by default the working folder.
    """
    for role in roles or {}:
        if role not in spec.roles:
            raise FateError(
                f"--role {role}: the workflow has no such role; it has {_names(spec.roles)}"
            )
    if roles:
        cluster = cluster.model_copy(update={"roles": {**cluster.roles, **roles}})
    resolved = resolve(cluster, spec.roles)
    check_tasks(spec, resolved.roles)
    return Job(
        name=spec.name,
        program=compile_workflow(spec, folder),
        inputs=tuple(inputs),
        resolved=resolved,
        cluster=cluster,
        folder=folder,
    )


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A job as JSON; its parts are checked by the models they are dumped from."""

    format: int = 1
    workflow: dict[str, Any]
    inputs: tuple[dict[str, Any], ...]
    cluster: dict[str, Any]
    folder: str = ""
    targets: dict[str, str] = {}


def pack(job: Job) -> bytes:
    """Return a job as the run file keeps it; empty for a job whose cluster came from no spec."""
    if job.cluster is None:
        return b""
    stored = _Stored(
        workflow=job.program.spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
        inputs=tuple([dict(inputs) for inputs in job.inputs]),
        cluster=job.cluster.model_dump(mode="json", by_alias=True, exclude_unset=True),
        folder="" if job.folder is None else str(job.folder),
        targets=dict(job.targets),
    )
    return msgspec.json.encode(stored)


def unpack(body: bytes) -> Job:
    """Return a stored job; own modules are looked for where they were.

    Raises:
        FateError: another version of FATE wrote it, in a form that this one does not read.
    """
    try:
        stored = msgspec.json.decode(body, type=_Stored)
        spec = WorkflowSpec.model_validate(stored.workflow)
        cluster = ClusterSpec.model_validate(stored.cluster)
    except (msgspec.MsgspecError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FateError(
            f"the job in the run file cannot be read: {reason}; another version of fate wrote it, "
            f"use that one"
        ) from None
    folder = Path(stored.folder) if stored.folder else None
    job = assemble(spec, stored.inputs, cluster, folder=folder)
    return replace(job, targets=stored.targets)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file; blank lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FateError(f"{path}: cannot be read: {error}") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise FateError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise FateError(
                f"{path}:{number}: needs an object of inputs, got {line.strip()[:40]!r}"
            )
        rows.append(cast("dict[str, Any]", row))
    if not rows:
        raise FateError(f"{path}: no lines; write one JSON object of inputs per line")
    return rows


def _default_for(spec: WorkflowSpec, roles: Mapping[str, str]) -> ClusterSpec:
    """A cluster from this machine with the models the workflow means."""
    wanted = sorted({roles.get(role, model) for role, model in spec.roles.items()})
    return default_cluster(tuple(wanted)) if wanted else default_cluster()


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
