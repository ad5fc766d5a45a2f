"""Engines and content that take no time: what remains is what the runtime itself costs."""

import asyncio

from fate.domain.graph import Graph, InstanceId
from fate.domain.messages import Command, Event, Expanded, ExpandFailed, Revealed, Skipped
from fate.drivers.declared import Declared
from fate.engines.base import (
    CallRequest,
    CallResult,
    Capabilities,
    EngineInfo,
    LoadResult,
    PromptPart,
    SavedState,
    StateKey,
)


class InstantEngine:
    """A device on which loads and calls are done at once, or after `pause_s`."""

    info = EngineInfo(name="instant", version="1")
    capabilities = Capabilities(prefix="sequences", can_load=True)

    def __init__(self, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s

    async def open(self) -> None:
        """Nothing to start."""

    async def load(self, model: str) -> LoadResult:
        """Load nothing."""
        del model
        await self._pause()
        return LoadResult(seconds=self._pause_s)

    async def unload(self, model: str) -> float:
        """Unload in no time."""
        del model
        return 0.0

    async def warm(self, model: str, parts: tuple[PromptPart, ...], sequence: int) -> CallResult:
        """Prefill nothing."""
        return await self.call(
            CallRequest(model=model, parts=parts, max_tokens=0, sequence=sequence)
        )

    async def call(self, request: CallRequest) -> CallResult:
        """Answer with as many tokens as asked for, and no text."""
        await self._pause()
        return CallResult(
            text="",
            prompt_tokens=0,
            cached_tokens=0,
            output_tokens=request.max_tokens,
            prefill_s=0.0,
            decode_s=self._pause_s,
        )

    async def save(self, model: str, sequence: int) -> SavedState:
        """Save nothing."""
        del sequence
        return SavedState(key=StateKey(weights=model, engine="instant", cache=""), size_bytes=0)

    async def restore(self, model: str, sequence: int, state: SavedState) -> float:
        """Restore nothing, in no time."""
        del model, sequence, state
        return 0.0

    def landing(self, state: SavedState) -> SavedState:
        """Return the state: it lies nowhere."""
        return state

    async def healthy(self) -> bool:
        """Always."""
        return True

    async def restart(self) -> None:
        """Nothing to restart."""

    async def close(self) -> None:
        """Nothing to end."""

    async def _pause(self) -> None:
        if self._pause_s:
            await asyncio.sleep(self._pause_s)


class DeclaredWork:
    """The content of a workflow that is known by its graph alone: prompts without texts."""

    def __init__(self, graph: Graph) -> None:
        self._declared = Declared(_always)
        self._declared.arrive(graph)

    def expand(self, instance: InstanceId) -> Expanded | Skipped | Revealed | ExpandFailed:
        """Answer as the stage declares it; nothing is skipped."""
        return self._declared.expand(instance)

    def default(self, instance: InstanceId, item: int) -> str | None:
        """Put nothing in the place of what was given up."""
        del instance, item
        return None

    def request(self, instance: InstanceId, item: int, sequence: int) -> CallRequest:
        """Return an empty prompt with the declared length of the answer."""
        del item
        stage = self._declared.stage(instance)
        return CallRequest(
            model=stage.model, parts=(), max_tokens=stage.max_tokens, sequence=sequence
        )

    def run_tool(self, instance: InstanceId, item: int) -> str:
        """Return nothing."""
        del instance, item
        return ""

    def own_call(self, instance: InstanceId, item: int) -> None:
        """Have no own code."""

    def check(self, instance: InstanceId, item: int, text: str) -> str | None:
        """Accept everything."""
        del instance, item, text
        return None

    def learn(self, request: CallRequest, result: CallResult) -> None:
        """There are no texts to learn from."""

    def recall(self, message: Event | Command) -> None:
        """Take note of what a former process was told."""
        self._declared.recall(message)


def _always(*about: str) -> float:
    """Draw what makes every condition hold."""
    del about
    return 0.0
