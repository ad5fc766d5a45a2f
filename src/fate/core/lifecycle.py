"""Workflows, instances and items: who waits for whom, what is ready, what is over."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from fate.core.delays import Delayed
from fate.core.expect import Expectation
from fate.core.instances import Instance, InstanceStatus, OpenScope, Workflow
from fate.core.options import SchedulerOptions
from fate.core.ready import Ready
from fate.core.service import look_back
from fate.core.structure import Structure
from fate.core.twins import Twins
from fate.cost.estimates import Estimator
from fate.domain.catalog import Cluster
from fate.domain.errors import ProtocolError
from fate.domain.graph import Chunk, Graph, InstanceId
from fate.domain.messages import (
    Command,
    Dropped,
    Expand,
    Expanded,
    Revealed,
    WorkflowEnded,
    WorkflowStatus,
)

#: Item that stands for a whole map or group in `Dropped`.
WHOLE = -1


class Lifecycle:
    """Moves instances from waiting to their end; puts ready chunks in the pool, tools in a queue.

    What ends is noted in `_closed`, and `_follow` works out what comes of it.
    """

    def __init__(
        self,
        cluster: Cluster,
        options: SchedulerOptions,
        estimator: Estimator,
        outbox: list[Command],
    ) -> None:
        self._outbox = outbox
        self._closed: deque[Instance] = deque()
        self.expect = Expectation(cluster, estimator)
        self.structure = Structure(self.expect)
        self.ready = Ready(cluster, options, self.expect)
        self.workflows: dict[str, Workflow] = {}
        self.instances = self.structure.instances
        self.pool, self.tools, self.delays = self.ready.pool, self.ready.tools, self.ready.delays
        self.open_workflows = 0
        #: Something ended early: `settle` may have items to put back, and chains work for nobody.
        self.unsettled = False
        self._twins = Twins(self.instances, outbox)

    def submit(self, graph: Graph, now_s: float = 0.0) -> None:
        """Take a workflow in and expand what has no parents."""
        if graph.id in self.workflows:
            raise ProtocolError(f"workflow {graph.id!r} was submitted twice")
        number = len(self.workflows)
        workflow = Workflow(graph.id, number, graph, len(graph.stages), arrived_s=now_s)
        self.workflows[graph.id] = workflow
        self.open_workflows += 1
        for instance in self.structure.workflow(workflow):
            if not instance.parents:
                self._expand(instance)
        if not graph.stages:
            self._end(workflow, "ok", "")

    # --- answers to `Expand` -----------------------------------------------------------------

    def expanded(self, event: Expanded, now_s: float) -> None:
        """An instance's prompts are known: cut its items into chunks."""
        instance = self.asked(event.instance)
        if instance is None:
            return
        if instance.group is not None:
            raise ProtocolError(f"group {event.instance} was expanded instead of revealed")
        instance.head, instance.tails = event.head, event.tails
        instance.status = "open"
        instance.open_items = set(range(len(event.tails))).difference(event.done)
        for twin in event.twins:
            self._twins.borrow(instance, twin)
        if not instance.open_items:
            self._close(instance, "done")
            self._follow()
            return
        instance.chunk_items = self.ready.chunk_items(instance, len(instance.tails))
        items: Iterable[int] = range(len(event.tails))
        if event.twins or event.done:
            items = sorted(instance.open_items - instance.borrowing)
        self.ready.add(instance, items, now_s, frozenset())

    def skipped(self, name: InstanceId) -> None:
        """An instance does not run: its condition does not hold."""
        instance = self.asked(name)
        if instance is not None:
            self._close(instance, "skipped")
            self._follow()

    def revealed(self, event: Revealed) -> None:
        """A group's next scopes are known; without any it is over."""
        group = self.asked(event.instance)
        if group is None:
            return
        if group.group is None:
            raise ProtocolError(f"{event.instance} is no group, yet was revealed")
        self.structure.revealed(group)
        group.status = "open"
        group.group.left += len(event.scopes)
        for scope in event.scopes:
            opened = self.structure.scope(group, scope)
            group.workflow.open_stages += opened.left
            for member in opened.members:
                if not member.parents:
                    self._expand(member)
            if not opened.left:
                self._scope_over(opened)
        if not event.scopes:
            self._close(group, "done")
        self._follow()

    def asked(self, name: InstanceId) -> Instance | None:
        """Return an instance that an answer is about; None if it is too late for one.

        Raises:
            ProtocolError: nobody has asked.
        """
        instance = self.instances[name]
        if not instance.live:
            return None
        if instance.status != "expanding":
            raise ProtocolError(f"{name} was expanded while {instance.status}")
        return instance

    # --- items -------------------------------------------------------------------------------

    def item_done(self, chunk: Chunk, item: int, output_tokens: int, device: int) -> None:
        """An item's output is stored."""
        instance = self.instances[chunk.instance]
        instance.open_items.discard(item)
        if instance.stage.output_bytes and device >= 0:
            instance.output_at[device] = instance.output_at.get(device, 0) + 1
        if output_tokens:
            instance.lengths.count += 1
            instance.lengths.tokens += output_tokens
            instance.lengths.declared += instance.stage.output_tokens
        if self._twins:
            for twin in self._twins.lend(instance, item):
                self._finish_if_done(twin)

    def chunk_done(self, chunk: Chunk) -> None:
        """An attempt ended with all its items done."""
        instance = self.instances[chunk.instance]
        instance.open_chunks -= 1
        self._finish_if_done(instance)

    def requeue(
        self, chunk: Chunk, now_s: float, avoid: frozenset[int], later: Delayed | None = None
    ) -> None:
        """An attempt ended early: what is missing is ready again, but what waits for `later`."""
        instance = self.instances[chunk.instance]
        instance.open_chunks -= 1
        if not instance.live:
            return
        missing = [i for i in range(chunk.start, chunk.stop) if i in instance.open_items]
        if later is not None:
            self.delays.add(later)
            instance.open_chunks += 1
            missing = [i for i in missing if not later.chunk.start <= i < later.chunk.stop]
        self.ready.add(instance, missing, now_s, avoid)
        self._finish_if_done(instance)

    def release(self, now_s: float) -> bool:
        """Items whose pause is over become ready; tell if there were any."""
        for delayed in (due := self.delays.due(now_s)):
            self.requeue(delayed.chunk, now_s, delayed.avoid)
        return bool(due)

    def settle(self, now_s: float) -> None:
        """Items whose source gave no answer are calls of their own."""
        self.unsettled = False
        for instance, item in self._twins.adopt():
            self.ready.add(instance, [item], now_s, frozenset())

    def next_item(self, chunk: Chunk) -> int:
        """Return the item an attempt at a chunk is at; -1 when all are done."""
        left = self.instances[chunk.instance].open_items
        return next((i for i in range(chunk.start, chunk.stop) if i in left), -1)

    def gathered(self, instance: Instance) -> list[tuple[int, int]]:
        """Return (device, bytes) of the parents' outputs that lie on devices."""
        return [
            (device, items * parent.stage.output_bytes)
            for parent in instance.parents
            if parent.output_at  # most have none yet, and this is asked for all that wait
            for device, items in parent.output_at.items()
        ]

    def not_ready(self) -> Iterator[Instance]:
        """Yield calls that are going to come, expected ones too, the oldest first."""
        for instance in self.instances.values():
            if not instance.live:
                continue
            if instance.group is not None:
                yield from [e for e in instance.group.expected if e.stage.kind == "llm"]
                yield from [e for e in instance.group.again if e.stage.kind == "llm"]
            elif instance.status in ("waiting", "expanding") and instance.stage.kind == "llm":
                yield instance

    def is_open(self, instance: InstanceId, item: int) -> bool:
        """Whether an item is not done yet."""
        return item in self.instances[instance].open_items

    def missing(self, chunk: Chunk) -> int:
        """Return how many items of a chunk are not done."""
        open_items = self.instances[chunk.instance].open_items
        return sum([item in open_items for item in range(chunk.start, chunk.stop)])

    def count_failure(self, chunk: Chunk) -> tuple[int, int]:
        """Charge a failed attempt to the item it was at; return that item and its failures."""
        instance = self.instances[chunk.instance]
        item = self.next_item(chunk)
        instance.failures[item] = instance.failures.get(item, 0) + 1
        instance.workflow.failures += 1
        return item, instance.failures[item]

    # --- giving up ---------------------------------------------------------------------------

    def give_up(self, name: InstanceId, items: Sequence[int], reason: str) -> None:
        """Go on without items, or without the scope around them, as `on_error` says.

        The closest policy that allows it counts; where there is none the workflow fails.
        """
        instance = self.instances[name]
        if not instance.live:
            return
        if instance.stage.on_error != "fail":
            self._drop_items(instance, items, reason)
        else:
            scope = instance.scope
            while scope is not None and scope.group.stage.on_error == "fail":
                scope = scope.group.scope
            if scope is None:
                self.fail(name, reason)
                return
            self._drop_scope(scope, reason)
        self._follow()

    def fail(self, instance: InstanceId, reason: str) -> None:
        """End the workflow of `instance`; what is finished stays finished."""
        self._end(self.instances[instance].workflow, "failed", reason)

    def cancel_all(self, reason: str) -> None:
        """End every workflow that still runs."""
        for workflow in self.workflows.values():
            self._end(workflow, "cancelled", reason)

    def _drop_items(self, instance: Instance, items: Sequence[int], reason: str) -> None:
        for item in items:
            self._outbox.append(Dropped(instance=instance.id, item=item, reason=reason))
            instance.open_items.discard(item)
            instance.borrowing.discard(item)
            instance.gone.add(item)
            self._twins.lose_item(instance, item)
        self.unsettled |= self._twins.orphaned
        if not instance.open_items:
            left_over = instance.stage.on_error == "default" and WHOLE not in instance.gone
            nothing = not left_over and len(instance.gone) >= len(instance.tails)
            self._close(instance, "skipped" if nothing else "done")

    def _drop_scope(self, scope: OpenScope, reason: str) -> None:
        group = scope.group.id
        self._outbox.append(Dropped(instance=group, item=scope.index, reason=reason))
        self._abandon(scope.members)

    def _abandon(self, instances: Iterable[Instance]) -> None:
        """End whatever has not ended among some instances, with all they have under way."""
        for instance in instances:
            if instance.ended:
                continue
            self.unsettled = True
            self._close(instance, "skipped")
            self.ready.drop(instance)
            instance.open_items.clear()
            instance.borrowing.clear()
            self._twins.lose(instance)
            if instance.group is not None:
                for scope in instance.group.scopes.values():
                    self._abandon(scope.members)

    # --- ends --------------------------------------------------------------------------------

    def _expand(self, instance: Instance) -> None:
        instance.status = "expanding"
        instance.before = look_back(instance)
        left = instance.parents if instance.parents_left else ()
        still_open = tuple([parent.id for parent in left if not parent.ended])
        self._outbox.append(Expand(instance=instance.id, open=still_open))

    def _finish_if_done(self, instance: Instance) -> None:
        if not instance.open_items and instance.status == "open":
            self._close(instance, "done")
            self._follow()

    def _close(self, instance: Instance, status: InstanceStatus) -> None:
        instance.status = status
        self._closed.append(instance)

    def _follow(self) -> None:
        """Let what depends on ended instances begin or end in turn."""
        while self._closed:
            instance = self._closed.popleft()
            self.structure.ended(instance)
            for child in instance.children:
                child.parents_left -= 1
                child.parents_done += instance.status == "done"
                if child.status == "waiting" and child.workflow.status is None:
                    self._begin(child)
            if instance.parents_left:
                self._release_parents(instance)
            if instance.scope is not None:
                instance.scope.left -= 1
                if not instance.scope.left:
                    self._scope_over(instance.scope)
            instance.workflow.open_stages -= 1
            if not instance.workflow.open_stages:
                self._end(instance.workflow, "ok", "")

    def _begin(self, instance: Instance) -> None:
        """Start an instance if enough of its parents are done, skip it if none can be."""
        join = instance.stage.join
        if instance.parents_left and not (join and instance.parents_done >= join):
            return
        if not instance.parents_done:
            self._close(instance, "skipped")
            return
        self._expand(instance)
        if instance.parents_left:
            self._release_parents(instance)

    def _release_parents(self, instance: Instance) -> None:
        """Abandon parents that nobody needs any more."""
        if instance.workflow.status is None:
            self._abandon(
                [
                    parent
                    for parent in instance.parents
                    if not parent.stage.kept
                    and not any(child.status == "waiting" for child in parent.children)
                ]
            )

    def _scope_over(self, scope: OpenScope) -> None:
        """A map is done with its last scope; a loop may have another round."""
        group = scope.group
        assert group.group is not None
        group.group.left -= 1
        if group.group.left or not group.live:
            return
        if group.stage.loop:
            self._expand(group)
        else:
            self._close(group, "done")

    def _end(self, workflow: Workflow, status: WorkflowStatus, reason: str) -> None:
        if workflow.status is not None:
            return
        workflow.status = status
        self.open_workflows -= 1
        self.ready.drop_workflow(workflow)
        if status != "ok":
            self.unsettled = True
            self._twins.lose_workflow(workflow.id)
        self._outbox.append(WorkflowEnded(workflow=workflow.id, status=status, reason=reason))
