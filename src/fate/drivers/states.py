"""KV states outside the engines: what is parked on each device's disk, and what moves."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from fate.domain.catalog import Parked
from fate.domain.messages import Move
from fate.engines.base import DeviceLostError, Engine, EngineError, SavedState

#: A link is imitated block by block: about this much of its time each, within bounds [s, B].
_BLOCK_S, _LEAST_BLOCK, _LARGEST_BLOCK = 0.01, 1 << 16, 1 << 20


class States:
    """Keeps the states that unloads saved until loads bring them back.

    A state that cannot be saved or restored is told as missing, and the run goes on without it.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        #: What a link's time is spent on.
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._parked: dict[tuple[str, str, int], SavedState] = {}

    async def park(
        self, device: str, model: str, sequences: Iterable[int]
    ) -> tuple[float, tuple[int, ...]]:
        """Save sequences of a model that is about to go; return (seconds, those not saved)."""
        seconds, missing = 0.0, list[int]()
        for sequence in sequences:
            try:
                state = await self._engines[device].save(model, sequence)
            except DeviceLostError:
                raise
            except EngineError:
                missing.append(sequence)
            else:
                self._put(device, model, sequence, state)
                seconds += state.seconds
        return seconds, tuple(missing)

    async def restore(
        self, device: str, model: str, sequences: Iterable[int]
    ) -> tuple[float, tuple[int, ...]]:
        """Bring parked sequences back into a model just loaded, and take them off the disk.

        Returns:
            Seconds, and the sequences that stay empty.
        """
        seconds, missing = 0.0, list[int]()
        for sequence in sequences:
            state = self._parked.pop((device, model, sequence), None)
            if state is None:
                missing.append(sequence)
                continue
            try:
                seconds += await self._engines[device].restore(model, sequence, state)
            except DeviceLostError:
                raise
            except EngineError:
                missing.append(sequence)
            finally:
                state.discard()
        return seconds, tuple(missing)

    async def move(self, command: Move) -> tuple[float, int]:
        """Bring a state from another device, at the speed of the link between them.

        Or from another sequence of the same device: then nothing is carried.

        Returns:
            Seconds, and the bytes carried.

        Raises:
            EngineError: it cannot be saved, carried or restored. A loss of the source is told so.
        """
        if command.source == command.device:
            return await self._copy(command), 0
        source, target = self._engines[command.source], self._engines[command.device]
        parked = self._parked.get((command.source, command.model, command.source_sequence))
        try:
            state = parked or await source.save(command.model, command.source_sequence)
        except DeviceLostError as error:
            raise EngineError(f"the source of a KV state is lost: {error}") from error
        landing = target.landing(state)
        try:
            link_s = await _carried(state, landing, command, self.sleep)
            restore_s = await target.restore(command.model, command.sequence, landing)
        except OSError as error:
            raise EngineError(f"a KV state cannot be copied: {error}") from error
        finally:
            if parked is None:
                state.discard()
            if landing.path != state.path:
                landing.discard()
        save_s = 0.0 if parked else state.seconds
        return save_s + link_s + restore_s, state.size_bytes

    async def _copy(self, command: Move) -> float:
        """Copy what a sequence holds into another one of its device; return the seconds."""
        engine = self._engines[command.device]
        state = await engine.save(command.model, command.source_sequence)
        try:
            restore_s = await engine.restore(command.model, command.sequence, state)
        finally:
            state.discard()
        return state.seconds + restore_s

    def discard(self, device: str, parked: Iterable[Parked]) -> None:
        """Take states off a device's disk."""
        for one in parked:
            state = self._parked.pop((device, one.model, one.sequence), None)
            if state is not None:
                state.discard()

    def forget(self, device: str) -> None:
        """A device is gone, and its states with it."""
        for key in [key for key in self._parked if key[0] == device]:
            self._parked.pop(key).discard()

    def clear(self) -> None:
        """The run is over: nobody comes back for a state."""
        for state in self._parked.values():
            state.discard()
        self._parked.clear()

    def _put(self, device: str, model: str, sequence: int, state: SavedState) -> None:
        """Keep a state; one that an unload saved before it failed gives way."""
        self.discard(device, [Parked(model, sequence)])
        self._parked[device, model, sequence] = state


async def _carried(
    state: SavedState, landing: SavedState, command: Move, sleep: Callable[[float], Awaitable[None]]
) -> float:
    """Copy a state no quicker than its link would; return the seconds it took."""
    if state.path is None or landing.path is None:
        link_s = command.latency_s + state.size_bytes / command.bytes_per_s
        await sleep(link_s)
        return link_s
    loop = asyncio.get_running_loop()
    began_s, sent = loop.time(), 0
    block = min(max(int(command.bytes_per_s * _BLOCK_S), _LEAST_BLOCK), _LARGEST_BLOCK)
    while copied := await asyncio.to_thread(_copy_block, state.path, landing.path, sent, block):
        sent += copied
        due_s = began_s + command.latency_s + sent / command.bytes_per_s
        await sleep(max(due_s - loop.time(), 0.0))
    return loop.time() - began_s


def _copy_block(source: Path, target: Path, offset: int, count: int) -> int:
    """Copy one block of a file, private to this user; return its bytes, 0 at the end."""
    reading = os.open(source, os.O_RDONLY)
    try:
        block = os.pread(reading, count, offset)
    finally:
        os.close(reading)
    writing = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(writing, block, offset)
    finally:
        os.close(writing)
    return len(block)
