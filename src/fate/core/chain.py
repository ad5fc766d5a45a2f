"""A placement under way: the activities that are left, one after the other."""

from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from fate.core.pool import ReadyChunk
from fate.domain.graph import Chunk, Path
from fate.domain.messages import ActivityId
from fate.domain.state import ResidentModel, SequenceSlot

StepKind: TypeAlias = Literal["unload", "load", "move", "call", "tool"]

#: Device index of chains that run tools on the host.
HOST = -1

#: A chain that outlives its estimate is expected to take this share of it longer.
_OVERRUN = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """One activity of a chain, with its expected seconds."""

    kind: StepKind
    model: str
    expected_s: float


class Content(NamedTuple):
    """A state that can be saved now: an idle sequence of a loaded model, or a parked one.

    `slot` and `entry` are those of a loaded model, None where the state is parked.
    """

    device: int
    sequence: int
    path: Path
    slot: SequenceSlot | None = None
    entry: ResidentModel | None = None


@dataclass(slots=True, eq=False)
class Chain:
    """A placement under way. `activity` is None while it waits for memory or for a load.

    `cached` are the prompt tokens that its sequence holds without a move, `source` is the state
    that a move brings, `holding` whether it is kept for this chain where it is. `gather_s` is how
    long its call takes to gather the outputs of parents on other devices, before its first item.
    `concurrency` counts the calls that ran on the device when its own began, itself among them,
    and `slowed` is the factor on its work that comes of them.
    """

    device: int
    chunk: Chunk | None
    ready: ReadyChunk | None
    steps: deque[Step]
    sequence: int = -1
    activity: ActivityId | None = None
    step_since_s: float = 0.0
    concurrency: int = 1
    slowed: float = 1.0
    items_done: int = 0
    cancelling: bool = False
    cached: int = 0
    source: Content | None = None
    holding: bool = False
    gather_s: float = 0.0

    def working_on(self, item: int) -> bool:
        """Whether the current activity is one that finishes items, this one among them."""
        at_work = self.steps[0].kind in ("call", "tool")
        return self.chunk is not None and at_work and self.chunk.start <= item < self.chunk.stop

    def step_end_s(self, now_s: float) -> float:
        """Return when the current activity is expected to end, always after `now_s`."""
        step = self.steps[0]
        whole = step.expected_s
        if step.kind == "call" and self.chunk is not None:
            items = self.chunk.stop - self.chunk.start
            gather = 0.0 if self.items_done else self.gather_s
            whole = gather + step.expected_s * self.slowed * ((items - self.items_done) / items)
        end_s = self.step_since_s + whole
        return end_s if end_s > now_s else now_s + _OVERRUN * whole + 1e-6

    def expected_end_s(self, now_s: float) -> float:
        """Return when the chain is expected to end, always after `now_s`.

        What is behind its current activity takes as long as if it were alone on its device, see
        `foretold` for more.
        """
        left = sum([step.expected_s for step in self.steps])
        if self.activity is None:
            return now_s + max(left + self.gather_s, 1e-6)
        step = self.steps[0]
        later = left - step.expected_s
        if step.kind != "call":
            later += self.gather_s
        return self.step_end_s(now_s) + later
