"""Book-keeping of stages while a log is read: what is ready, running, done.

What the core concludes without saying so (a stage all of whose parents are skipped is skipped; a
parent that a join no longer waits for is given up) is concluded here by the same rules.
"""

from collections.abc import Iterable

from fate.domain.graph import Chunk, Graph, InstanceId, Scope, Stage
from fate.view.history import StageSpan, WorkflowSpan
from fate.view.needs import needs
from fate.view.stage_run import StageRun


class StageBook:
    """All stages of all workflows, with counts per model of what is ready and what waits."""

    def __init__(self) -> None:
        self.stages: dict[InstanceId, StageRun] = {}
        self.workflows: dict[str, WorkflowSpan] = {}
        self.ready: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.open_workflows = 0
        self.done_stages = 0
        self.skipped_stages = 0
        self._by_workflow: dict[str, list[StageRun]] = {}

    # --- what comes ----------------------------------------------------------------------

    def submit(self, graph: Graph, now_s: float) -> None:
        """Enter a workflow's stages, anew where it begins afresh; it is as old as it was."""
        before = self.workflows.get(graph.id)
        if before is not None:
            self._forget(before)
        start_s = now_s if before is None else before.start_s
        self.workflows[graph.id] = WorkflowSpan(id=graph.id, start_s=start_s)
        self.open_workflows += 1
        self._by_workflow[graph.id] = []
        self._enter(graph.id, graph.stages, None, 0)

    def asked(self, instance: InstanceId, now_s: float) -> None:
        """A stage starts: it needs no parent any more that is not done yet."""
        run = self.stages[instance]
        run.asked = True
        for parent in run.parents:
            if not parent.ended and not parent.stage.kept:
                self._abandon(parent, now_s)

    def expanded(
        self,
        instance: InstanceId,
        items: int,
        now_s: float,
        twins: Iterable[int] = (),
        done: Iterable[int] = (),
    ) -> None:
        """Items of a stage are known and ready, unless it ended or they were finished before."""
        run = self.stages[instance]
        if run.over or run.skipped:
            return
        self.waiting[run.stage.model] -= 1
        run.total, run.ready_s, run.twins, run.done = items, now_s, set(twins), set(done)
        self.count(run, before=0)
        self._complete(run, now_s)

    def revealed(self, instance: InstanceId, scopes: Iterable[Scope], now_s: float) -> None:
        """A group's items, or its next round; none end it."""
        group, found = self.stages[instance], list(scopes)
        if group.ended:
            return
        group.ready_s = now_s if group.ready_s is None else group.ready_s
        group.start_s = now_s if group.start_s is None else group.start_s
        for scope in found:
            group.scopes[scope.index] = self._enter(
                group.workflow, scope.stages, group, scope.index
            )
        if not group.stage.loop or not found:
            group.total = len(group.scopes)
        self._complete(group, now_s)

    def expand_failed(self, instance: InstanceId) -> None:
        """A stage cannot be rendered."""
        self.stages[instance].failed = True

    # --- attempts ------------------------------------------------------------------------

    def start(self, chunk: Chunk, now_s: float) -> StageRun:
        """An attempt begins."""
        run = self.stages[chunk.instance]
        before = run.ready
        run.twins.difference_update(range(chunk.start, chunk.stop))
        run.running += len(run.missing(chunk))
        run.start_s = now_s if run.start_s is None else run.start_s
        self.count(run, before)
        return run

    def item_done(self, run: StageRun, item: int, now_s: float) -> None:
        """One item of a running attempt is finished."""
        if item not in run.done and item not in run.dropped:
            run.done.add(item)
            run.running -= 1
            self._complete(run, now_s)

    def reused(self, instance: InstanceId, item: int, now_s: float) -> None:
        """An item takes its twin's output."""
        run = self.stages[instance]
        before = run.ready
        run.twins.discard(item)
        run.done.add(item)
        self.count(run, before)
        self._complete(run, now_s)

    def dropped(self, instance: InstanceId, item: int, now_s: float) -> None:
        """An item, or a group's scope, is given up; a default may stand in for its output."""
        run = self.stages[instance]
        before = run.ready
        run.twins.discard(item)
        (run.done if run.stage.on_error == "default" else run.dropped).add(item)
        self.count(run, before)
        for inner in run.scopes.get(item, ()):
            self._skip(inner, now_s)
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

    # --- ends ----------------------------------------------------------------------------

    def skipped(self, instance: InstanceId, now_s: float) -> None:
        """A stage's condition does not hold."""
        self._skip(self.stages[instance], now_s)

    def end(self, workflow: WorkflowSpan) -> None:
        """A workflow is over: nothing of it is ready or waits any more."""
        self.workflows[workflow.id] = workflow
        self.open_workflows -= 1
        for run in self._by_workflow[workflow.id]:
            before, waited, ended = run.ready, run.waiting, run.ended
            run.over = True
            self.count(run, before)
            self.waiting[run.stage.model] -= waited
            self.skipped_stages += not ended and run.status == "skipped"

    def spans(self) -> tuple[StageSpan, ...]:
        """Return what is known of every stage, groups among them."""
        return tuple(
            StageSpan(
                instance=run.instance,
                workflow=run.workflow,
                stage=run.stage.id,
                kind=run.stage.kind,
                model=run.stage.model,
                items=run.total,
                done=len(run.done),
                dropped=len(run.dropped),
                needs=needs(run),
                status=run.status,
                ready_s=run.ready_s,
                start_s=run.start_s,
                end_s=run.end_s,
            )
            for run in self.stages.values()
        )

    def _enter(
        self, workflow: str, stages: Iterable[Stage], group: StageRun | None, index: int
    ) -> list[StageRun]:
        own = {
            stage.id: StageRun(f"{workflow}/{stage.id}", workflow, stage, group, index)
            for stage in stages
        }
        for run in own.values():
            run.parents = [own[parent] for parent in run.stage.parents]
            for parent in run.parents:
                parent.children.append(run)
            self.stages[run.instance] = run
            model = run.stage.model
            self.waiting[model] = self.waiting.get(model, 0) + run.waiting
        self._by_workflow[workflow] += own.values()
        return list(own.values())

    def _forget(self, workflow: WorkflowSpan) -> None:
        """Take a workflow's stages out again."""
        if workflow.status is None:
            self.end(workflow)
        for run in self._by_workflow.pop(workflow.id):
            self.done_stages -= run.status == "done"
            self.skipped_stages -= run.status == "skipped"
            del self.stages[run.instance]

    def _complete(self, run: StageRun, now_s: float) -> None:
        """Note that a run has ended, if its last item has, and what follows from that."""
        if not run.complete or run.end_s is not None or run.skipped:
            return
        run.end_s = now_s
        run.start_s = now_s if run.start_s is None else run.start_s
        if run.status == "skipped":
            self.skipped_stages += 1
        else:
            self.done_stages += 1
        self._after(run, now_s)

    def _skip(self, run: StageRun, now_s: float) -> None:
        if run.ended:
            return
        before, waited = run.ready, run.waiting
        run.skipped, run.end_s = True, now_s
        self.count(run, before)
        self.waiting[run.stage.model] -= waited
        self.skipped_stages += 1
        for scope in run.scopes.values():
            for inner in scope:
                self._skip(inner, now_s)
        self._after(run, now_s)

    def _after(self, run: StageRun, now_s: float) -> None:
        """Skip children that have no parent with an output left; settle the scope around."""
        for child in run.children:
            parents = child.parents
            if not child.asked and all(p.ended and p.status == "skipped" for p in parents):
                self._skip(child, now_s)
        group = run.group
        if group is None or group.ended or run.index in group.done | group.dropped:
            return
        if all(inner.ended for inner in group.scopes[run.index]):
            group.done.add(run.index)
            self._complete(group, now_s)

    def _abandon(self, run: StageRun, now_s: float) -> None:
        if all(child.asked or child.ended for child in run.children):
            self._skip(run, now_s)
