"""One execution of a stage, as far as a log has told of it."""

from dataclasses import dataclass, field

from fate.domain.graph import Chunk, InstanceId, Stage
from fate.view.history import StageStatus


@dataclass(slots=True, eq=False)
class StageRun:
    """One execution of a stage; `total` items are known once its prompts are rendered.

    Of a group the items are its scopes: those of a map, or the rounds of a loop, whose `total` is
    known when the last one is.

    Attributes:
        group, index: the group it belongs to, and in which item or round of it.
        parents, children: executions in the same scope.
        done: items with an output; `dropped` were given up without one.
        twins: items that wait for another one's output instead of running.
        running: unfinished items of attempts.
        committed: items for which a device is being prepared.
        retries: ended attempts at each item that came to nothing.
        scopes: a group's executions by item or round.
        asked: its prompts, or a group's scopes, have been asked for.
        skipped: it does not run.
        over: its workflow has ended.
    """

    instance: InstanceId
    workflow: str
    stage: Stage
    group: "StageRun | None" = None
    index: int = 0
    parents: list["StageRun"] = field(default_factory=list["StageRun"])
    children: list["StageRun"] = field(default_factory=list["StageRun"])
    total: int | None = None
    done: set[int] = field(default_factory=set[int])
    dropped: set[int] = field(default_factory=set[int])
    twins: set[int] = field(default_factory=set[int])
    running: int = 0
    committed: int = 0
    retries: dict[int, int] = field(default_factory=dict[int, int])
    scopes: dict[int, list["StageRun"]] = field(default_factory=dict[int, list["StageRun"]])
    asked: bool = False
    failed: bool = False
    skipped: bool = False
    over: bool = False
    ready_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None

    @property
    def is_group(self) -> bool:
        """Whether it runs nothing itself."""
        return self.stage.kind == "group"

    @property
    def complete(self) -> bool:
        """Whether every item is done or given up."""
        return self.total is not None and len(self.done) + len(self.dropped) >= self.total

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left to happen."""
        return self.over or self.skipped or self.complete

    @property
    def ready(self) -> int:
        """Items that could start now."""
        if self.total is None or self.over or self.skipped or self.is_group:
            return 0
        gone = len(self.done) + len(self.dropped) + len(self.twins)
        return max(0, self.total - gone - self.running - self.committed)

    @property
    def waiting(self) -> bool:
        """Whether its items are not known yet, but may come."""
        return self.total is None and not self.over and not self.skipped and not self.is_group

    def missing(self, chunk: Chunk) -> list[int]:
        """Return the items of `chunk` that are neither done nor given up."""
        done, dropped = self.done, self.dropped
        return [i for i in range(chunk.start, chunk.stop) if i not in done and i not in dropped]

    def attempt(self, chunk: Chunk) -> int:
        """Return the number of the next attempt at a chunk, from 1."""
        if not self.retries:
            return 1
        return 1 + max(self.retries.get(item, 0) for item in range(chunk.start, chunk.stop))

    @property
    def status(self) -> StageStatus:
        """The stage's state. A stage that gave up every item it had counts as skipped."""
        if self.skipped or (self.complete and self.dropped and not self.done):
            return "skipped"
        if self.complete:
            return "done"
        if self.over:
            return "failed" if self.failed else "skipped"
        if self.start_s is not None:
            return "running"
        return "ready" if self.total is not None else "waiting"
