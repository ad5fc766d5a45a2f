"""KV states outside the engines: what is parked on each device's disk, saved and brought back."""

from collections.abc import Iterable, Mapping

from fate.domain.catalog import Parked
from fate.engines.base import DeviceLostError, Engine, EngineError, SavedState


class States:
    """Keeps the states that unloads saved until loads bring them back.

    A state that cannot be saved or restored is told as missing, and the run goes on without it.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
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
