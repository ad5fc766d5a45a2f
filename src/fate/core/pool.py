"""The ready pool: chunks that may run now, by urgency and by arrival."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from fate.domain.cache import PathNodes
from fate.domain.graph import Chunk, Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a node costs, before any device is chosen.

    `path` is the first item's prompt and `left` what the last item leaves in the cache, with
    their rows and nodes in the path table; the token counts are those of `domain.snapshot`.
    """

    model: int
    path: Path
    left: Path
    path_row: int
    left_row: int
    nodes: PathNodes
    left_nodes: PathNodes
    first_tokens: float
    rest_tokens: float
    head_tokens: float
    rest_items: float
    output_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyChunk:
    """A chunk in the pool. `urgency_s` is its upward rank; `avoid` holds devices that failed it."""

    chunk: Chunk
    workflow: str
    number: int
    since_s: float
    max_wait_s: float
    urgency_s: float
    work: Work
    avoid: frozenset[int] = field(default=frozenset())

    @property
    def overdue_at_s(self) -> float:
        """When the chunk's wait bound is reached."""
        return self.since_s + self.max_wait_s


_Key = tuple[float, int]


class ReadyPool:
    """All ready chunks; the frontier is cut from it in time independent of its size."""

    def __init__(self) -> None:
        self._chunks: dict[Chunk, ReadyChunk] = {}
        self._by_number: dict[int, ReadyChunk] = {}
        self._order: list[_Key] = []
        self._heads: dict[str, list[_Key]] = {}
        self._overdue: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[ReadyChunk]:
        return iter(self._chunks.values())

    def get(self, chunk: Chunk) -> ReadyChunk | None:
        """Return the entry of `chunk`, None if it is not ready (any more)."""
        return self._chunks.get(chunk)

    def add(self, ready: ReadyChunk) -> None:
        """Put a chunk in."""
        key = (-ready.urgency_s, ready.number)
        self._chunks[ready.chunk] = ready
        self._by_number[ready.number] = ready
        insort(self._order, key)
        insort(self._heads.setdefault(ready.workflow, []), key)
        insort(self._overdue, (ready.overdue_at_s, ready.number))

    def take(self, chunk: Chunk) -> ReadyChunk:
        """Remove and return a chunk."""
        ready = self._chunks.pop(chunk)
        del self._by_number[ready.number]
        key = (-ready.urgency_s, ready.number)
        _discard(self._order, key)
        heads = self._heads[ready.workflow]
        _discard(heads, key)
        if not heads:
            del self._heads[ready.workflow]
        _discard(self._overdue, (ready.overdue_at_s, ready.number))
        return ready

    def drop_workflow(self, workflow: str) -> None:
        """Remove every chunk of a workflow."""
        for _, number in list(self._heads.get(workflow, ())):
            self.take(self._by_number[number].chunk)

    def overdue(self, now_s: float) -> list[ReadyChunk]:
        """Return the chunks over their wait bound, longest overdue first."""
        stop = bisect_left(self._overdue, (now_s, 1 << 62))
        return [self._by_number[number] for _, number in self._overdue[:stop]]

    def any_overdue(self, now_s: float) -> bool:
        """Whether some chunk is over its wait bound."""
        return bool(self._overdue) and self._overdue[0][0] <= now_s

    def next_overdue_s(self, now_s: float) -> float:
        """Return when the next chunk that is not overdue yet will be; inf if there is none."""
        if self._overdue and self._overdue[0][0] > now_s:
            return self._overdue[0][0]
        stop = bisect_left(self._overdue, (now_s, 1 << 62))
        return self._overdue[stop][0] if stop < len(self._overdue) else float("inf")

    def frontier(self, bound: int, now_s: float) -> list[ReadyChunk]:
        """Return at most `bound` chunks in order of arrival.

        Overdue chunks come first, then every workflow's most urgent chunk, then the most urgent
        of all.
        """
        if len(self._chunks) <= bound:
            return [self._by_number[number] for number in sorted(self._by_number)]
        chosen = {ready.number for ready in self.overdue(now_s)[:bound]}
        for keys in islice(self._heads.values(), bound - len(chosen)):
            chosen.add(keys[0][1])
        for _, number in self._order:
            if len(chosen) >= bound:
                break
            chosen.add(number)
        return [self._by_number[number] for number in sorted(chosen)]


def _discard(keys: list[_Key], key: _Key) -> None:
    del keys[bisect_left(keys, key)]
