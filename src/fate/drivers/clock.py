"""Where time comes from: the wall, or a virtual clock that jumps when nothing else can happen."""

import asyncio
import time
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

#: Turns of the event loop after which tasks that only wait for each other have settled.
_SETTLE_TURNS = 64


class Clock(Protocol):
    """Seconds since the run began, and ways to wait."""

    def now_s(self) -> float:
        """Return the time [s]."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def sleep_until(self, at_s: float) -> None:
        """Wait until a time that may be past already."""
        ...

    async def wait(self, event: asyncio.Event) -> None:
        """Wait until the event is set and everything that happens at that instant has happened."""
        ...


class WallClock:
    """Real time, from a monotonic clock that begins at `from_s` [s]."""

    def __init__(self, from_s: float = 0.0) -> None:
        self._start_s = time.perf_counter() - from_s

    def now_s(self) -> float:
        """Return `from_s` and the seconds since this clock was made."""
        return time.perf_counter() - self._start_s

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, at_s: float) -> None:
        """Wait in real time until a time."""
        await asyncio.sleep(max(at_s - self.now_s(), 0.0))

    async def wait(self, event: asyncio.Event) -> None:
        """Wait until the event is set."""
        await event.wait()


class VirtualClock:
    """Virtual time for one event loop: `wait` jumps to the next sleeper once nothing else runs.

    Sleepers due at the same instant wake in the order in which they went to sleep.
    """

    def __init__(self, from_s: float = 0.0) -> None:
        self._now_s = from_s
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_s(self) -> float:
        """Return the virtual time."""
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await self.sleep_until(self._now_s + seconds)

    async def sleep_until(self, at_s: float) -> None:
        """Wait until a virtual time; what is due already goes on at this very instant."""
        if at_s <= self._now_s:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (at_s, next(self._order), future))
        await future

    async def wait(self, event: asyncio.Event) -> None:
        """Let everything settle; while the event is not set, jump to the next sleeper."""
        while True:
            for _ in range(_SETTLE_TURNS):
                await asyncio.sleep(0)
            if event.is_set():
                return
            if not self._sleepers:
                raise RuntimeError("virtual time cannot go on: nothing sleeps and nothing happened")
            self._now_s = self._sleepers[0][0]
            while self._sleepers and self._sleepers[0][0] == self._now_s:
                future = heappop(self._sleepers)[2]
                if not future.done():
                    future.set_result(None)
