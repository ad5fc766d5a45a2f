"""A workflow with its templates parsed and its edges inferred: what the expander executes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fate.workflow.problems import DataPath, NamedLocator, Problems, WorkflowError, suggest
from fate.workflow.spec import (
    InputSpec,
    JoinTool,
    JsonTool,
    LlmStage,
    PythonTool,
    SelectTool,
    SplitTool,
    Stage,
    WorkflowSpec,
)
from fate.workflow.template import (
    InputPiece,
    OutputPiece,
    Piece,
    References,
    Scope,
    Template,
    Value,
    parse,
    parse_value,
)

#: What one item of a stage writes: text, a list, or some JSON value.
Produces: TypeAlias = Literal["text", "list", "json"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A tool argument without a template."""

    value: object


Argument: TypeAlias = Value | Template | Constant


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgram:
    """One stage, ready to render. `arguments` is for tools, `system` and `prompt` for models."""

    name: str
    spec: Stage
    parents: tuple[str, ...]
    produces: Produces
    references: References
    over: Value | None = None
    system: tuple[Piece, ...] = ()
    prompt: tuple[Piece, ...] = ()
    arguments: Mapping[str, Argument]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """All stages in topological order, and the outputs."""

    spec: WorkflowSpec
    stages: Mapping[str, StageProgram]
    outputs: Mapping[str, Value | Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A workflow under inspection; None stands for what is too broken to be understood."""

    inputs: Mapping[str, InputSpec | None]
    roles: Mapping[str, object]
    stages: Mapping[str, Stage | None]
    outputs: Mapping[str, str]


def compile_workflow(spec: WorkflowSpec) -> Program:
    """Return the program of a valid workflow; a `WorkflowError` lists all that is wrong."""
    problems = Problems(NamedLocator(spec.name))
    draft = Draft(inputs=spec.inputs, roles=spec.roles, stages=spec.stages, outputs=spec.outputs)
    compiler = Compiler(draft, problems)
    stages = compiler.stages()
    outputs = compiler.outputs(stages)
    if problems.lines:
        raise WorkflowError(problems.lines)
    return Program(spec=spec, stages=topological(stages), outputs=outputs)


def topological(stages: Mapping[str, StageProgram]) -> dict[str, StageProgram]:
    """Return the stages parents first, otherwise in the order they are written."""
    order: dict[str, StageProgram] = {}
    waiting = dict(stages)
    while waiting:
        ready = next(n for n, s in waiting.items() if all(p in order for p in s.parents))
        order[ready] = waiting.pop(ready)
    return order


def produces(stage: Stage) -> Produces:
    """Return what one item of a stage writes, as far as the file says."""
    if isinstance(stage, LlmStage):
        if stage.answer_schema is None:
            return "text"
        return "list" if stage.answer_schema.get("type") == "array" else "json"
    if isinstance(stage, SplitTool):
        return "list"
    return "text" if isinstance(stage, JoinTool) else "json"


class Compiler:
    """Parses every template of a draft, reporting what does not make sense on the way."""

    def __init__(self, draft: Draft, problems: Problems) -> None:
        self._draft, self._problems = draft, problems
        self._mapped = frozenset(
            name for name, stage in draft.stages.items() if stage is not None and stage.map
        )

    def stages(self) -> dict[str, StageProgram]:
        """Return the program of every stage that is understood, in the order written."""
        return {
            name: self._stage(name, stage)
            for name, stage in self._draft.stages.items()
            if stage is not None
        }

    def outputs(self, stages: Mapping[str, StageProgram]) -> dict[str, Value | Template]:
        """Return the declared outputs, or one for every stage that no other stage uses."""
        scope = Scope(mapped=self._mapped)
        if not self._draft.outputs:
            used = {parent for stage in stages.values() for parent in stage.parents}
            sources = {n: f"{{{{ stages.{n}.output }}}}" for n in stages if n not in used}
            return {
                name: self._value_or_text(("outputs",), s, scope) for name, s in sources.items()
            }
        return {
            name: self._value_or_text(("outputs", name), source, scope)
            for name, source in self._draft.outputs.items()
        }

    def _stage(self, name: str, stage: Stage) -> StageProgram:
        at: DataPath = ("stages", name)
        references = References()
        over = self._over((*at, "map", "over"), stage, references) if stage.map else None
        scope = Scope(item=stage.map.item if stage.map else "", mapped=self._mapped)
        system = prompt = Template()
        arguments: dict[str, Argument] = {}
        if isinstance(stage, LlmStage):
            self._role(at, stage)
            system = self._text((*at, "system"), stage.system, scope)
            prompt = self._text((*at, "prompt"), stage.prompt, scope)
            references.merge(system.references)
            references.merge(prompt.references)
        else:
            arguments = self._arguments(at, stage, scope)
            for argument in arguments.values():
                if not isinstance(argument, Constant):
                    references.merge(argument.references)
        for index, parent in enumerate(stage.after):
            self._known_stage((*at, "after", index), parent, 0)
        mentioned = {*references.stages, *stage.after}
        return StageProgram(
            name=name,
            spec=stage,
            parents=tuple(n for n in self._draft.stages if n in mentioned),
            produces=produces(stage),
            references=references,
            over=over,
            system=system.pieces,
            prompt=prompt.pieces,
            arguments=arguments,
        )

    def _role(self, at: DataPath, stage: LlmStage) -> None:
        if stage.model in self._draft.roles:
            return
        hint = suggest(stage.model, self._draft.roles)
        if not self._draft.roles:
            hint = f" Declare it: `roles: {{{stage.model}: MODEL}}`."
        self._problems.add((*at, "model"), f"unknown model role {stage.model!r}.{hint}")

    def _arguments(self, at: DataPath, stage: Stage, scope: Scope) -> dict[str, Argument]:
        if isinstance(stage, PythonTool):
            return {
                key: self._value_or_text((*at, "args", key), value, scope)
                if isinstance(value, str)
                else Constant(value)
                for key, value in stage.args.items()
            }
        if isinstance(stage, SplitTool | JsonTool):
            return {"of": self._text((*at, "of"), stage.of, scope)}
        if isinstance(stage, JoinTool | SelectTool):
            return {"of": self._value((*at, "of"), stage.of, scope) or Constant(None)}
        return {}

    def _over(self, at: DataPath, stage: Stage, references: References) -> Value | None:
        assert stage.map is not None
        if stage.map.item in ("inputs", "stages"):
            self._problems.add((*at[:-1], "item"), f"{stage.map.item!r} has another meaning")
        value = self._value(at, stage.map.over, Scope(mapped=self._mapped))
        if value is not None:
            references.merge(value.references)
            if (what := self._not_a_list(value.bare)) is not None:
                self._problems.add(at, what)
        return value

    def _not_a_list(self, piece: Piece) -> str | None:
        """Return why a bare reference cannot be mapped over; None where it can, or may."""
        if isinstance(piece, OutputPiece) and piece.stage not in self._mapped:
            stage = self._draft.stages.get(piece.stage)
            if stage is not None and produces(stage) == "text":
                return (
                    f"stage {piece.stage!r} writes text, not a list: split it first "
                    "(`tool: split`), or give it a `schema` of type array"
                )
        if isinstance(piece, InputPiece):
            given = self._draft.inputs.get(piece.name)
            if given is None:
                return None
            if given.kind != "json":
                return f"input {piece.name!r} is {given.kind}, not a list: make it `kind: json`"
            if not given.required and not isinstance(given.default, list):
                return f"the default of input {piece.name!r} is not a list"
        return None

    def _text(self, at: DataPath, source: str, scope: Scope) -> Template:
        template = parse(source, scope)
        self._report(at, template)
        return template

    def _value(self, at: DataPath, source: str, scope: Scope) -> Value | None:
        value, template = parse_value(source, scope)
        self._report(at, template)
        return value

    def _value_or_text(self, at: DataPath, source: str, scope: Scope) -> Value | Template:
        value, _ = parse_value(source, scope)
        template = self._text(at, source, scope)
        return template if value is None else value

    def _report(self, at: DataPath, template: Template) -> None:
        for line, what in template.problems:
            self._problems.add(at, what, line)
        for name, line in template.references.stages.items():
            self._known_stage(at, name, line)
        for name, line in template.references.inputs.items():
            if name not in self._draft.inputs:
                what = f"unknown input {name!r}.{suggest(name, self._draft.inputs)}"
                self._problems.add(at, what, line)

    def _known_stage(self, at: DataPath, name: str, line: int) -> None:
        if name not in self._draft.stages:
            what = f"unknown stage {name!r}.{suggest(name, self._draft.stages)}"
            self._problems.add(at, what, line)
