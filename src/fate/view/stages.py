"""Book-keeping of stages while a log is read: what is ready, running, done."""

from dataclasses import dataclass, field

from fate.domain.graph import Chunk, Graph, InstanceId, Stage
from fate.view.history import StageSpan, StageStatus, WorkflowSpan


@dataclass(slots=True, eq=False)
class StageRun:
    """One execution of a stage; `total` items are known once its prompts are rendered.

    `running` counts unfinished items of attempts, `committed` those for which a device is being
    prepared; `retries` counts the ended attempts at each item that came to nothing; `over` says
    that the workflow has ended.
    """

    instance: InstanceId
    workflow: str
    stage: Stage
    total: int | None = None
    done: set[int] = field(default_factory=set[int])
    running: int = 0
    committed: int = 0
    retries: dict[int, int] = field(default_factory=dict[int, int])
    failed: bool = False
    over: bool = False
    ready_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None

    @property
    def complete(self) -> bool:
        """Whether every item is done."""
        return self.total is not None and len(self.done) >= self.total

    @property
    def ready(self) -> int:
        """Items that could start now."""
        if self.total is None or self.over:
            return 0
        return max(0, self.total - len(self.done) - self.running - self.committed)

    def missing(self, chunk: Chunk) -> list[int]:
        """Return the items of `chunk` that are not done."""
        return [item for item in range(chunk.start, chunk.stop) if item not in self.done]

    def attempt(self, chunk: Chunk) -> int:
        """Return the number of the next attempt at a chunk, from 1."""
        if not self.retries:
            return 1
        return 1 + max(self.retries.get(item, 0) for item in range(chunk.start, chunk.stop))

    @property
    def status(self) -> StageStatus:
        """The stage's state."""
        if self.complete:
            return "done"
        if self.over:
            return "failed" if self.failed else "skipped"
        if self.start_s is not None:
            return "running"
        return "ready" if self.total is not None else "waiting"


class StageBook:
    """All stages of all workflows, with counts per model of what is ready and what waits."""

    def __init__(self) -> None:
        self.stages: dict[InstanceId, StageRun] = {}
        self.workflows: dict[str, WorkflowSpan] = {}
        self.ready: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.open_workflows = 0
        self.done_stages = 0
        self._by_workflow: dict[str, list[StageRun]] = {}

    def submit(self, graph: Graph, now_s: float) -> None:
        """Enter a workflow's stages."""
        self.workflows[graph.id] = WorkflowSpan(id=graph.id, start_s=now_s)
        self.open_workflows += 1
        runs = [StageRun(graph.instance(stage.id), graph.id, stage) for stage in graph.stages]
        self._by_workflow[graph.id] = runs
        for run in runs:
            self.stages[run.instance] = run
            model = run.stage.model
            self.waiting[model] = self.waiting.get(model, 0) + 1

    def expanded(self, instance: InstanceId, items: int, now_s: float) -> None:
        """Items of a stage are known and ready, unless its workflow has ended meanwhile."""
        run = self.stages[instance]
        if run.over:
            return
        self.waiting[run.stage.model] -= 1
        run.total, run.ready_s = items, now_s
        self.count(run, before=0)
        self._complete(run, now_s)

    def expand_failed(self, instance: InstanceId) -> None:
        """A stage cannot be rendered."""
        self.stages[instance].failed = True

    def start(self, chunk: Chunk, now_s: float) -> StageRun:
        """An attempt begins."""
        run = self.stages[chunk.instance]
        before = run.ready
        run.running += len(run.missing(chunk))
        run.start_s = now_s if run.start_s is None else run.start_s
        self.count(run, before)
        return run

    def item_done(self, run: StageRun, item: int, now_s: float) -> None:
        """An item of a running attempt is finished."""
        if item not in run.done:
            run.done.add(item)
            run.running -= 1
            self._complete(run, now_s)

    def end_attempt(self, run: StageRun, chunk: Chunk, *, failed: bool) -> None:
        """An attempt is over; its missing items become ready again."""
        missing = run.missing(chunk)
        before = run.ready
        run.running -= len(missing)
        run.failed = failed
        for item in missing:
            run.retries[item] = run.retries.get(item, 0) + 1
        self.count(run, before)

    def commit(self, run: StageRun, items: int) -> None:
        """A device is being prepared for `items` ready items (or no longer, if negative)."""
        before = run.ready
        run.committed += items
        self.count(run, before)

    def count(self, run: StageRun, before: int) -> None:
        """Carry a change of `run.ready` over to the count of its model."""
        model = run.stage.model
        self.ready[model] = self.ready.get(model, 0) + run.ready - before

    def end(self, workflow: WorkflowSpan) -> None:
        """A workflow is over: nothing of it is ready or waits any more."""
        self.workflows[workflow.id] = workflow
        self.open_workflows -= 1
        for run in self._by_workflow[workflow.id]:
            before, run.over = run.ready, True
            self.count(run, before)
            if run.total is None:
                self.waiting[run.stage.model] -= 1

    def spans(self) -> tuple[StageSpan, ...]:
        """Return what is known of every stage."""
        return tuple(
            StageSpan(
                instance=run.instance,
                workflow=run.workflow,
                stage=run.stage.id,
                kind=run.stage.kind,
                model=run.stage.model,
                items=run.total,
                done=len(run.done),
                status=run.status,
                ready_s=run.ready_s,
                start_s=run.start_s,
                end_s=run.end_s,
            )
            for run in self.stages.values()
        )

    def _complete(self, run: StageRun, now_s: float) -> None:
        if run.complete:
            run.end_s = now_s
            run.start_s = now_s if run.start_s is None else run.start_s
            self.done_stages += 1
