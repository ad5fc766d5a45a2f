"""The fake does what tests tell it to."""

import asyncio

import pytest
from tests.devices import device, request

from fate.domain.catalog import Model
from fate.drivers.clock import VirtualClock
from fate.engines.base import DeviceLostError, EngineError
from fate.engines.fake import FakeEngine, FakeWork

MODEL = Model(id="m", weight_bytes=1)
SECONDS = {"load": 5.0, "unload": 1.0, "prefill": 0.5, "decode": 0.25}


def costs(work: FakeWork) -> float:
    """Charge loads as they are and tokens one by one."""
    return SECONDS[work.kind] * (work.tokens or 1)


def test_time_passes_on_the_given_clock() -> None:
    """Durations are those of the callable, and the clock shows them."""

    async def body() -> None:
        clock, done = VirtualClock(), asyncio.Event()
        engine = FakeEngine(device(), (MODEL,), clock=clock, seconds=costs)
        await engine.open()

        async def work() -> None:
            assert (await engine.load("m")).seconds == 5.0
            first = await engine.call(request("m", "12345678", max_tokens=2, sequence=0))
            assert (first.prefill_s, first.decode_s) == (1.0, 0.5)
            again = await engine.call(request("m", "12345678", "more", max_tokens=2, sequence=0))
            assert (again.cached_tokens, again.prefill_s) == (2, 0.5)
            assert await engine.unload("m") == 1.0
            done.set()

        task = asyncio.create_task(work())
        await clock.wait(done)
        await task
        assert clock.now_s() == 5.0 + 1.5 + 1.0 + 1.0

    asyncio.run(body())


def test_failing_and_lying_are_for_once() -> None:
    """The next operation fails or reports nonsense; the one after does not."""

    async def body() -> None:
        engine = FakeEngine(device(), (MODEL,))
        await engine.open()
        engine.fail_next(EngineError("as told"))
        with pytest.raises(EngineError, match="as told"):
            await engine.load("m")
        await engine.load("m")
        engine.lie_next(prompt_tokens=-1)
        assert (await engine.call(request("m", "x"))).prompt_tokens == -1
        assert (await engine.call(request("m", "x"))).prompt_tokens == 1

    asyncio.run(body())


def test_losing_the_device_ends_what_is_under_way() -> None:
    """In flight and afterwards: lost, until it is restarted empty."""

    async def body() -> None:
        engine = FakeEngine(device(), (MODEL,), clock=VirtualClock(), seconds=costs)
        await engine.open()
        load = asyncio.ensure_future(engine.load("m"))
        await asyncio.sleep(0)
        engine.lose()
        with pytest.raises(DeviceLostError):
            await load
        with pytest.raises(DeviceLostError):
            await engine.load("m")
        await engine.restart()
        with pytest.raises(EngineError, match="not loaded"):
            await engine.call(request("m", "x"))

    asyncio.run(body())


def test_answers_come_from_the_callable() -> None:
    """Tests decide what is said; otherwise the prompt alone does."""

    async def body() -> None:
        told = FakeEngine(device(), (MODEL,), answer=lambda r: f"{len(r.parts)} parts")
        await told.open()
        await told.load("m")
        result = await told.call(request("m", "x", "y"))
        assert (result.text, result.output_tokens) == ("2 parts", 2)

    asyncio.run(body())
