"""Work that may run: chunks in the pool, tools in a queue, items that wait out a pause."""

from collections.abc import Iterable

from fate.core.delays import Delays
from fate.core.expect import Expectation
from fate.core.instances import Instance, Workflow, cut
from fate.core.options import SchedulerOptions
from fate.core.pool import ReadyChunk, ReadyPool
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk


class Ready:
    """Cuts items into chunks and keeps them until they run; counts them on their instances."""

    def __init__(self, cluster: Cluster, options: SchedulerOptions, expect: Expectation) -> None:
        self._options, self._expect = options, expect
        self._shards, self._tool_slots = min(len(cluster.devices), 2), cluster.tool_slots
        self._number = 0
        self.pool = ReadyPool()
        self.tools: list[Chunk] = []
        self.delays = Delays()

    def add(
        self, instance: Instance, items: Iterable[int], now_s: float, avoid: frozenset[int]
    ) -> None:
        """Make items ready."""
        for chunk in cut(instance.id, items, instance.chunk_items):
            instance.open_chunks += 1
            if instance.stage.kind == "tool":
                self.tools.append(chunk)
            else:
                self.pool.add(self._ready(instance, chunk, now_s, avoid))

    def drop(self, instance: Instance) -> None:
        """Take an instance's chunks out; those that run or wait out a pause are left alone."""
        if not instance.open_chunks:
            return
        if instance.stage.kind == "tool":
            kept = [chunk for chunk in self.tools if chunk.instance != instance.id]
            instance.open_chunks -= len(self.tools) - len(kept)
            self.tools[:] = kept
            return
        single = Chunk(instance.id, 0, 1)
        chunks = [single] if self.pool.get(single) else []
        if instance.stage.mapped:
            chunks = [ready.chunk for ready in self.pool if ready.chunk.instance == instance.id]
        for chunk in chunks:
            self.pool.take(chunk)
            instance.open_chunks -= 1

    def drop_workflow(self, workflow: Workflow) -> None:
        """Take everything of a workflow that has ended out."""
        self.pool.drop_workflow(workflow.id)
        prefix = f"{workflow.id}/"
        if self.tools:
            self.tools[:] = [c for c in self.tools if not c.instance.startswith(prefix)]

    def chunk_items(self, instance: Instance, count: int) -> int:
        """Items per chunk of `count`: about `chunk_s` of work, and enough for every shard."""
        if count == 1:
            return 1
        if self._options.chunk_s == 0:
            return count if instance.stage.kind == "tool" else 1
        item_s = self._expect.item_seconds(instance)
        by_time = int(self._options.chunk_s / item_s) if item_s > 0 else count
        tool = instance.stage.kind == "tool"
        by_shards = -(-count // (self._tool_slots if tool else self._shards))
        return max(1, min(by_time, by_shards))

    def _ready(
        self, instance: Instance, chunk: Chunk, now_s: float, avoid: frozenset[int]
    ) -> ReadyChunk:
        self._number += 1
        waits = self._options.max_wait_s
        wait_class = instance.workflow.graph.wait_class
        return ReadyChunk(
            chunk=chunk,
            workflow=instance.workflow.id,
            number=self._number,
            since_s=now_s,
            max_wait_s=waits.get(wait_class, waits.get("default", float("inf"))),
            urgency_s=instance.own_s + instance.tail_s,
            work=self._expect.chunk(instance, chunk),
            avoid=avoid,
        )
