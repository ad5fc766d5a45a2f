"""Items that wait out a pause before their next attempt."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from fate.domain.graph import Chunk

#: Doubling stops here: a pause grows to at most this many times the first one.
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Delayed:
    """A chunk that may run again at `due_s`; `avoid` holds devices that failed it."""

    due_s: float
    chunk: Chunk
    avoid: frozenset[int]


class Delays:
    """Delayed chunks by due time, first in first out among equals."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Delayed]] = []
        self._number = count()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Delayed]:
        return (delayed for _, _, delayed in self._heap)

    @property
    def next_s(self) -> float:
        """When the first of them is due; inf when there is none."""
        return self._heap[0][0] if self._heap else float("inf")

    def add(self, delayed: Delayed) -> None:
        """Put one in."""
        heappush(self._heap, (delayed.due_s, next(self._number), delayed))

    def due(self, now_s: float) -> list[Delayed]:
        """Remove and return what is due."""
        found: list[Delayed] = []
        while self._heap and self._heap[0][0] <= now_s:
            found.append(heappop(self._heap)[2])
        return found


def pause_s(first_s: float, failures: int) -> float:
    """Return the pause before the next attempt [s]: doubles with every failure, up to a bound."""
    return first_s * min(2 ** (failures - 1), _LONGEST)
