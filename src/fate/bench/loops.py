"""The loops that batch users write by hand: items through stages, on every device at once.

They drive the same engines as the runtime does, load what the next call needs, and leave the choice
of the cache slot to the engine. Nothing is planned, and nothing is journalled.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from fate.domain.errors import FateError
from fate.domain.graph import Scope
from fate.domain.messages import Expanded, Revealed
from fate.engines.base import Engine
from fate.workflow.expand import Expander
from fate.workflow.values import MemoryOutputs


@dataclass(slots=True)
class Tally:
    """What a loop did, as the engines report it."""

    wall_s: float = 0.0
    loads: int = 0
    computed_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class Worker:
    """One device, the model it holds, and the loop's shared count."""

    engine: Engine
    work: Expander
    outputs: MemoryOutputs
    tally: Tally
    model: str = ""

    async def run(self, instance: str) -> None:
        """Run one call; load its model first if another one is there."""
        expanded = self.work.expand(instance)
        if not isinstance(expanded, Expanded):
            raise FateError(f"bench: {instance} was answered by {expanded}")
        request = self.work.request(instance, 0, -1)
        await self.hold(request.model)
        result = await self.engine.call(request)
        self.outputs.put(instance, 0, result.text)
        self.tally.computed_tokens += result.prompt_tokens - result.cached_tokens
        self.tally.output_tokens += result.output_tokens

    async def hold(self, model: str) -> None:
        """Hold a model, or none (``), and nothing else."""
        if model == self.model:
            return
        if self.model:
            await self.engine.unload(self.model)
        self.model = model
        if model:
            await self.engine.load(model)
            self.tally.loads += 1


#: Runs the scopes of a map on all workers.
Loop: TypeAlias = Callable[[list[Worker], str, tuple[Scope, ...]], Awaitable[None]]


async def model_major(workers: list[Worker], workflow: str, scopes: tuple[Scope, ...]) -> None:
    """For each stage, all items: few loads, a barrier between stages."""
    for step in range(len(scopes[0].stages)):
        calls = deque(f"{workflow}/{scope.stages[step].id}" for scope in scopes)
        await _share([[call] for call in calls], workers)


async def item_major(workers: list[Worker], workflow: str, scopes: tuple[Scope, ...]) -> None:
    """For each item, all stages: no barrier, a load for nearly every call."""
    await _share(
        [[f"{workflow}/{stage.id}" for stage in scope.stages] for scope in scopes], workers
    )


LOOPS: dict[str, Loop] = {"model-major": model_major, "item-major": item_major}


async def run_loop(
    name: str, work: Expander, outputs: MemoryOutputs, engines: Mapping[str, Engine]
) -> Tally:
    """Run a workflow that is one map with a body; afterwards nothing is loaded anywhere.

    Args:
        name: a key of `LOOPS`.
        work: the workflow, which reads its outputs from `outputs`.
        outputs: an empty store.
        engines: open engines by device, with nothing loaded.
    """
    (group,) = [stage for stage in work.graph().stages if stage.kind == "group"]
    tally = Tally()
    workers = [Worker(engine, work, outputs, tally) for engine in engines.values()]
    began_s = time.perf_counter()
    revealed = work.expand(f"{work.workflow_id}/{group.id}")
    assert isinstance(revealed, Revealed)
    await LOOPS[name](workers, work.workflow_id, revealed.scopes)
    tally.wall_s = time.perf_counter() - began_s
    for worker in workers:
        await worker.hold("")
    return tally


async def _share(tasks: list[list[str]], workers: list[Worker]) -> None:
    """Let every worker take the next task, calls one after the other, until none is left."""
    left = deque(tasks)

    async def serve(worker: Worker) -> None:
        while left:
            for call in left.popleft():
                await worker.run(call)

    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(serve(worker))
