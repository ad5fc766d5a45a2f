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
from typing import Any, Literal, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from fate.workflow.check import check_draft
from fate.workflow.problems import NamedLocator, Problems, WorkflowError
from fate.workflow.program import draft_of
from fate.workflow.spec import (
    InputSpec,
    JoinTool,
    JsonTool,
    LlmStage,
    MapSpec,
    PythonTool,
    SelectTool,
    SplitTool,
    Stage,
    WorkflowSpec,
)

_ModelT = TypeVar("_ModelT", bound=BaseModel)


class Ref:
    """An expression over a workflow's values; in a string it becomes `{{ expression }}`."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __str__(self) -> str:
        """Return the expression as a template shows it."""
        return f"{{{{ {self.expression} }}}}"

    def __getitem__(self, key: str | int) -> "Ref":
        """Refer to a part of the value: `facts["title"]`, `parts[0]`."""
        if isinstance(key, str) and key.isidentifier():
            return Ref(f"{self.expression}.{key}")
        return Ref(f"{self.expression}[{key!r}]")

    def pipe(self, filter_call: str) -> "Ref":
        """Apply a template filter: `notes.pipe("join('; ')")`."""
        return Ref(f"{self.expression} | {filter_call}")


#: The element a mapped stage works on, under its default name.
ITEM = Ref("item")

Text = str | Ref
#: What to map over: a reference, or a `MapSpec` that says more.
Over = Ref | MapSpec


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

    def llm(
        self, name: str, *, model: str, prompt: Text, map: Over | None = None, **options: object
    ) -> Ref:
        """Add a model call. Options are the keys of an `llm` stage: `max_tokens`, `schema`, …."""
        given = {"kind": "llm", "model": model, "prompt": prompt, "map": map, **options}
        for key in ("prompt", "system"):
            if isinstance(text := given.get(key), str):
                given[key] = textwrap.dedent(text).removeprefix("\n")
        return self._add(name, LlmStage, given)

    def split(self, name: str, *, of: Text, **options: object) -> Ref:
        """Add a tool that cuts a text into a list; options: `by`, `size`, `overlap`, …."""
        return self._add(name, SplitTool, {"kind": "tool", "tool": "split", "of": of, **options})

    def join(self, name: str, *, of: Ref, **options: object) -> Ref:
        """Add a tool that puts a list together; option `separator`, …."""
        return self._add(name, JoinTool, {"kind": "tool", "tool": "join", "of": of, **options})

    def select(self, name: str, *, of: Ref, **options: object) -> Ref:
        """Add a tool that takes a part: one of `index`, `slice`, `key`, `first`."""
        return self._add(name, SelectTool, {"kind": "tool", "tool": "select", "of": of, **options})

    def json(self, name: str, *, of: Text, **options: object) -> Ref:
        """Add a tool that parses JSON; option `path`, …."""
        return self._add(name, JsonTool, {"kind": "tool", "tool": "json", "of": of, **options})

    def python(self, name: str, *, function: str, **options: object) -> Ref:
        """Add a stage that calls own code, `module:function`; options: `args`, `timeout_s`, …."""
        return self._add(name, PythonTool, {"kind": "tool", "python": function, **options})

    def output(self, name: str, template: Text) -> None:
        """Declare an output."""
        self._once(f"outputs.{name}", name, self._outputs)
        self._outputs[name] = str(template)

    def to_spec(self) -> WorkflowSpec:
        """Return the workflow, checked like a file."""
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
        place = f"stages.{name}"
        self._once(place, name, self._stages)
        data = {key: _plain(value) for key, value in given.items() if value is not None}
        if isinstance(over := data.get("map"), str):
            data["map"] = {"over": over}
        self._stages[name] = self._valid(place, model, data)
        return Ref(f"stages.{name}.output")

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
