"""Faults on purpose in the runtime, on a clock that does not stand still."""

import asyncio
from itertools import count

import pytest
from tests.graphs import cluster

from fate.domain.faults import Fault
from fate.domain.graph import Chunk
from fate.domain.messages import Call, Load
from fate.drivers.clock import WallClock
from fate.drivers.injected import Injector
from fate.engines.base import CallRequest, EngineError, PromptPart
from fate.engines.fake import FakeEngine


class Ticking(WallClock):
    """Every look at it is a second later, as on a busy machine."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = count()

    def now_s(self) -> float:
        """Return the number of looks so far."""
        return float(next(self._looks))


def load(activity: int) -> Load:
    """Return a load on d0."""
    return Load(activity=activity, device="d0", model="m0")


def test_the_load_that_sets_a_refusal_off_is_refused_and_the_next_is_not() -> None:
    """However long it takes from the command to the engine."""

    async def check() -> None:
        on = cluster(devices=1)
        engine = FakeEngine(on.devices[0], on.models)
        fault = Fault(kind="refuse_load", device="d0", activity="load", count=1)
        await engine.open()
        async with Injector({"d0": engine}, (fault,), Ticking()) as injector:
            injector.begins(load(1))
            with pytest.raises(EngineError, match="says the fault plan"):
                await injector.engines["d0"].load(on.models[0].id)
            injector.begins(load(2))
            await injector.engines["d0"].load(on.models[0].id)

    asyncio.run(check())


def test_the_call_that_sets_a_corruption_off_is_answered_with_nonsense() -> None:
    """And only that one."""

    async def check() -> list[int]:
        on = cluster(devices=1)
        engine = FakeEngine(on.devices[0], on.models)
        fault = Fault(kind="corrupt", device="d0", activity="call", count=2)
        tokens: list[int] = []
        await engine.open()
        async with Injector({"d0": engine}, (fault,), Ticking()) as injector:
            await injector.engines["d0"].load(on.models[0].id)
            for number in range(3):
                chunk = Chunk("w/a", number, number + 1)
                injector.begins(
                    Call(activity=number, device="d0", model="m0", chunk=chunk, sequence=0)
                )
                request = CallRequest(
                    model=on.models[0].id,
                    parts=(PromptPart(key="p", text="a word"),),
                    max_tokens=4,
                    sequence=0,
                )
                tokens.append((await injector.engines["d0"].call(request)).output_tokens)
        return tokens

    assert [each < 0 for each in asyncio.run(check())] == [False, True, False]
