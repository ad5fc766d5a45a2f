"""Hung devices on the real engine: noticed in seconds, killed, replaced; busy is not hung."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest
from tests.devices import SLOW, opened, request, slots, until, words
from tests.devices import written as make

from fate.domain.catalog import Model
from fate.domain.messages import DeviceLost, DeviceReady, Event
from fate.drivers.clock import WallClock
from fate.drivers.keeper import Keeper
from fate.engines import llamacpp
from fate.engines.llamacpp import LlamaCppEngine

SECONDS_TO_NOTICE = 12.0


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model that takes a few tenths of a second to load and a second to prefill."""
    return make(tmp_path_factory.mktemp("weights"), "slow", SLOW)


class Watched:
    """A keeper over one engine, and what it said."""

    def __init__(self, engine: LlamaCppEngine) -> None:
        self.said: list[Event] = []
        self.lost = asyncio.Event()
        self.keeper = Keeper({"d0": engine}, WallClock(), self.said.append, 30.0)
        self.task = asyncio.create_task(self.keeper.feel_pulses(lambda: ["d0"], self._hung))

    def _hung(self, event: DeviceLost) -> None:
        self.keeper.lost.add(event.device)
        self.said.append(event)
        self.lost.set()

    async def end(self) -> None:
        """Stop asking."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def test_a_stopped_process_is_noticed_killed_and_replaced(slow: tuple[Model, Path]) -> None:
    """In the middle of a call; the call ends with the process, the new one works."""

    async def body() -> None:
        async with asyncio.timeout(60.0), opened([slow]) as engine:
            await engine.load("slow")
            call = asyncio.create_task(
                engine.call(request("slow", words(200), max_tokens=1500, exact_tokens=True))
            )
            watched = Watched(engine)
            await asyncio.sleep(0.5)
            old = engine.pid
            os.kill(old, signal.SIGSTOP)
            async with asyncio.timeout(SECONDS_TO_NOTICE):
                await watched.lost.wait()
            call.cancel()
            await watched.keeper.bring_back("d0", [call])
            assert isinstance(watched.said[-1], DeviceReady)
            assert engine.pid != old
            assert not psutil.pid_exists(old)
            await engine.load("slow")
            assert (await engine.call(request("slow", words(20)))).output_tokens == 8
            with contextlib.suppress(BaseException):
                await call
            await watched.end()

    asyncio.run(body())


def test_a_process_that_goes_on_in_time_is_no_hang(slow: tuple[Model, Path]) -> None:
    """Half a second of standing still is an accident."""

    async def body() -> None:
        async with asyncio.timeout(60.0), opened([slow]) as engine:
            watched = Watched(engine)
            os.kill(engine.pid, signal.SIGSTOP)
            await asyncio.sleep(2.5)
            os.kill(engine.pid, signal.SIGCONT)
            await asyncio.sleep(3.0)
            await watched.end()
            assert watched.said == []

    asyncio.run(body())


def test_loads_and_long_prefills_are_no_hangs(slow: tuple[Model, Path]) -> None:
    """The control channel answers meanwhile, ten times a second."""

    async def body() -> None:
        async with asyncio.timeout(60.0), opened([slow]) as engine:
            work = asyncio.create_task(engine.load("slow"))
            answers = 0
            while not work.done():
                assert await engine.healthy()
                answers += 1
                await asyncio.sleep(0.02)
            work2 = asyncio.create_task(engine.call(request("slow", words(1500), max_tokens=4)))
            while not work2.done():
                assert await engine.healthy()
                answers += 1
                await asyncio.sleep(0.1)
            assert answers > 5

    asyncio.run(body())


def test_a_process_with_too_much_to_do_is_no_hang(
    slow: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not answer in time but computes; only one that is silent for long hangs."""
    monkeypatch.setattr(llamacpp, "HEALTH_TIMEOUT_S", 1.0)

    async def silent() -> None:
        await asyncio.Event().wait()

    async def body() -> None:
        async with asyncio.timeout(60.0), opened([slow]) as engine:
            await engine.load("slow")
            call = asyncio.create_task(
                engine.call(request("slow", words(200), max_tokens=1500, exact_tokens=True))
            )
            await until(lambda: at_work(engine))
            monkeypatch.setattr(engine, "ping", silent)
            assert await engine.healthy()
            monkeypatch.setattr(llamacpp, "SILENCE_S", 0.5)
            assert not await engine.healthy()
            monkeypatch.undo()
            assert await engine.healthy()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    async def at_work(engine: LlamaCppEngine) -> bool:
        return any(slot["is_processing"] for slot in await slots(engine, "slow"))

    asyncio.run(body())


def test_health_checks_cost_next_to_nothing(slow: tuple[Model, Path]) -> None:
    """One every two seconds, at under two milliseconds of both processes together: .1 %."""

    async def body() -> float:
        async with asyncio.timeout(60.0), opened([slow]) as engine:
            child, own = psutil.Process(engine.pid), psutil.Process()
            before = sum(sum(p.cpu_times()[:2]) for p in (child, own))
            for _ in range(200):
                assert await engine.healthy()
            return (sum(sum(p.cpu_times()[:2]) for p in (child, own)) - before) / 200

    assert asyncio.run(body()) < 0.002
