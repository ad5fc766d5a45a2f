"""The workflow file, `format: fate.workflow/1`, as validated data.

Everything here is what a user writes, nothing is derived. Keys nobody knows are refused.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from fate.domain.graph import OnError
from fate.domain.units import parse_size

#: Names appear in templates (`stages.notes.output`), so they are plain identifiers.
NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]

#: Data from outside, such as JSON can hold: text, numbers, lists, mappings.
Json: TypeAlias = Any

#: Default bound on what a tool may return [B].
MAX_OUTPUT_BYTES = 8 * 2**20
#: Default bound on the private memory of own code [B], and what an interpreter needs at least.
MAX_TOOL_MEMORY, MIN_TOOL_MEMORY = 2**30, 64 * 2**20

#: Bytes, written as a number or as `300MiB`.
Size: TypeAlias = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["300MiB"]}),
]


class Base(BaseModel):
    """Frozen, strict about types, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class InputSpec(Base):
    """A value the user gives: text, the text of a file, or JSON. Required without a default."""

    kind: Literal["text", "file", "json"] = "text"
    default: JsonValue = None
    description: str = ""

    @property
    def required(self) -> bool:
        """Whether the user must give a value; `default: null` counts as a default for JSON."""
        return "default" not in self.model_fields_set


class MapSpec(Base):
    """Run the stage once per element of a list; `item` names the element in templates.

    `over` is one template expression, `items` the expected length where nothing tells it.
    A list of more than `max_items` fails the stage, or is cut there with `truncate`.
    """

    over: str
    item: Name = "item"
    items: int = Field(default=8, ge=0)
    max_items: int | None = Field(default=None, ge=1)
    truncate: bool = False


class RepeatSpec(Base):
    """Run the stage again and again: at most `max` rounds, until an expression holds.

    `until` is asked after each round; `expect` is the expected number of rounds.
    """

    max: int = Field(ge=1, le=1000)
    until: str = ""
    expect: float | None = Field(default=None, ge=1.0)


def _check_join(value: object, validate: ValidatorFunctionWrapHandler) -> "Join":
    try:
        return validate(value)
    except ValidationError:
        raise ValueError("must be any, all, or a number of stages from 1 on") from None


Join: TypeAlias = Literal["any", "all"] | int


class StageBase(Base):
    """What all stages share. `after` adds parents that no template mentions.

    `when` is one template expression: the stage is skipped where it is false. `probability` is
    how likely it is to hold. `join` is how many parents must be done before the stage starts.
    `on_error` says what happens to an item whose attempts are used up; `default` is its output
    with `on_error: default`.
    """

    map: MapSpec | None = None
    repeat: RepeatSpec | None = None
    after: tuple[str, ...] = Field(default=(), strict=False)
    when: str = ""
    probability: float | None = Field(default=None, ge=0.0, le=1.0)
    join: Annotated[
        Literal["any", "all"] | Annotated[int, Field(ge=1)], WrapValidator(_check_join)
    ] = "all"
    on_error: OnError = "fail"
    default: JsonValue = None


class ModelStage(StageBase):
    """What all calls of models share. `model` is a role declared under `roles:`."""

    model: str


class LlmStage(ModelStage):
    """A model call.

    `chat: false` sends the prompt as it is, without the model's chat template. `expect_tokens`
    is the expected length of an answer, `max_tokens` where nothing is said.
    `exact_tokens` asks for exactly `max_tokens` tokens, for benchmarks.
    """

    kind: Literal["llm"] = "llm"
    prompt: str = Field(min_length=1)
    system: str = ""
    max_tokens: int = Field(default=256, ge=1, le=1_000_000)
    expect_tokens: int | None = Field(default=None, ge=1)
    exact_tokens: bool = False
    stop: tuple[str, ...] = Field(default=(), strict=False)
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    answer_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    chat: bool = True


class EmbedStage(ModelStage):
    """The vector of a text, a list of numbers, by a model with `task: embed`."""

    kind: Literal["embed"] = "embed"
    text: str = Field(min_length=1)


class ToolBase(StageBase):
    """What all tools share: a bound on the size of the result [B]."""

    kind: Literal["tool"] = "tool"
    max_output_bytes: int = Field(default=MAX_OUTPUT_BYTES, ge=1)


class SplitTool(ToolBase):
    """Cut a text into a list: `size` units per piece, `overlap` of them repeated in the next."""

    tool: Literal["split"] = "split"
    of: str
    by: Literal["sentence", "paragraph", "lines", "characters"] = "paragraph"
    size: int = Field(default=1, ge=1)
    overlap: int = Field(default=0, ge=0)


class JoinTool(ToolBase):
    """Put a list together to one text."""

    tool: Literal["join"] = "join"
    of: str
    separator: str = "\n\n"


class SelectTool(ToolBase):
    """Take a part of a list or mapping: exactly one of `index`, `slice`, `key`, `first`.

    `slice` is [start, stop]; negative numbers count from the end.
    """

    tool: Literal["select"] = "select"
    of: str
    index: int | None = None
    slice: tuple[int | None, int | None] | None = Field(default=None, strict=False)
    key: str | None = None
    first: int | None = Field(default=None, ge=0)


class JsonTool(ToolBase):
    """Parse JSON out of a text, also when prose surrounds it; `path` (`a.b[0]`) goes inside."""

    tool: Literal["json"] = "json"
    of: str
    path: str = ""


class NearestTool(ToolBase):
    """Take the `k` elements of the list `of` whose vectors in `among` are most like `query`.

    The best comes first; likeness is the cosine of the angle. All three are expressions.
    """

    tool: Literal["nearest"] = "nearest"
    query: str
    among: str
    of: str
    k: int = Field(default=3, ge=1)


class PythonTool(ToolBase):
    """Call own code, `module:function`, with keyword arguments; it must return JSON-like data.

    An argument that is exactly one `{{ expression }}` arrives as the value, not as text.
    The function runs in a process of its own, which ends when a call takes longer than `timeout_s`
    or needs more private memory than `memory`. `pure` promises that running it twice does no harm:
    only then may it run again after its process was lost. The module is looked for in `folder`
    (relative to the workflow file, which is the default), then on the Python path.
    """

    python: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    args: dict[str, JsonValue] = {}
    pure: bool = False
    timeout_s: float = Field(default=60.0, gt=0.0)
    memory: Annotated[Size, Field(ge=MIN_TOOL_MEMORY)] = MAX_TOOL_MEMORY
    folder: str = ""


class GroupStage(StageBase):
    """Stages that belong together: run for each element of a list, or in rounds.

    `output` is a template over the stages inside, their only last stage's output by default.
    """

    kind: Literal["group"] = "group"
    stages: dict[Name, "TaggedStage"] = Field(min_length=1)
    output: str = ""


BuiltInTool: TypeAlias = SplitTool | JoinTool | SelectTool | JsonTool | NearestTool
ToolStage: TypeAlias = BuiltInTool | PythonTool
Stage: TypeAlias = LlmStage | EmbedStage | ToolStage | GroupStage

#: Tag -> model: what `stage_tag` finds, and the order of the file format's documentation.
STAGE_MODELS: dict[str, type[StageBase]] = {
    "llm": LlmStage,
    "embed": EmbedStage,
    "split": SplitTool,
    "join": JoinTool,
    "select": SelectTool,
    "json": JsonTool,
    "nearest": NearestTool,
    "python": PythonTool,
    "group": GroupStage,
}


def stage_tag(value: object) -> str | None:
    """Return which stage model a raw value asks for; None where it does not say."""
    if isinstance(value, LlmStage | EmbedStage | GroupStage):
        return value.kind
    if isinstance(value, PythonTool):
        return "python"
    if isinstance(value, ToolBase):
        return cast("str", getattr(value, "tool", ""))
    if not isinstance(value, Mapping):
        return None
    raw = cast("Mapping[str, object]", value)
    if raw.get("kind") == "tool":
        return "python" if "python" in raw else str(raw.get("tool"))
    return str(raw.get("kind"))


TaggedStage: TypeAlias = Annotated[
    Annotated[LlmStage, Tag("llm")]
    | Annotated[EmbedStage, Tag("embed")]
    | Annotated[SplitTool, Tag("split")]
    | Annotated[JoinTool, Tag("join")]
    | Annotated[SelectTool, Tag("select")]
    | Annotated[JsonTool, Tag("json")]
    | Annotated[NearestTool, Tag("nearest")]
    | Annotated[PythonTool, Tag("python")]
    | Annotated[GroupStage, Tag("group")],
    Discriminator(stage_tag),
]


class WorkflowSpec(Base):
    """A workflow: inputs, model roles with their default models, stages, outputs.

    `outputs` are named templates; without any, every stage no other stage uses is an output.
    `wait_class` selects the bound on waiting (`max_wait_s` in the cluster file). `reuse` lets one
    answer stand for all identical calls of a run.
    """

    format: Literal["fate.workflow/1"] = "fate.workflow/1"
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.-]*$", max_length=64)]
    description: str = ""
    inputs: dict[Name, InputSpec] = {}
    roles: dict[Name, str] = {}
    stages: dict[Name, TaggedStage] = Field(min_length=1)
    outputs: dict[Name, str] = {}
    wait_class: str = "default"
    reuse: bool = True
