"""Turns commands into work on engines, and the work's results into events."""

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fate.domain.errors import FateError
from fate.domain.graph import Chunk, InstanceId
from fate.domain.messages import (
    Activity,
    Call,
    Cancelled,
    Command,
    DeviceLost,
    Done,
    Dropped,
    Event,
    Expand,
    Expanded,
    ExpandFailed,
    Failed,
    ItemDone,
    Load,
    Move,
    Reuse,
    Revealed,
    RunTool,
    Skipped,
    Unload,
    Warm,
)
from fate.drivers.recover import without_finished
from fate.drivers.states import States
from fate.drivers.tool_pool import ToolPool
from fate.engines.base import BusyError, CallRequest, CallResult, DeviceLostError, Engine

if TYPE_CHECKING:
    from fate.workflow.own_code import OwnCall

_DOUBTFUL = (
    "it may have run already, in the process that was interrupted, and is not pure; "
    "`fate resume --rerun-tools` runs it again"
)


class Work(Protocol):
    """One workflow's content, as the expander offers it."""

    def expand(self, instance: InstanceId) -> Expanded | Skipped | Revealed | ExpandFailed:
        """Render an instance, or tell a group's next scopes."""
        ...

    def default(self, instance: InstanceId, item: int) -> str | None:
        """Take note that an item is given up; return what stands in for its output, if anything.

        Of a group, the item is one of its items or rounds. -1 is a whole map or group.
        """
        ...

    def request(self, instance: InstanceId, item: int, sequence: int) -> CallRequest:
        """Return one item's call."""
        ...

    def run_tool(self, instance: InstanceId, item: int) -> str:
        """Run a built-in tool on one item, in any thread."""
        ...

    def own_call(self, instance: InstanceId, item: int) -> "OwnCall | None":
        """Return the call of own code that an item needs; None where the tool is built in."""
        ...

    def check(self, instance: InstanceId, item: int, text: str) -> str | None:
        """Return why an answer is not acceptable."""
        ...

    def learn(self, request: CallRequest, result: CallResult) -> None:
        """Learn from an answer how long texts are in tokens."""
        ...

    def recall(self, message: Event | Command) -> None:
        """Take note of what a former process recorded."""
        ...


#: Said of an answer with counts below zero.
NEGATIVE = "a negative number of tokens"


class Injected(Protocol):
    """Faults on purpose, as activities meet them."""

    def begins(self, command: Activity) -> None:
        """Note that an activity begins."""
        ...

    def check_disk(self) -> None:
        """Raise when outputs cannot be stored."""
        ...


class InThread(Protocol):
    """Runs a blocking function without blocking the loop."""

    async def __call__(self, function: Callable[[str, int], str], /, *args: Any) -> str:  # noqa: ANN401  # the function's
        """Return what the function returns."""
        ...


class OwnTools(Protocol):
    """Runs own code."""

    async def run(self, call: "OwnCall") -> str:
        """Return the result as JSON text; a call that is cancelled has ended."""
        ...


class OutputWriter(Protocol):
    """Where finished texts go."""

    def put(self, instance: str, item: int, text: str, meta: dict[str, Any]) -> None:
        """Store an item's text."""
        ...

    def get(self, instance: str, item: int) -> str:
        """Return an item's text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long an activity may take before it counts as failed [s].

    `tool_s` is for built-in tools; own code has its own limits.
    """

    load_s: float = 300.0
    unload_s: float = 60.0
    call_s: float = 600.0
    tool_s: float = 120.0


class Executor:
    """Runs one activity at a time per call of `run`; many run side by side."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        works: Mapping[str, Work],
        outputs: OutputWriter,
        limits: Limits | None = None,
        *,
        own_tools: OwnTools | None = None,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        self.engines, self.works, self._outputs = engines, works, outputs
        self.limits = limits or Limits()
        #: Faults on purpose; none by default.
        self.injected: Injected | None = None
        self._own_tools, self._in_thread = own_tools or ToolPool(), in_thread
        #: KV states on the devices' disks.
        self.states = States(engines)
        #: Largest resident set each device process reported after a load [B].
        self.rss_bytes: dict[str, int] = {}
        self._finished: Mapping[InstanceId, set[int]] = {}
        self._doubtful: frozenset[tuple[InstanceId, int]] = frozenset()
        self._gone = set[tuple[InstanceId, int]]()

    def recall(
        self,
        told: Iterable[Event | Command],
        finished: Mapping[InstanceId, set[int]],
        doubtful: frozenset[tuple[InstanceId, int]],
    ) -> None:
        """Take in what former processes did, see `drivers.recover.Recovered`."""
        self._finished, self._doubtful = finished, doubtful
        for message in told:
            if isinstance(message, Dropped):
                self._gone.add((message.instance, message.item))
            instance: InstanceId = getattr(message, "instance", "")
            works = [self.work_of(instance)] if instance else self.works.values()
            for work in works:
                work.recall(message)

    def expand(self, command: Expand) -> Event:
        """Render an instance whose parents are done."""
        work = self.work_of(command.instance)
        if command.open:
            work.recall(command)
        event = work.expand(command.instance)
        return without_finished(event, self._finished, self._gone) if self._finished else event

    def reuse(self, command: Reuse) -> None:
        """Store a finished item's text as that of its twin."""
        text = self._outputs.get(command.source, command.source_item)
        source = f"{command.source}[{command.source_item}]"
        self._outputs.put(command.instance, command.item, text, {"twin_of": source})

    def drop(self, command: Dropped) -> None:
        """Store what stands in for an item that was given up, if anything does."""
        text = self.work_of(command.instance).default(command.instance, command.item)
        if text is not None and command.item >= 0:
            reason = {"default_for": command.reason}
            self._outputs.put(command.instance, command.item, text, reason)

    def work_of(self, instance: InstanceId) -> Work:
        """Return the workflow an instance belongs to."""
        return self.works[instance.rpartition("/")[0]]

    async def run(self, command: Activity, emit: Callable[[Event], None]) -> Event:
        """Run an activity to its end; items are emitted as they finish.

        Returns:
            The one outcome: done, failed, cancelled, or the device lost.
        """
        activity = command.activity
        if self.injected is not None:
            self.injected.begins(command)
        try:
            return await self._run(command, emit)
        except asyncio.CancelledError:
            return Cancelled(activity=activity)
        except TimeoutError:
            return self._too_long(command)
        except DeviceLostError as error:
            assert not isinstance(command, RunTool)
            self.states.forget(command.device)
            return DeviceLost(device=command.device, reason=str(error))
        except BusyError as error:
            return Failed(activity=activity, reason=str(error), wait_s=error.wait_s)
        except FateError as error:
            return Failed(activity=activity, reason=str(error), retryable=error.retryable)

    async def _run(self, command: Activity, emit: Callable[[Event], None]) -> Event:
        match command:
            case Load():
                return await self._load(command)
            case Unload():
                return await self._unload(command)
            case Call():
                return await self._call(command, emit)
            case RunTool(activity=activity, chunk=chunk):
                return await self._tool(activity, chunk, emit)
            case Move():
                return await self._move(command)
            case Warm():
                reason = f"{type(command).__name__.lower()}: no engine of this runtime offers it"
                return Failed(activity=command.activity, reason=reason, retryable=False)

    async def _load(self, command: Load) -> Event:
        device, model = command.device, command.model
        async with asyncio.timeout(self.limits.load_s):
            loaded = await self.engines[device].load(model)
            seconds, missing = await self.states.restore(device, model, command.restore)
        seen = max(self.rss_bytes.get(device, 0), loaded.rss_after_bytes)
        self.rss_bytes[device] = seen
        seconds = _seconds(loaded.seconds + seconds)
        return Done(activity=command.activity, seconds=seconds, missing=missing)

    async def _unload(self, command: Unload) -> Event:
        device, model = command.device, command.model
        self.states.discard(device, command.discard)
        async with asyncio.timeout(self.limits.unload_s):
            parking_s, missing = await self.states.park(device, model, command.park)
            seconds = await self.engines[device].unload(model)
        seconds = _seconds(parking_s + seconds)
        return Done(activity=command.activity, seconds=seconds, missing=missing)

    async def _move(self, command: Move) -> Event:
        async with asyncio.timeout(self.limits.call_s):
            seconds, moved = await self.states.move(command)
        return Done(activity=command.activity, seconds=_seconds(seconds), moved_bytes=moved)

    async def _call(self, command: Call, emit: Callable[[Event], None]) -> Event:
        chunk, work = command.chunk, self.work_of(command.chunk.instance)
        engine = self.engines[command.device]
        for item in range(chunk.start, chunk.stop):
            request = work.request(chunk.instance, item, command.sequence)
            async with asyncio.timeout(self.limits.call_s):
                result = await engine.call(request)
            nonsense = nonsense_in(request, result)
            if nonsense is not None:
                reason = nonsense_of(command.device, nonsense)
                return Failed(activity=command.activity, reason=reason)
            problem = work.check(chunk.instance, item, result.text)
            if problem is not None:
                return Failed(activity=command.activity, reason=problem)
            work.learn(request, result)
            meta = {"model": command.model, "device": command.device, "finish": result.finish}
            text = result.text if result.vector is None else json.dumps(result.vector)
            self._store(chunk.instance, item, text, meta)
            emit(_item_done(command.activity, item, result))
        return Done(activity=command.activity)

    async def _tool(self, activity: int, chunk: Chunk, emit: Callable[[Event], None]) -> Event:
        work = self.work_of(chunk.instance)
        for item in range(chunk.start, chunk.stop):
            if (chunk.instance, item) in self._doubtful:
                return Failed(activity=activity, reason=_DOUBTFUL, retryable=False)
            own = work.own_call(chunk.instance, item)
            if own is not None:
                text = await self._own_tools.run(own)
            else:
                async with asyncio.timeout(self.limits.tool_s):
                    text = await self._in_thread(work.run_tool, chunk.instance, item)
            self._store(chunk.instance, item, text, {})
            emit(ItemDone(activity=activity, item=item))
        return Done(activity=activity)

    def _store(self, instance: InstanceId, item: int, text: str, meta: dict[str, Any]) -> None:
        if self.injected is not None:
            self.injected.check_disk()
        self._outputs.put(instance, item, text, meta)

    def _too_long(self, command: Activity) -> Event:
        """Return what a timeout means; after half a load nobody knows what the device holds."""
        limits = self.limits
        match command:
            case Load(device=device):
                return DeviceLost(device=device, reason=f"no end of a load in {limits.load_s:g} s")
            case Unload(device=device):
                reason = f"no end of an unload in {limits.unload_s:g} s"
                return DeviceLost(device=device, reason=reason)
            case _:
                limit_s = limits.tool_s if isinstance(command, RunTool) else limits.call_s
                reason = f"took longer than its limit of {limit_s:g} s"
                return Failed(activity=command.activity, reason=reason)


def _item_done(activity: int, item: int, result: CallResult) -> ItemDone:
    return ItemDone(
        activity=activity,
        item=item,
        prompt_tokens=result.prompt_tokens,
        cached_tokens=result.cached_tokens,
        output_tokens=result.output_tokens,
        prefill_s=_seconds(result.prefill_s),
        decode_s=_seconds(result.decode_s),
    )


def nonsense_of(device: str, what: str) -> str:
    """Return the reason of a call whose answer cannot be true."""
    return f"device {device!r} answered nonsense: {what}"


def nonsense_in(request: CallRequest, result: CallResult) -> str | None:
    """Return what cannot be true of an answer, whatever the model; None if nothing is."""
    asked, counts = request.max_tokens, (result.prompt_tokens, result.cached_tokens)
    if min(*counts, result.output_tokens) < 0:
        return NEGATIVE
    if result.cached_tokens > result.prompt_tokens:
        return f"{result.cached_tokens} tokens cached of a prompt of {result.prompt_tokens}"
    if asked and result.output_tokens > asked:
        return f"{result.output_tokens} tokens where at most {asked} were asked for"
    if request.exact_tokens and asked and not result.text and result.vector is None:
        return f"no text where {asked} tokens were asked for"
    for name, seconds in (("prefill", result.prefill_s), ("decode", result.decode_s)):
        if not 0.0 <= seconds < math.inf:
            return f"a {name} of {seconds} seconds"
    return None


def _seconds(reported: float) -> float:
    """Return what an engine reports, 0 (not known) for what JSON and logarithms cannot hold."""
    return reported if 0.0 <= reported < math.inf else 0.0
