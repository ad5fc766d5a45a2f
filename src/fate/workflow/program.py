"""A workflow with its templates parsed and its edges inferred: what the expander executes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from fate.workflow.problems import DataPath
from fate.workflow.spec import (
    EmbedStage,
    GroupStage,
    InputSpec,
    JoinTool,
    LlmStage,
    NearestTool,
    SplitTool,
    Stage,
    WorkflowSpec,
)
from fate.workflow.template import Piece, References, Template, Value

#: What one item of a stage writes: text, a list, or some JSON value.
Produces: TypeAlias = Literal["text", "list", "json"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A tool argument without a template."""

    value: object


Argument: TypeAlias = Value | Template | Constant


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgram:
    """One stage, ready to render; a stage with `repeat:` is a group around itself.

    Attributes:
        name: as it is written, unique in its block.
        path: with the names of the groups around it, `study.notes`.
        parents: stages of the same block that must be over before it starts.
        references: all it mentions itself; a group, also what its stages mention outside of it.
        over: the list of a map.
        when: the condition on which it runs.
        until: the condition that ends a loop.
        system, prompt: of a model call.
        arguments: of a tool.
        output: of a group's scope.
        body: a group's stages in topological order.
        keeps: the stages of the body that `output` and `until` read.
    """

    name: str
    path: str
    spec: Stage
    parents: tuple[str, ...]
    produces: Produces
    references: References
    over: Value | None = None
    when: Value | None = None
    until: Value | None = None
    system: tuple[Piece, ...] = ()
    prompt: tuple[Piece, ...] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict[str, Argument])
    output: Value | Template = field(default_factory=Template)
    body: Mapping[str, "StageProgram"] = field(default_factory=dict[str, "StageProgram"])
    keeps: frozenset[str] = frozenset()

    @property
    def loop(self) -> bool:
        """Whether it is a group of rounds."""
        return self.spec.repeat is not None

    @property
    def required(self) -> int:
        """How many parents must be done before it starts, 0 for all of them."""
        join = self.spec.join
        return join if isinstance(join, int) else int(join == "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """All stages in topological order, and the outputs; `keeps` are the stages they read.

    Own code is looked for in `folder`.
    """

    spec: WorkflowSpec
    stages: Mapping[str, StageProgram]
    outputs: Mapping[str, Value | Template]
    keeps: frozenset[str]
    folder: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Stages under inspection that stand side by side, at a place in the file.

    None stands for a stage that is too broken to be understood; `inner` are the groups' blocks.
    """

    at: DataPath
    path: str
    stages: Mapping[str, Stage | None]
    inner: Mapping[str, "Block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A workflow under inspection; None stands for what is too broken to be understood.

    Own code is looked for in `folder`.
    """

    inputs: Mapping[str, InputSpec | None]
    roles: Mapping[str, object]
    block: Block
    outputs: Mapping[str, str]
    folder: Path = Path()


def draft_of(spec: WorkflowSpec) -> Draft:
    """Return the draft of a workflow that is valid piece by piece."""
    return Draft(
        inputs=spec.inputs, roles=spec.roles, block=block_of(spec.stages), outputs=spec.outputs
    )


def block_of(
    stages: Mapping[str, Stage | None],
    at: DataPath = ("stages",),
    path: str = "",
    inner: Mapping[str, Block] | None = None,
) -> Block:
    """Return stages as a block: a stage that repeats becomes a group around itself.

    Args:
        stages: by name.
        at: where they stand.
        path: names of the groups around them, with a dot behind each.
        inner: blocks of groups that are known already.
    """
    blocks = dict(inner or {})
    found: dict[str, Stage | None] = {}
    for name, stage in stages.items():
        found[name] = stage
        if isinstance(stage, GroupStage):
            if name not in blocks:
                own = (*at, name, "stages")
                blocks[name] = block_of(dict(stage.stages), own, f"{path}{name}.")
        elif stage is not None and stage.repeat is not None:
            found[name], once = _as_group(name, stage)
            blocks[name] = Block(at=at, path=path, stages={name: once}, inner={})
    return Block(at=at, path=path, stages=found, inner=blocks)


def _as_group(name: str, stage: Stage) -> tuple[GroupStage, Stage]:
    """Return a repeated stage as a group, and the stage of one round."""
    shared = {
        key: getattr(stage, key)
        for key in ("repeat", "after", "when", "probability", "join", "on_error", "default")
    }
    fresh = {key: GroupStage.model_fields[key].default for key in shared}
    once = stage.model_copy(update=fresh)
    return GroupStage.model_construct(**shared, stages={name: once}), once


def topological(stages: Mapping[str, StageProgram]) -> dict[str, StageProgram]:
    """Return the stages parents first, otherwise in the order they are written."""
    order: dict[str, StageProgram] = {}
    waiting = dict(stages)
    while waiting:
        ready = next((n for n, s in waiting.items() if all(p in order for p in s.parents)), None)
        if ready is None:
            return dict(stages)  # a cycle, which is reported
        order[ready] = waiting.pop(ready)
    return order


def produces(stage: Stage) -> Produces:
    """Return what one item of a stage writes, as far as the file says."""
    if isinstance(stage, LlmStage):
        if stage.answer_schema is None:
            return "text"
        return "list" if stage.answer_schema.get("type") == "array" else "json"
    if isinstance(stage, SplitTool | EmbedStage | NearestTool):
        return "list"
    return "text" if isinstance(stage, JoinTool) else "json"
