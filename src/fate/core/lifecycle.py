"""Workflows, instances and items: who waits for whom, what is ready, what is done."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from fate.core.delays import Delayed, Delays
from fate.core.options import SchedulerOptions
from fate.core.paths import PathTable
from fate.core.pool import ReadyChunk, ReadyPool, Work
from fate.cost.estimates import Estimator
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.catalog import Cluster
from fate.domain.errors import ProtocolError
from fate.domain.graph import (
    ITEM,
    Chunk,
    Graph,
    InstanceId,
    Path,
    Segment,
    Stage,
    item_key,
    path_tokens,
)
from fate.domain.messages import Command, Expand, Expanded, WorkflowEnded, WorkflowStatus

InstanceStatus: TypeAlias = Literal["waiting", "expanding", "open", "done"]

#: Observations that the declared output length of a stage counts for.
_PRIOR_WEIGHT = 2.0


@dataclass(slots=True, eq=False)
class Workflow:
    """A submitted workflow; `open_stages` counts stages not done yet, `failures` attempts."""

    id: str
    number: int
    graph: Graph
    open_stages: int
    status: WorkflowStatus | None = None
    failures: int = 0


@dataclass(slots=True, eq=False)
class Instance:
    """One execution of a stage. `own_s` and `tail_s` are its rank's two parts, in seconds.

    `next_calls` are the closest llm descendants, seen through tools; `calls_left` counts the
    unfinished instances that have this one among theirs. `output_at` counts the items whose
    output lies on each device.
    """

    id: InstanceId
    number: int
    workflow: Workflow
    stage: Stage
    parents_left: int
    parents: list["Instance"] = field(default_factory=list["Instance"])
    children: list["Instance"] = field(default_factory=list["Instance"])
    next_calls: list["Instance"] = field(default_factory=list["Instance"])
    calls_left: int = 0
    output_at: dict[int, int] = field(default_factory=dict[int, int])
    own_s: float = 0.0
    tail_s: float = 0.0
    status: InstanceStatus = "waiting"
    head: Path = ()
    tails: tuple[Path, ...] = ()
    chunk_items: int = 1
    open_chunks: int = 0
    open_items: set[int] = field(default_factory=set[int])
    failures: dict[int, int] = field(default_factory=dict[int, int])
    waiting_work: Work | None = None


@dataclass(slots=True)
class _Lengths:
    """Output lengths seen of one stage, over all workflows of the run."""

    count: int = 0
    tokens: int = 0


class _Prompts(NamedTuple):
    """Prompts of a range of items: shared head, first and last tail, tokens of other tails."""

    head: Path
    first: Path
    last: Path
    rest_tokens: float


class Lifecycle:
    """Moves instances from waiting to done; puts ready chunks in the pool, tools in a queue."""

    def __init__(
        self,
        cluster: Cluster,
        options: SchedulerOptions,
        estimator: Estimator,
        outbox: list[Command],
    ) -> None:
        self._cluster, self._options, self._estimator = cluster, options, estimator
        self._outbox = outbox
        self._models = {model.id: m for m, model in enumerate(cluster.models)}
        self._hosts = [
            [d for d, device in enumerate(cluster.devices) if cluster.supports(device, model)]
            for model in cluster.models
        ]
        self._lengths: dict[str, _Lengths] = {}
        self._number = 0
        self.workflows: dict[str, Workflow] = {}
        self.instances: dict[InstanceId, Instance] = {}
        self.paths = PathTable()
        self.pool = ReadyPool()
        self.tools: list[Chunk] = []
        self.delays = Delays()
        self.open_workflows = 0

    def submit(self, graph: Graph) -> None:
        """Take a workflow in and expand what has no parents."""
        if graph.id in self.workflows:
            raise ProtocolError(f"workflow {graph.id!r} was submitted twice")
        workflow = Workflow(graph.id, len(self.workflows), graph, len(graph.stages))
        self.workflows[graph.id] = workflow
        self.open_workflows += 1
        own = {stage.id: self._add_instance(workflow, stage) for stage in graph.stages}
        for instance in own.values():
            for parent in instance.stage.parents:
                own[parent].children.append(instance)
                instance.parents.append(own[parent])
        for instance in reversed(own.values()):
            instance.own_s = self._own_seconds(instance.stage)
            instance.next_calls = _next_calls(instance)
            for call in instance.next_calls if instance.stage.kind == "llm" else ():
                call.calls_left += 1
            instance.tail_s = max((c.own_s + c.tail_s for c in instance.children), default=0.0)
        for instance in own.values():
            if not instance.parents_left:
                self._expand(instance)
        if not own:
            self._end(workflow, "ok", "")

    def expanded(self, event: Expanded, now_s: float) -> None:
        """An instance's prompts are known: cut its items into chunks."""
        instance = self.instances[event.instance]
        if instance.workflow.status is not None:
            return
        if instance.status != "expanding":
            raise ProtocolError(f"{event.instance} was expanded while {instance.status}")
        instance.head, instance.tails = event.head, event.tails
        instance.status = "open"
        instance.open_items = set(range(len(event.tails)))
        if not event.tails:
            self._finish(instance)
            return
        instance.chunk_items = self._chunk_items(instance)
        self._make_ready(instance, range(len(event.tails)), now_s, frozenset())

    def item_done(self, chunk: Chunk, item: int, output_tokens: int, device: int) -> None:
        """An item's output is stored."""
        instance = self.instances[chunk.instance]
        instance.open_items.discard(item)
        if instance.stage.output_bytes and device >= 0:
            instance.output_at[device] = instance.output_at.get(device, 0) + 1
        if output_tokens:
            lengths = self._lengths.setdefault(instance.stage.id, _Lengths())
            lengths.count += 1
            lengths.tokens += output_tokens

    def chunk_done(self, chunk: Chunk) -> None:
        """An attempt ended with all its items done."""
        instance = self.instances[chunk.instance]
        instance.open_chunks -= 1
        if not instance.open_items and instance.status == "open":
            self._finish(instance)

    def requeue(
        self, chunk: Chunk, now_s: float, avoid: frozenset[int], later: Delayed | None = None
    ) -> None:
        """An attempt ended early: its missing items become ready again, those in `later` then."""
        instance = self.instances[chunk.instance]
        instance.open_chunks -= 1
        if instance.workflow.status is not None:
            return
        missing = [i for i in range(chunk.start, chunk.stop) if i in instance.open_items]
        if later is not None:
            self.delays.add(later)
            instance.open_chunks += 1
            missing = [i for i in missing if not later.chunk.start <= i < later.chunk.stop]
        self._make_ready(instance, missing, now_s, avoid)
        if not instance.open_items and instance.status == "open":
            self._finish(instance)

    def release(self, now_s: float) -> bool:
        """Items whose pause is over become ready; tell if there were any."""
        due = self.delays.due(now_s)
        for delayed in due:
            self.requeue(delayed.chunk, now_s, delayed.avoid)
        return bool(due)

    def count_failure(self, chunk: Chunk) -> tuple[int, int]:
        """Charge a failed attempt to the item it was at; return that item and its failures."""
        instance = self.instances[chunk.instance]
        item = min((i for i in instance.open_items if chunk.start <= i < chunk.stop), default=-1)
        instance.failures[item] = instance.failures.get(item, 0) + 1
        instance.workflow.failures += 1
        return item, instance.failures[item]

    def fail(self, instance: InstanceId, reason: str) -> Workflow:
        """End the workflow of `instance`; what is finished stays finished."""
        workflow = self.instances[instance].workflow
        self._end(workflow, "failed", reason)
        return workflow

    def cancel_all(self, reason: str) -> None:
        """End every workflow that still runs."""
        for workflow in self.workflows.values():
            self._end(workflow, "cancelled", reason)

    def gathered(self, instance: Instance) -> list[tuple[int, int]]:
        """Return (device, bytes) of the parents' outputs that lie on devices."""
        return [
            (device, items * parent.stage.output_bytes)
            for parent in instance.parents
            for device, items in parent.output_at.items()
        ]

    def is_open(self, instance: InstanceId, item: int) -> bool:
        """Whether an item is not done yet."""
        return item in self.instances[instance].open_items

    def missing(self, chunk: Chunk) -> int:
        """Return how many items of a chunk are not done."""
        open_items = self.instances[chunk.instance].open_items
        return sum(1 for item in range(chunk.start, chunk.stop) if item in open_items)

    def expected_tokens(self, stage: Stage) -> float:
        """Return the expected output tokens of one item, after what this run has seen."""
        lengths = self._lengths.get(stage.id)
        if lengths is None:
            return stage.output_tokens
        total = _PRIOR_WEIGHT * stage.output_tokens + lengths.tokens
        return total / (_PRIOR_WEIGHT + lengths.count)

    def waiting_work(self, instance: Instance) -> Work:
        """Return what a waiting instance is expected to cost as a whole."""
        if instance.waiting_work is None:
            stage, items = instance.stage, max(instance.stage.items, 1)
            cut = next((i for i, s in enumerate(stage.prompt) if s.key.startswith(ITEM)), None)
            head, tail = stage.prompt[:cut], stage.prompt[cut:] if cut is not None else ()
            rest = float((items - 1) * path_tokens(tail))
            instance.waiting_work = self._work(
                instance, Chunk(instance.id, 0, items), _Prompts(head, tail, tail, rest)
            )
        return instance.waiting_work

    def _add_instance(self, workflow: Workflow, stage: Stage) -> Instance:
        instance = Instance(
            workflow.graph.instance(stage.id),
            len(self.instances),
            workflow,
            stage,
            parents_left=len(stage.parents),
        )
        self.instances[instance.id] = instance
        return instance

    def _own_seconds(self, stage: Stage) -> float:
        """Seconds of a stage, a map spread over the devices that can run it."""
        seconds = stage.items * self._item_seconds(stage)
        if stage.kind == "tool":
            return seconds
        hosts = self._hosts[self._models[stage.model]]
        return seconds / max(min(len(hosts), stage.items), 1)

    def _item_seconds(self, stage: Stage) -> float:
        """Compute seconds of one item, the mean over the devices that can run it."""
        if stage.kind == "tool":
            return stage.tool_s
        m, seconds = self._models[stage.model], list[float]()
        tokens, output = float(path_tokens(stage.prompt)), self.expected_tokens(stage)
        for d in self._hosts[m]:
            prefill, decode = self._estimator.rates(d, m)
            seconds.append(
                prefill_seconds(tokens, 0.0, *prefill) + decode_seconds(output, tokens, *decode)
            )
        return sum(seconds) / len(seconds) if seconds else 0.0

    def _expand(self, instance: Instance) -> None:
        instance.status = "expanding"
        self._outbox.append(Expand(instance=instance.id))

    def _finish(self, instance: Instance) -> None:
        instance.status = "done"
        for call in instance.next_calls if instance.stage.kind == "llm" else ():
            call.calls_left -= 1
        for child in instance.children:
            child.parents_left -= 1
            if not child.parents_left and child.workflow.status is None:
                self._expand(child)
        workflow = instance.workflow
        workflow.open_stages -= 1
        if not workflow.open_stages:
            self._end(workflow, "ok", "")

    def _end(self, workflow: Workflow, status: WorkflowStatus, reason: str) -> None:
        if workflow.status is not None:
            return
        workflow.status = status
        self.open_workflows -= 1
        self.pool.drop_workflow(workflow.id)
        self.tools = [c for c in self.tools if self.instances[c.instance].workflow is not workflow]
        self._outbox.append(WorkflowEnded(workflow=workflow.id, status=status, reason=reason))

    def _chunk_items(self, instance: Instance) -> int:
        """Items per chunk: about `chunk_s` of work, and enough chunks for every shard."""
        count = len(instance.tails)
        if count == 1:
            return 1
        if self._options.chunk_s == 0:
            return count if instance.stage.kind == "tool" else 1
        item_s = self._item_seconds(instance.stage)
        by_time = int(self._options.chunk_s / item_s) if item_s > 0 else count
        tool, devices = instance.stage.kind == "tool", len(self._cluster.devices)
        by_shards = -(-count // (self._cluster.tool_slots if tool else min(devices, 2)))
        return max(1, min(by_time, by_shards))

    def _make_ready(
        self, instance: Instance, items: Iterable[int], now_s: float, avoid: frozenset[int]
    ) -> None:
        for chunk in _cut(instance.id, items, instance.chunk_items):
            instance.open_chunks += 1
            if instance.stage.kind == "tool":
                self.tools.append(chunk)
            else:
                self.pool.add(self._ready(instance, chunk, now_s, avoid))

    def _ready(
        self, instance: Instance, chunk: Chunk, now_s: float, avoid: frozenset[int]
    ) -> ReadyChunk:
        self._number += 1
        waits = self._options.max_wait_s
        wait_class = instance.workflow.graph.wait_class
        tails = instance.tails[chunk.start : chunk.stop]
        rest = float(sum(path_tokens(tail) for tail in tails[1:]))
        prompts = _Prompts(instance.head, tails[0], tails[-1], rest)
        return ReadyChunk(
            chunk=chunk,
            workflow=instance.workflow.id,
            number=self._number,
            since_s=now_s,
            max_wait_s=waits.get(wait_class, waits.get("default", float("inf"))),
            urgency_s=instance.own_s + instance.tail_s,
            work=self._work(instance, chunk, prompts),
            avoid=avoid,
        )

    def _work(self, instance: Instance, chunk: Chunk, prompts: _Prompts) -> Work:
        expected = self.expected_tokens(instance.stage)
        first, last = prompts.head + prompts.first, prompts.head + prompts.last
        left = (*last, Segment(item_key(instance.id, chunk.stop - 1), int(expected)))
        items = chunk.stop - chunk.start
        return Work(
            model=self._models[instance.stage.model],
            path=first,
            left=left,
            path_row=self.paths.row(first),
            left_row=self.paths.row(left),
            first_tokens=float(path_tokens(first)),
            rest_tokens=prompts.rest_tokens,
            head_tokens=float(path_tokens(prompts.head)),
            rest_items=float(items - 1),
            output_tokens=expected * items,
        )


def _next_calls(instance: Instance) -> list[Instance]:
    """Return the closest llm descendants; the children's own lists must be known."""
    found: dict[int, Instance] = {}
    for child in instance.children:
        for call in [child] if child.stage.kind == "llm" else child.next_calls:
            found[call.number] = call
    return list(found.values())


def _cut(instance: InstanceId, items: Iterable[int], size: int) -> list[Chunk]:
    """Cut items into runs of neighbours of at most `size`."""
    chunks: list[Chunk] = []
    for item in items:
        last = chunks[-1] if chunks else None
        if last is not None and last.stop == item and last.stop - last.start < size:
            chunks[-1] = Chunk(instance, last.start, item + 1)
        else:
            chunks.append(Chunk(instance, item, item + 1))
    return chunks
