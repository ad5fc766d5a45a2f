"""Looks after devices while a run lasts: notices those that hang, brings lost ones back."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from fate.domain.errors import FateError
from fate.domain.messages import DeviceLost, DeviceReady, Event
from fate.drivers.clock import Clock
from fate.engines.base import Engine

#: A device with work is asked whether it is well at every multiple of this [s].
PULSE_S = 2.0
#: Answers missing in a row that mean a hang; servers of others are given more time.
MISSES, MISSES_SERVED = 2, 4
#: An engine that has not said by then how it is has not answered [s].
ANSWER_S = 5.0
#: A lost device is restarted this often before nobody waits for it any more.
RESTARTS = 3
#: Pauses before a restart: none, then this long, doubled each time, up to the second [s].
RESTART_PAUSE_S, RESTART_PAUSE_MAX_S = 0.2, 30.0
#: How long what was running on a hung device gets to end before the device is restarted [s].
ORPHANS_S = 1.0


@dataclass(slots=True)
class Keeper:
    """Keeps the devices of one run.

    `post` hands events to the run; `lost` has the devices that are not there.
    """

    engines: Mapping[str, Engine]
    clock: Clock
    post: Callable[[Event], None]
    restart_limit_s: float
    lost: set[str] = field(default_factory=set[str])
    _missed: dict[str, int] = field(default_factory=dict[str, int])

    async def feel_pulses(
        self, busy: Callable[[], Sequence[str]], hung: Callable[[DeviceLost], None]
    ) -> None:
        """Ask devices with work how they are, for ever; `hung` is told of those that hang.

        A device without work is left in peace, unless it missed an answer before.
        """
        for beat in count(int(self.clock.now_s() / PULSE_S) + 1):
            await self.clock.sleep_until(beat * PULSE_S)
            names = [name for name in self.engines if name not in self.lost]
            asked = [name for name in names if name in self._missed or name in busy()]
            for name, well in zip(asked, await self._answers(asked), strict=True):
                if well or name in self.lost:
                    self._missed.pop(name, None)
                elif self._missed.get(name, 0) + 1 >= self._allowed(name):
                    self._missed.pop(name, None)
                    hung(DeviceLost(device=name, reason=hang(name)))
                else:
                    self._missed[name] = self._missed.get(name, 0) + 1

    async def bring_back(self, device: str, orphans: Sequence[asyncio.Task[Any]]) -> None:
        """Restart a lost device until it is there, with growing pauses.

        After a few attempts the run is told not to wait for it; it is welcome when it comes.
        """
        if orphans:
            await asyncio.wait(orphans, timeout=ORPHANS_S)
        engine = self.engines[device]
        for attempt in count(1):
            try:
                async with asyncio.timeout(self.restart_limit_s):
                    await engine.restart()
            except (FateError, TimeoutError) as error:
                reason = str(error) or "restarting takes too long"
            else:
                self.lost.discard(device)
                self.post(DeviceReady(device=device))
                return
            if attempt == RESTARTS:
                self.post(DeviceLost(device=device, reason=reason, final=True))
            pause_s = RESTART_PAUSE_S * 2 ** min(attempt - 1, 16)
            await self.clock.sleep(min(pause_s, RESTART_PAUSE_MAX_S))

    def _allowed(self, device: str) -> int:
        return MISSES if self.engines[device].capabilities.can_load else MISSES_SERVED

    async def _answers(self, devices: Sequence[str]) -> list[bool]:
        return list(await asyncio.gather(*[_well(self.engines[name]) for name in devices]))


def hang(device: str) -> str:
    """Return the reason why a device that hangs is lost."""
    return f"device {device!r} hangs: it does not answer its health checks"


async def _well(engine: Engine) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await engine.healthy()
    except (FateError, TimeoutError):
        return False
