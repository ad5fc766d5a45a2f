"""Hung devices are noticed, lost ones come back: in virtual time, on engines that do as told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from tests.graphs import cluster

from fate.domain.messages import DeviceLost, DeviceReady, Event
from fate.drivers.clock import VirtualClock
from fate.drivers.keeper import Keeper
from fate.engines.base import Engine, EngineError
from fate.engines.fake import FakeEngine


class Told(FakeEngine):
    """An engine that is well, and restarts, as often as it is told."""

    def __init__(self, answers: list[bool], refusals: int = 0) -> None:
        on = cluster()
        super().__init__(on.devices[0], on.models)
        self.answers, self.refusals = answers, refusals
        self.asked = self.restarts = 0

    async def healthy(self) -> bool:
        """Answer as told, then well."""
        self.asked += 1
        return self.answers.pop(0) if self.answers else True

    async def restart(self) -> None:
        """Refuse as often as told."""
        self.restarts += 1
        if self.restarts <= self.refusals:
            raise EngineError("no")


@dataclass
class Ward:
    """One keeper with one device, and what it says when."""

    engine: Told
    busy: list[str] = field(default_factory=lambda: ["d0"])
    clock: VirtualClock = field(default_factory=VirtualClock)
    said: list[tuple[float, Event]] = field(default_factory=list[tuple[float, Event]])

    def run(self, job: Callable[["Ward", Keeper], Awaitable[None]], until_s: float) -> None:
        """Run a job in virtual time."""

        async def body() -> None:
            keeper = Keeper({"d0": cast("Engine", self.engine)}, self.clock, self.say, 300.0)
            task = asyncio.ensure_future(job(self, keeper))
            alarm = asyncio.Event()

            async def ring() -> None:
                await self.clock.sleep_until(until_s)
                alarm.set()

            ringing = asyncio.create_task(ring())
            await self.clock.wait(alarm)
            task.cancel()
            await asyncio.gather(task, ringing, return_exceptions=True)

        asyncio.run(body())

    def say(self, event: Event) -> None:
        """Note an event with its time."""
        self.said.append((self.clock.now_s(), event))


async def pulses(ward: Ward, keeper: Keeper) -> None:
    """Feel pulses, for ever."""
    await keeper.feel_pulses(lambda: ward.busy, ward.say)


async def bring_back(_: Ward, keeper: Keeper) -> None:
    """The device is lost."""
    keeper.lost.add("d0")
    await keeper.bring_back("d0", [])


def test_two_answers_missing_in_a_row_are_a_hang() -> None:
    """At the second multiple of two seconds; the reason says what it is."""
    ward = Ward(Told([True, False, False]))
    ward.run(pulses, 7.0)
    ((at_s, event),) = ward.said
    assert at_s == 6.0
    assert isinstance(event, DeviceLost)
    assert event.device == "d0"
    assert "hangs" in event.reason
    assert not event.final


def test_one_answer_missing_is_none() -> None:
    """The next one makes good for it."""
    ward = Ward(Told([False, True, False, True, False]))
    ward.run(pulses, 11.0)
    assert ward.said == []
    assert ward.engine.asked == 5


def test_an_idle_device_is_left_in_peace_unless_it_is_suspect() -> None:
    """Health checks cost something."""
    ward = Ward(Told([False]), busy=[])
    ward.run(pulses, 11.0)
    assert ward.engine.asked == 0
    ward = Ward(Told([False, False]))

    async def then_idle(ward: Ward, keeper: Keeper) -> None:
        await keeper.feel_pulses(lambda: ward.busy if ward.engine.asked == 0 else [], ward.say)

    ward.run(then_idle, 11.0)
    assert [at_s for at_s, _ in ward.said] == [4.0]
    assert ward.engine.asked == 2


def test_a_lost_device_is_not_asked() -> None:
    """It cannot hang."""
    ward = Ward(Told([False, False]))

    async def lost(ward: Ward, keeper: Keeper) -> None:
        keeper.lost.add("d0")
        await pulses(ward, keeper)

    ward.run(lost, 11.0)
    assert ward.engine.asked == 0


def test_a_lost_device_comes_back_with_the_first_restart_that_works() -> None:
    """Pauses double: .2 s, .4 s."""
    ward = Ward(Told([], refusals=2))
    ward.run(bring_back, 100.0)
    assert ward.said == [(0.2 + 0.4, DeviceReady(device="d0"))]


def test_nobody_waits_for_a_device_for_ever_but_it_is_welcome() -> None:
    """After three attempts it is given up, and tried at most every half minute from then on."""
    ward = Ward(Told([], refusals=12))
    ward.run(bring_back, 400.0)
    (first_s, lost), (last_s, ready) = ward.said
    assert lost == DeviceLost(device="d0", reason="no", final=True)
    assert first_s < 1.0
    assert ready == DeviceReady(device="d0")
    assert ward.engine.restarts == 13
    assert 100.0 < last_s < 220.0
