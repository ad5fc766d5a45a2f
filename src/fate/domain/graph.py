"""Workflow graphs as the scheduler sees them: ids, models, token counts; never text."""

import re
from typing import Literal, TypeAlias

import msgspec

from fate.domain.errors import GraphError

StageKind: TypeAlias = Literal["llm", "tool", "group"]

#: What happens to an item whose attempts are used up: its workflow fails, or the item is dropped
#: (`skip`), or the expander's default stands in for its output (`default`).
OnError: TypeAlias = Literal["fail", "skip", "default"]

#: `"<workflow>/<stage>"`; a stage inside a group carries its place there: `study[3].notes` for the
#: fourth item of a map's body, `solve#2.verify` or `refine#2` for the second round of a loop.
InstanceId: TypeAlias = str


#: What an instance's place in its groups looks like inside an id.
_PLACE = re.compile(r"\[\d+\]|#\d+")

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

    A `group` runs nothing itself: it stands for stages that are known once its parents are done,
    one scope of them for each item of a map or each round of a loop. `body` holds what one scope
    is expected to be, with ids as they are written; `items` and `rounds` how many scopes there
    will be. `loop` tells rounds, one after the other, from items, side by side.

    `join` is how many parents must be done before the stage starts, 0 for all of them; parents
    it no longer needs are abandoned unless something else does, or `kept` says that the workflow
    itself wants their output.
    `probability` is how likely it is to run at all. A tool that is not `pure` is never run twice.
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
    join: int = 0
    on_error: OnError = "fail"
    probability: float = 1.0
    kept: bool = False
    pure: bool = True
    loop: bool = False
    rounds: float = 1.0
    body: tuple["Stage", ...] = ()


class Scope(msgspec.Struct, frozen=True, array_like=True):
    """One item or round of a group: its stages in topological order, ids with their place.

    `index` counts items from 0 and rounds from 1; parents are stages of the same scope.
    """

    index: int
    stages: tuple[Stage, ...]


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


class Twin(msgspec.Struct, frozen=True, array_like=True):
    """An item whose call is identical to one of an earlier instance, or of its own."""

    item: int
    source: InstanceId
    source_item: int


def written_id(stage: str) -> str:
    """Return a stage's id as the workflow file has it: `study.notes` for `study[3].notes`."""
    return _PLACE.sub("", stage)


def place_stages(group: str, index: int, group_stage: Stage) -> tuple[Stage, ...]:
    """Return a group's body as the stages of one scope.

    Args:
        group: id of the group stage, with its own place: `study`, `study[3].debate`.
        index: item from 0, or round from 1.
        group_stage: the group.

    A loop over one stage of its own name has no inner name: `refine#2`, not `refine#2.refine`.
    """
    mark = f"{group}#{index}" if group_stage.loop else f"{group}[{index}]"
    own = group.rpartition(".")[2]

    def place(stage: str) -> str:
        return mark if group_stage.loop and stage == own else f"{mark}.{stage}"

    return tuple(
        [
            msgspec.structs.replace(
                stage,
                id=place(stage.id),
                parents=tuple([place(parent) for parent in stage.parents]),
            )
            for stage in group_stage.body
        ]
    )


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
