"""Any engine, with faults on purpose: kills, stops and slows it, and lies, as a plan says.

Where the engine is a process of this machine the faults are real: SIGKILL, SIGSTOP and SIGCONT, and
for slowness both by turns. Elsewhere they are modelled: calls are lost, or take longer.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from fate.domain.faults import Schedule, Window, loss, refusal, times_longer
from fate.engines.base import (
    CallRequest,
    CallResult,
    Capabilities,
    DeviceLostError,
    Engine,
    EngineError,
    EngineInfo,
    LoadResult,
    PromptPart,
    SavedState,
)

T = TypeVar("T")
#: A slowed process runs and stands still by turns of together this long [s].
TURN_S = 0.1


class Time(Protocol):
    """What faults need of a clock: the run's."""

    def now_s(self) -> float:
        """Return the time [s]."""
        ...

    async def sleep_until(self, at_s: float) -> None:
        """Wait until a time."""
        ...


class FaultyEngine:
    """An engine with faults; `begin` starts those that have a time."""

    def __init__(self, engine: Engine, device: str, schedule: Schedule, clock: Time) -> None:
        self.inner, self._device, self._schedule, self._clock = engine, device, schedule, clock
        self._lost = False
        self._back_s = 0.0
        self._working: set[asyncio.Future[Any]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the engine offers
        return getattr(self.inner, name)

    @property
    def info(self) -> EngineInfo:
        """The engine's own."""
        return self.inner.info

    @property
    def capabilities(self) -> Capabilities:
        """The engine's own."""
        return self.inner.capabilities

    def begin(self) -> None:
        """Let the faults that have a time happen then."""
        for window in self._schedule.windows.get(self._device, ()):
            self.strike(window)

    def strike(self, window: Window) -> None:
        """Let a fault happen at its time."""
        if window.kind in ("kill", "stop", "slow"):
            task = asyncio.create_task(self._strike(window))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def open(self) -> None:
        """Open the engine."""
        await self.inner.open()

    async def load(self, model: str) -> LoadResult:
        """Load, unless loads are refused."""
        if self._schedule.meets("refuse_load", self._device, self._clock.now_s()):
            raise EngineError(refusal(self._device))
        result, times = await self._at_work(lambda: self.inner.load(model))
        return replace(result, seconds=result.seconds * times)

    async def unload(self, model: str) -> float:
        """Unload."""
        seconds, times = await self._at_work(lambda: self.inner.unload(model))
        return seconds * times

    async def warm(self, model: str, parts: tuple[PromptPart, ...], sequence: int) -> CallResult:
        """Warm."""
        result, _ = await self._at_work(lambda: self.inner.warm(model, parts, sequence))
        return result

    async def call(self, request: CallRequest) -> CallResult:
        """Answer, or lie."""
        lies = self._schedule.meets("corrupt", self._device, self._clock.now_s())
        result, times = await self._at_work(lambda: self.inner.call(request))
        result = replace(
            result, prefill_s=result.prefill_s * times, decode_s=result.decode_s * times
        )
        return replace(result, text=result.text[::-1], output_tokens=-1) if lies else result

    async def save(self, model: str, sequence: int) -> SavedState:
        """Save a state."""
        state, _ = await self._at_work(lambda: self.inner.save(model, sequence))
        return state

    async def restore(self, model: str, sequence: int, state: SavedState) -> float:
        """Restore a state."""
        seconds, times = await self._at_work(lambda: self.inner.restore(model, sequence, state))
        return seconds * times

    def landing(self, state: SavedState) -> SavedState:
        """The engine's own."""
        return self.inner.landing(state)

    async def healthy(self) -> bool:
        """Whether the device answers."""
        if self._lost:
            return False
        if self._pid is None and self._schedule.holds("stop", self._device, self._clock.now_s()):
            return False
        return await self.inner.healthy()

    async def restart(self) -> None:
        """Bring the device back, when the plan allows it; a fresh process does not stand still."""
        await self._clock.sleep_until(self._back_s)
        await self.inner.restart()
        self._schedule.ends("stop", self._device, self._clock.now_s())
        self._lost = False

    async def close(self) -> None:
        """End the faults, and the engine."""
        await self.rest()
        await self.inner.close()

    async def rest(self) -> None:
        """End the faults; a process that stands still goes on."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._signal(signal.SIGCONT)

    @property
    def _pid(self) -> int | None:
        """The device's process, where it is one of this machine."""
        try:
            return getattr(self.inner, "pid", None)
        except EngineError:
            return None

    async def _strike(self, window: Window) -> None:
        await self._clock.sleep_until(window.begin_s)
        if window.kind == "kill":
            self._back_s = window.until_s
            self._lose()
        elif self._pid is not None and self._clock.now_s() < window.until_s:
            await self._hold_back(window)

    def _lose(self) -> None:
        if self._pid is not None:
            self._signal(signal.SIGKILL)
            return
        self._lost = True
        for work in tuple(self._working):
            work.cancel()

    async def _hold_back(self, window: Window) -> None:
        """Stop a process for a while, or for most of every turn."""
        pid = self._pid
        share = 1.0 / window.factor
        try:
            while self._clock.now_s() < window.until_s and self._pid == pid:
                self._signal(signal.SIGSTOP)
                still_s = self._clock.now_s() + TURN_S * (1.0 - share)
                await self._clock.sleep_until(min(still_s, window.until_s))
                if share > 0.0 and self._pid == pid:
                    self._signal(signal.SIGCONT)
                    await self._clock.sleep_until(self._clock.now_s() + TURN_S * share)
        finally:
            if self._pid == pid:
                self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid = self._pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _at_work(self, work: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """Run an operation; return its result and how many times as long as it should it took."""
        if self._lost:
            raise DeviceLostError(loss(self._device))
        if self._pid is not None:
            return await work(), 1.0
        task = asyncio.ensure_future(self._stretched(work))
        self._working.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._lost:
                raise DeviceLostError(loss(self._device)) from None
            raise
        finally:
            self._working.discard(task)

    async def _stretched(self, work: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        begin_s = self._clock.now_s()
        result = await work()
        end_s = self._clock.now_s()
        late_s = self._schedule.stretched(self._device, begin_s, end_s)
        if late_s == end_s:
            return result, 1.0
        if late_s == float("inf"):
            await asyncio.Event().wait()  # until it is cancelled
        await self._clock.sleep_until(late_s)
        return result, times_longer(begin_s, end_s, late_s)
