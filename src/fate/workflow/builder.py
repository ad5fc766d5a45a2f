"""Builds a workflow in Python: the same `WorkflowSpec` that a YAML file gives.

    wf = Workflow("brief", roles={"fast": "smollm2-135m-q4_0"})
    document = wf.input("document", kind="file")
    parts = wf.split("parts", of=document)
    notes = wf.llm("notes", model="fast", map=parts, prompt=f"Note down the point of: {ITEM}")
    wf.output("notes", notes.pipe("join('; ')"))

References (`document`, `parts`, `notes`) become template expressions inside strings. Prompts and
system texts lose their common indentation and an empty first line, so that they can be written in
triple quotes.
"""

import textwrap
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Required, TypedDict, TypeVar, Unpack, cast

import yaml
from pydantic import BaseModel, ValidationError

from fate.domain.graph import OnError
from fate.workflow.calls import stage_of
from fate.workflow.check import check_draft
from fate.workflow.problems import NamedLocator, Problems, WorkflowError
from fate.workflow.program import draft_of
from fate.workflow.refs import LoopGroup, MapGroup, Ref, Text, stage_name
from fate.workflow.spec import (
    EmbedStage,
    GroupStage,
    InputSpec,
    JoinTool,
    Json,
    JsonTool,
    LlmStage,
    MapSpec,
    NearestTool,
    PythonTool,
    SelectTool,
    SplitTool,
    Stage,
    WorkflowSpec,
)

_ModelT = TypeVar("_ModelT", bound=BaseModel)


#: What to map over: a reference, or a `MapSpec` that says more.
Over = Ref | MapSpec


class Repeat(TypedDict, total=False):
    """Rounds of a stage: at most `max`, until a condition holds; about `expect` are likely."""

    max: Required[int]
    until: Text
    expect: float


class StageOptions(TypedDict, total=False):
    """What all stages take; see the file format."""

    after: Sequence[Text]
    when: Text
    probability: float
    join: Literal["any", "all"] | int
    on_error: OnError
    default: Json


class RunOptions(StageOptions, total=False):
    """What stages take that are no groups."""

    map: Over | None
    repeat: Repeat


class LlmOptions(RunOptions, total=False):
    """What model calls take."""

    system: Text
    max_tokens: int
    expect_tokens: int
    exact_tokens: bool
    stop: Sequence[str]
    temperature: float
    seed: int
    schema: Mapping[str, Any]
    chat: bool


class ToolOptions(RunOptions, total=False):
    """What tools take."""

    max_output_bytes: int


class SplitOptions(ToolOptions, total=False):
    """What `split` takes."""

    by: Literal["sentence", "paragraph", "lines", "characters"]
    size: int
    overlap: int


class PythonOptions(ToolOptions, total=False):
    """What own code takes."""

    args: Mapping[str, object]
    pure: bool
    timeout_s: float
    memory: int | str
    folder: str


class SelectOptions(ToolOptions, total=False):
    """What `select` takes: one of its own."""

    index: int
    slice: tuple[int | None, int | None]
    key: str
    first: int


class Workflow:
    """A workflow under construction. Every method adds something and returns how to refer to it."""

    def __init__(
        self,
        name: str,
        *,
        roles: Mapping[str, str] | None = None,
        description: str = "",
        wait_class: str = "",
    ) -> None:
        self._name = name
        self._top: dict[str, Any] = {"format": "fate.workflow/1", "name": name}
        if description:
            self._top["description"] = description
        if wait_class:
            self._top["wait_class"] = wait_class
        self._inputs: dict[str, InputSpec] = {}
        self._roles = dict(roles or {})
        self._stages: dict[str, Stage] = {}
        self._outer: list[dict[str, Stage]] = []
        self._at = ["stages"]
        self._outputs: dict[str, str] = {}

    def input(
        self, name: str, *, kind: Literal["text", "file", "json"] = "text", **options: object
    ) -> Ref:
        """Declare an input; `default` and `description` are its options."""
        place = f"inputs.{name}"
        self._once(place, name, self._inputs)
        given = {"kind": kind, **options}
        self._inputs[name] = self._valid(place, InputSpec, given)
        return Ref(f"inputs.{name}")

    def role(self, name: str, model: str) -> str:
        """Declare a model role and the model it means by default; returns the role's name."""
        self._once(f"roles.{name}", name, self._roles)
        self._roles[name] = model
        return name

    def llm(self, name: str, *, model: str, prompt: Text, **options: Unpack[LlmOptions]) -> Ref:
        """Add a model call."""
        given: dict[str, object] = {"kind": "llm", "model": model, "prompt": prompt, **options}
        for key in ("prompt", "system"):
            if isinstance(text := given.get(key), str):
                given[key] = textwrap.dedent(text).removeprefix("\n")
        return self._add(name, LlmStage, given)

    def embed(self, name: str, *, model: str, text: Text, **options: Unpack[RunOptions]) -> Ref:
        """Add a stage that makes the vector of a text."""
        return self._add(
            name, EmbedStage, {"kind": "embed", "model": model, "text": text, **options}
        )

    def split(self, name: str, *, of: Text, **options: Unpack[SplitOptions]) -> Ref:
        """Add a tool that cuts a text into a list."""
        return self._add(name, SplitTool, {"kind": "tool", "tool": "split", "of": of, **options})

    def join(
        self, name: str, *, of: Ref, separator: str | None = None, **options: Unpack[ToolOptions]
    ) -> Ref:
        """Add a tool that puts a list together, by default with blank lines between."""
        given = {"kind": "tool", "tool": "join", "of": of, "separator": separator, **options}
        return self._add(name, JoinTool, given)

    def select(self, name: str, *, of: Ref, **options: Unpack[SelectOptions]) -> Ref:
        """Add a tool that takes a part: one of `index`, `slice`, `key`, `first`."""
        return self._add(name, SelectTool, {"kind": "tool", "tool": "select", "of": of, **options})

    def json(
        self, name: str, *, of: Text, path: str | None = None, **options: Unpack[ToolOptions]
    ) -> Ref:
        """Add a tool that parses JSON, and takes what is at `path` in it."""
        given = {"kind": "tool", "tool": "json", "of": of, "path": path, **options}
        return self._add(name, JsonTool, given)

    def nearest(
        self,
        name: str,
        *,
        query: Ref,
        among: Ref,
        of: Ref,
        k: int | None = None,
        **options: Unpack[ToolOptions],
    ) -> Ref:
        """Add a tool that takes the `k` elements of `of` whose vectors are most like `query`."""
        given = {"kind": "tool", "tool": "nearest", "query": query, "among": among, "of": of}
        return self._add(name, NearestTool, {**given, "k": k, **options})

    def python(self, name: str, *, function: str, **options: Unpack[PythonOptions]) -> Ref:
        """Add a stage that calls own code, `module:function`."""
        return self._add(name, PythonTool, {"kind": "tool", "python": function, **options})

    def call(
        self,
        function: Callable[..., Any],
        name: str = "",
        options: PythonOptions | None = None,
        /,
        **arguments: object,
    ) -> Ref:
        """Add a stage that calls a function marked with `@fate.tool`.

        Args:
            function: the tool; its arguments are given by name, as values or references.
            name: the stage's name, by default the function's.
            options: what the stage takes beside arguments, as `{"map": notes}`.
            **arguments: of the function.
        """
        name = name or getattr(function, "__name__", "")
        try:
            given = stage_of(function, arguments)
        except ValueError as error:
            place = ".".join((*self._at, name))
            raise WorkflowError([f"workflow {self._name!r}, {place}: {error}"]) from None
        return self._add(name, PythonTool, {**given, **(options or {})})

    def map(
        self, name: str, *, over: Over, item: str = "item", **options: Unpack[StageOptions]
    ) -> MapGroup:
        r"""Add a group that runs for each element of a list; its body is what the block adds.

        ```
        with wf.map("study", over=papers, item="paper") as paper:
            notes = wf.llm("notes", model=fast, prompt=f"Note the claims.\n\n{paper}")
            wf.llm("check", model=slow, prompt=f"{paper}\n\nTrue?\n{notes}")
        wf.output("studies", paper.result)
        ```
        """
        spec = _plain(over)
        if isinstance(spec, MapSpec):
            item = spec.item
        else:
            spec = {"over": spec, **({} if item == "item" else {"item": item})}

        def close(done: bool) -> None:
            self._close(name, done, {"map": spec, **group.settings, **options})

        group = MapGroup(name, item, partial(self._open, name), close)
        return group

    def repeat(
        self,
        name: str,
        *,
        max: int,
        until: Text | None = None,
        expect: float | None = None,
        **options: Unpack[StageOptions],
    ) -> LoopGroup:
        r"""Add a group that runs in rounds; its body is what the block adds.

        ```
        with wf.repeat("solve", max=3) as loop:
            answer = wf.llm("execute", model=slow, prompt=f"{task}\n{loop.previous}")
            verdict = wf.llm("verify", model=fast, prompt=f"Right? {answer}")
            loop.until(expr("'yes' in {}", verdict))
            loop.output(answer)
        wf.output("answer", loop.result)
        ```
        """

        def close(done: bool) -> None:
            settings = dict(group.settings)
            repeat = {"max": max, "until": settings.pop("until", until), "expect": expect}
            given = {key: value for key, value in repeat.items() if value is not None}
            self._close(name, done, {"repeat": given, **settings, **options})

        group = LoopGroup(name, partial(self._open, name), close)
        return group

    def output(self, name: str, template: Text) -> None:
        """Declare an output."""
        self._once(f"outputs.{name}", name, self._outputs)
        self._outputs[name] = str(template)

    def to_spec(self) -> WorkflowSpec:
        """Return the workflow, checked like a file."""
        if self._outer:
            raise WorkflowError([f"workflow {self._name!r}: a group is still open"])
        data = {
            **self._top,
            **({"inputs": self._inputs} if self._inputs else {}),
            **({"roles": self._roles} if self._roles else {}),
            "stages": self._stages,
            **({"outputs": self._outputs} if self._outputs else {}),
        }
        if not self._stages:
            raise WorkflowError([f"workflow {self._name!r} is empty: add at least one stage"])
        spec = self._valid("", WorkflowSpec, data)
        problems = Problems(NamedLocator(self._name))
        check_draft(draft_of(spec), problems)
        if problems.lines:
            raise WorkflowError(problems.lines)
        return spec

    def to_yaml(self) -> str:
        """Return the workflow as the text of a YAML file."""
        return dump_yaml(self.to_spec())

    def _add(self, name: str, model: type[Stage], given: Mapping[str, object]) -> Ref:
        place = ".".join((*self._at, name))
        self._once(place, name, self._stages)
        data = {key: _plain(value) for key, value in given.items() if value is not None}
        if isinstance(over := data.get("map"), str):
            data["map"] = {"over": over}
        if isinstance(after := given.get("after"), Sequence):
            data["after"] = [stage_name(each) for each in cast("Sequence[Text]", after)]
        self._stages[name] = self._valid(place, model, data)
        return Ref(f"stages.{name}.output")

    def _open(self, name: str) -> None:
        self._once(".".join((*self._at, name)), name, self._stages)
        self._outer.append(self._stages)
        self._stages = {}
        self._at += [name, "stages"]

    def _close(self, name: str, done: bool, given: Mapping[str, object]) -> None:
        body, self._stages = self._stages, self._outer.pop()
        del self._at[-2:]
        if not done:
            return  # an exception is on its way
        if not body:
            raise WorkflowError([f"workflow {self._name!r}, {name}: this group has no stages"])
        self._add(name, GroupStage, {"kind": "group", **given, "stages": body})

    def _once(self, place: str, name: str, taken: Container[str]) -> None:
        if name in taken:
            raise WorkflowError([f"workflow {self._name!r}, {place}: this name is taken"])

    def _valid(self, place: str, model: type[_ModelT], data: Mapping[str, object]) -> _ModelT:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            problems = Problems(NamedLocator(self._name))
            at = tuple(place.split(".")) if place else ()
            problems.add_validation(error, model, at)
            raise WorkflowError(problems.lines) from None


def dump_yaml(spec: WorkflowSpec) -> str:
    """Return a workflow as YAML: only what was said, long texts as blocks."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as `|` blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    represent: Callable[..., yaml.ScalarNode] = cast("Any", dumper).represent_scalar
    return represent("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _plain(value: object) -> object:
    """Turn references into templates, in mappings and sequences too."""
    if isinstance(value, str | Ref):
        return str(value)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, object]", value)
        return {key: _plain(each) for key, each in mapping.items()}
    if isinstance(value, Sequence):
        return [_plain(each) for each in cast("Sequence[object]", value)]
    return value
