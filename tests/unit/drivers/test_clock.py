"""Virtual time jumps when nothing else can happen, and wakes sleepers in order."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from fate.drivers.clock import VirtualClock, WallClock


def in_virtual_time(
    main: Callable[[VirtualClock, asyncio.Event], Coroutine[None, None, None]],
) -> float:
    """Run a coroutine function on a clock of its own; return the time in the end."""

    async def run() -> float:
        clock, done = VirtualClock(), asyncio.Event()
        task = asyncio.create_task(main(clock, done))
        try:
            await clock.wait(done)
        finally:
            task.cancel()
        return clock.now_s()

    return asyncio.run(run())


def test_sleeping_takes_virtual_time_only() -> None:
    """A day passes at once."""

    async def main(clock: VirtualClock, done: asyncio.Event) -> None:
        await clock.sleep(86_400.0)
        done.set()

    assert in_virtual_time(main) == 86_400.0


def test_sleepers_wake_by_time_then_by_order() -> None:
    """Of those due at one instant, who lay down first gets up first."""
    woken: list[str] = []

    async def sleeper(clock: VirtualClock, name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(f"{name} at {clock.now_s():g}")

    async def main(clock: VirtualClock, done: asyncio.Event) -> None:
        plan = [("a", 2.0), ("b", 1.0), ("c", 2.0), ("d", 0.0), ("e", -1.0)]
        await asyncio.gather(*[sleeper(clock, name, seconds) for name, seconds in plan])
        done.set()

    in_virtual_time(main)
    assert woken == ["d at 0", "e at 0", "b at 1", "a at 2", "c at 2"]


def test_alarms_ring_at_their_exact_time() -> None:
    """Not at now + (then - now), which is another number."""
    then = 0.7 + 1e-9

    async def main(clock: VirtualClock, done: asyncio.Event) -> None:
        await clock.sleep(0.1)
        await clock.sleep_until(then)
        assert clock.now_s() == then
        await clock.sleep_until(0.2)
        done.set()

    assert in_virtual_time(main) == then


def test_those_who_gave_up_sleeping_do_not_hold_time_up() -> None:
    """A cancelled sleeper is passed over."""

    async def main(clock: VirtualClock, done: asyncio.Event) -> None:
        task = asyncio.create_task(clock.sleep(1.0))
        await asyncio.sleep(0)
        task.cancel()
        await clock.sleep(2.0)
        done.set()

    assert in_virtual_time(main) == 2.0


def test_waiting_for_what_nobody_will_do_is_a_bug() -> None:
    """It is reported, instead of a test that hangs."""

    async def main(clock: VirtualClock, done: asyncio.Event) -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing sleeps"):
        in_virtual_time(main)


def test_wall_time_does_not_go_back() -> None:
    """It starts near zero; what is past needs no waiting for."""

    async def main() -> None:
        clock, event = WallClock(), asyncio.Event()
        before = clock.now_s()
        await clock.sleep(0.0)
        await clock.sleep_until(-5.0)
        event.set()
        await clock.wait(event)
        assert 0.0 <= before <= clock.now_s()

    asyncio.run(main())
