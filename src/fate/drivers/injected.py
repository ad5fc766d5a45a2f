"""Faults on purpose in the runtime: faulty engines around real ones, and a disk that is full."""

from collections.abc import Mapping, Sequence
from typing import Self

from fate.domain.faults import DISK_FULL, Fault, Schedule
from fate.domain.messages import Activity, RunTool
from fate.drivers.clock import Clock
from fate.engines.base import Engine, EngineError
from fate.engines.faulty import FaultyEngine


class Injector:
    """One run's faults, while its context lasts: `engines` are to be used instead of those given.

    Args:
        engines: the engines of the run, open.
        faults: what goes wrong with them.
        clock: the run's clock.
    """

    def __init__(
        self, engines: Mapping[str, Engine], faults: Sequence[Fault], clock: Clock
    ) -> None:
        self._schedule, self._clock = Schedule(faults), clock
        self._faulty = {
            device: FaultyEngine(engine, device, self._schedule, clock)
            for device, engine in engines.items()
            if faults
        }
        self.engines: dict[str, Engine] = {**engines, **self._faulty}

    async def __aenter__(self) -> Self:
        """Let the faults that have a time happen then."""
        for engine in self._faulty.values():
            engine.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let nothing more happen; what stands still goes on."""
        for engine in self._faulty.values():
            await engine.rest()

    def begins(self, command: Activity) -> None:
        """Count an activity, and let the faults happen that it sets off."""
        if isinstance(command, RunTool) or not self._faulty:
            return
        kind = type(command).__name__.lower()
        for window in self._schedule.begins(command.device, kind, self._clock.now_s()):
            self._faulty[command.device].strike(window)

    def check_disk(self) -> None:
        """Raise when outputs cannot be stored.

        Raises:
            EngineError: a `disk_full` holds.
        """
        if self._schedule.holds("disk_full", "", self._clock.now_s()):
            raise EngineError(DISK_FULL)
