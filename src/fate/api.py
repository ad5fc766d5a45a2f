"""Running workflows from Python: `await fate.run(...)`, or `fate.run_sync(...)`."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from fate.begin import Watch, begin
from fate.config import ClusterSpec
from fate.domain.errors import FateError
from fate.domain.messages import WorkflowStatus
from fate.drivers.clock import WallClock
from fate.drivers.tool_process import MARK
from fate.drivers.warm import start_warm_up
from fate.jobs import make_job, read_workflow
from fate.session import Choice, Finished, choose, fetch_weights
from fate.store.runs import RUN_FILE, RunStore
from fate.view.metrics import Meters, Summary, summary
from fate.view.progress import Progress
from fate.workflow.builder import Workflow
from fate.workflow.spec import WorkflowSpec


class RunFailedError(FateError):
    """A run did not end well; `result` has what it did."""

    code = "run-failed"

    def __init__(self, result: "RunResult") -> None:
        self.result = result
        reasons = "; ".join(result.reasons)
        super().__init__(f"run {result.id} {result.status}{f': {reasons}' if reasons else ''}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run that ended.

    Attributes:
        id: what `fate explain`, `fate runs` and the like take.
        path: the run's file: its decisions and all outputs.
        status: `ok`, `failed` or `cancelled`, the worst of any workflow.
        results: the declared outputs of each workflow, in order of inputs; those that were not
            reached are missing.
        reasons: why workflows did not end well.
        summary: the figures that `fate run --json` writes.
    """

    id: str
    path: Path
    status: WorkflowStatus
    results: tuple[Mapping[str, Any], ...]
    reasons: tuple[str, ...]
    summary: Summary

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The declared outputs of the first workflow, for most runs the only one."""
        return self.results[0]

    def as_json(self) -> dict[str, Any]:
        """Return what `fate run --json` writes, as mappings and lists."""
        found: dict[str, Any] = msgspec.to_builtins(self.summary)
        return found

    def check(self) -> Self:
        """Return the result of a run that ended well.

        Raises:
            RunFailedError: it did not; says why.
        """
        if self.status != "ok":
            raise RunFailedError(self)
        return self


async def run(  # noqa: PLR0913 - the options of `fate run`, by name
    workflow: str | Path | WorkflowSpec | Workflow,
    inputs: Mapping[str, Any] | None = None,
    *,
    each: Sequence[Mapping[str, Any]] | None = None,
    cluster: str | Path | ClusterSpec | None = None,
    roles: Mapping[str, str] | None = None,
    policy: str | None = None,
    objective: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> RunResult:
    """Run a workflow to its end, planned over all devices, and return what came of it.

    A workflow that fails is a result, not an exception (`check` makes one of it). Cancelling the
    task stops the run: what is finished is kept in its file.

    Args:
        workflow: a workflow file, or what it holds.
        inputs: values by name; an input of kind `file` takes a path.
        each: further inputs, one run of the workflow for each; all of them share the devices.
        cluster: a cluster file or what it holds; by default made from this machine.
        roles: models for roles, instead of what the workflow and the cluster say.
        policy: who decides, by default the cluster's (`fate`).
        objective: what the policy aims at, as `fate run --objective` takes it.
        options: the policy's options.
        seed: seeds every random draw of the policy.
        on_progress: called with a line whenever there is news, at most once a second.

    Raises:
        FateError: the workflow, the inputs or the cluster are wrong; nothing was run.
    """
    if MARK in os.environ:
        raise FateError(
            "fate.run is called where a tool's process imports the script; put the call below "
            "`if __name__ == '__main__':`"
        )
    common = dict(inputs or {})
    rows = [common] if each is None else [{**common, **row} for row in each]
    if not rows:
        raise FateError("each: no inputs; give one mapping for each run of the workflow")
    spec, folder = read_workflow(_written(workflow))
    job = make_job(spec, rows, cluster=cluster, roles=roles, folder=folder)
    choice = Choice(policy=policy, objective=objective, options=options or {}, seed=seed)
    tell = on_progress or _nothing
    start_warm_up(choose(job, choice)[0])
    weights = await asyncio.to_thread(fetch_weights, job, tell)
    path, clock = RunStore().new() / RUN_FILE, WallClock()
    progress = Progress(job.resolved.cluster, tell)
    watch = Watch(record=lambda record: progress.add(record, clock.now_s()))
    return _result(await begin(job, choice, weights, path, watch), progress, path)


def run_sync(
    workflow: str | Path | WorkflowSpec | Workflow,
    inputs: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401 - those of `run`
) -> RunResult:
    """Run a workflow as `run` does, from code without an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run(workflow, inputs, **options))
    raise FateError("run_sync is called inside an event loop; write `await fate.run(...)` there")


def _written(workflow: str | Path | WorkflowSpec | Workflow) -> str | Path | WorkflowSpec:
    return workflow.to_spec() if isinstance(workflow, Workflow) else workflow


def _result(finished: Finished, progress: Progress, path: Path) -> RunResult:
    named = {
        end.workflow: dict(found)
        for end, found in zip(finished.ended, finished.results, strict=True)
    }
    figures = summary(
        finished.header,
        progress.fold.history(),
        meters=Meters(
            planning_s=tuple(finished.usage.plan_s),
            scheduler_cpu_s=finished.usage.cpu_s,
            cores=len(os.sched_getaffinity(0)),
        ),
        outputs=named if len(named) > 1 else next(iter(named.values())),
        journal=str(path),
    )
    return RunResult(
        id=path.parent.name,
        path=path,
        status=finished.status,
        results=finished.results,
        reasons=tuple([f"{e.workflow}: {e.reason}" for e in finished.ended if e.reason]),
        summary=figures,
    )


def _nothing(_line: str) -> None:
    """Tell nobody."""
