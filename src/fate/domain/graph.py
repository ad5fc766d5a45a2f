"""Workflow graphs as the scheduler sees them: ids, models, token counts; never text."""

from typing import Literal, TypeAlias

import msgspec

from fate.domain.errors import GraphError

StageKind: TypeAlias = Literal["llm", "tool"]

#: `"<workflow>/<stage>"`, or `"<workflow>/<stage>#<n>"` for the n-th execution.
InstanceId: TypeAlias = str


#: Key prefix of the segment that stands for a map's item while items are not known.
ITEM = "item:"


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a prompt whose text is the same wherever the key is the same.

    `tokens` is an estimate until an engine has tokenised the text.
    """

    key: str
    tokens: int


#: A prompt from its first token on. Two prompts share a cached prefix as far as keys agree.
Path: TypeAlias = tuple[Segment, ...]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a workflow DAG, as written.

    `prompt` is what is known of one item's prompt before anything runs: static text and inputs
    with their keys, parent outputs under their `item_key` with their expected tokens, a map's item
    under a key that starts with `ITEM`.
    `output_tokens` is the expected number per item, `items` the expected number of items.
    """

    id: str
    kind: StageKind
    parents: tuple[str, ...] = ()
    model: str = ""
    prompt: Path = ()
    output_tokens: float = 0.0
    max_tokens: int = 0
    mapped: bool = False
    items: int = 1
    tool_s: float = 0.0
    output_bytes: int = 0


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow submitted to the scheduler; stages stand in topological order.

    `wait_class` selects the bound on waiting (`SchedulerOptions.max_wait_s`).
    """

    id: str
    stages: tuple[Stage, ...]
    wait_class: str = "default"

    def __post_init__(self) -> None:
        """Refuse duplicate ids, unknown parents and cycles."""
        seen: set[str] = set()
        for stage in self.stages:
            if stage.id in seen:
                raise GraphError(self.id, f"stage {stage.id!r} appears twice")
            for parent in stage.parents:
                if parent not in seen:
                    raise GraphError(
                        self.id, f"stage {stage.id!r} comes before its parent {parent!r}"
                    )
            seen.add(stage.id)

    def instance(self, stage: str) -> InstanceId:
        """Return the id of the first execution of `stage` in this workflow."""
        return f"{self.id}/{stage}"


class Chunk(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A range of items `[start, stop)` of one instance: what one attempt executes."""

    instance: InstanceId
    start: int
    stop: int

    def __str__(self) -> str:
        """Render `notes[0:4]`, or the bare instance for a single item."""
        if (self.start, self.stop) == (0, 1):
            return self.instance
        return f"{self.instance}[{self.start}:{self.stop}]"


def item_key(instance: InstanceId, item: int) -> str:
    """Return the segment key of an item's output."""
    return f"out:{instance}[{item}]"


def shared_tokens(left: Path, right: Path) -> int:
    """Return how many leading tokens of `left` stand at the start of `right` too.

    Whole segments only: a segment counts when its key agrees, with `left`'s token count.
    """
    total = 0
    for mine, other in zip(left, right, strict=False):
        if mine.key != other.key:
            break
        total += mine.tokens
    return total


def path_tokens(path: Path) -> int:
    """Return the number of tokens in a prompt."""
    return sum(segment.tokens for segment in path)
