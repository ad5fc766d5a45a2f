"""Parses every template of a workflow; reports what does not make sense on the way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fate.workflow.problems import DataPath, NamedLocator, Problems, WorkflowError, suggest
from fate.workflow.program import (
    Argument,
    Block,
    Constant,
    Draft,
    Program,
    StageProgram,
    draft_of,
    produces,
    topological,
)
from fate.workflow.spec import (
    EmbedStage,
    GroupStage,
    JoinTool,
    JsonTool,
    LlmStage,
    ModelStage,
    NearestTool,
    PythonTool,
    SelectTool,
    SplitTool,
    Stage,
    WorkflowSpec,
)
from fate.workflow.template import (
    LOOP_NAMES,
    InputPiece,
    OutputPiece,
    Piece,
    References,
    Template,
    Value,
    Visible,
    parse,
    parse_value,
)

#: Names that an item must not take.
_RESERVED = LOOP_NAMES | {"inputs", "stages", "range", "loop", "self", "none", "true", "false"}


def compile_workflow(spec: WorkflowSpec, folder: Path | None = None) -> Program:
    """Return the program of a valid workflow; a `WorkflowError` lists all that is wrong.

    Own code is looked for in `folder`, by default the working folder.
    """
    problems = Problems(NamedLocator(spec.name))
    compiler = Compiler(draft_of(spec), problems)
    stages = compiler.stages()
    outputs = compiler.outputs(stages)
    if problems.lines:
        raise WorkflowError(problems.lines)
    keeps = frozenset(name for output in outputs.values() for name in output.references.stages)
    return Program(
        spec=spec,
        stages=topological(stages),
        outputs=outputs,
        keeps=keeps,
        folder=folder or Path(),
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """What a block's stages can refer to: the block's own stages and those around it."""

    stages: Mapping[str, Stage | None]
    visible: Visible

    def inside(self, group: GroupStage, block: Block) -> "Scope":
        """Return the scope of a group's stages."""
        items = self.visible.items | frozenset({group.map.item} if group.map else set[str]())
        in_loop = self.visible.in_loop or group.repeat is not None
        mapped = self.visible.mapped | _mapped(block.stages)
        return Scope({**self.stages, **block.stages}, Visible(items, in_loop, mapped))


class Compiler:
    """Makes programs out of a draft's stages."""

    def __init__(self, draft: Draft, problems: Problems) -> None:
        self._draft, self._problems = draft, problems
        self._hidden = dict(_hidden(draft.block))
        top = draft.block.stages
        self._top = Scope(top, Visible(mapped=_mapped(top)))

    def stages(self) -> dict[str, StageProgram]:
        """Return the program of every stage that is understood, in the order written."""
        return self._block(self._draft.block, self._top)

    def outputs(self, stages: Mapping[str, StageProgram]) -> dict[str, Value | Template]:
        """Return the declared outputs, or one for every stage that no other stage uses."""
        if not self._draft.outputs:
            return {
                name: self._value_or_text(("outputs",), output_of(name), self._top)
                for name in sinks(stages)
            }
        return {
            name: self._value_or_text(("outputs", name), source, self._top)
            for name, source in self._draft.outputs.items()
        }

    def _block(self, block: Block, scope: Scope) -> dict[str, StageProgram]:
        return {
            name: self._stage(block, name, stage, scope)
            for name, stage in block.stages.items()
            if stage is not None
        }

    def _stage(self, block: Block, name: str, stage: Stage, scope: Scope) -> StageProgram:
        at: DataPath = (*block.at, name)
        references = References()
        over = self._over((*at, "map", "over"), stage, scope, references) if stage.map else None
        when = self._condition((*at, "when"), stage.when, scope, references)
        for index, parent in enumerate(stage.after):
            self._known_stage((*at, "after", index), parent, 0, scope)
            references.stages.setdefault(parent, 0)
        program = StageProgram(
            name=name,
            path=f"{block.path}{name}",
            spec=stage,
            parents=(),
            produces=produces(stage),
            references=references,
            over=over,
            when=when,
        )
        if isinstance(stage, GroupStage):
            program = self._group(at, program, stage, block, scope)
        elif isinstance(stage, ModelStage):
            program = self._call(at, program, stage, _with_item(scope, stage))
        else:
            program = self._tool(at, program, stage, _with_item(scope, stage))
        return replace(program, parents=tuple(n for n in block.stages if n in references.stages))

    def _call(
        self, at: DataPath, program: StageProgram, stage: ModelStage, scope: Scope
    ) -> StageProgram:
        self._role(at, stage)
        if isinstance(stage, EmbedStage):
            text = self._text((*at, "text"), stage.text, scope)
            program.references.merge(text.references)
            return replace(program, prompt=text.pieces)
        assert isinstance(stage, LlmStage)
        system = self._text((*at, "system"), stage.system, scope)
        prompt = self._text((*at, "prompt"), stage.prompt, scope)
        program.references.merge(system.references)
        program.references.merge(prompt.references)
        return replace(program, system=system.pieces, prompt=prompt.pieces)

    def _tool(
        self, at: DataPath, program: StageProgram, stage: Stage, scope: Scope
    ) -> StageProgram:
        arguments = self._arguments(at, stage, scope)
        for argument in arguments.values():
            if not isinstance(argument, Constant):
                program.references.merge(argument.references)
        return replace(program, arguments=arguments)

    def _group(
        self, at: DataPath, program: StageProgram, stage: GroupStage, around: Block, scope: Scope
    ) -> StageProgram:
        block = around.inner.get(program.name)
        if block is None:
            return program
        inside = scope.inside(stage, block)
        body = self._block(block, inside)
        source = stage.output or next((output_of(name) for name in sinks(body)), "")
        output = self._value_or_text((*at, "output"), source, inside)
        read, until = References(), None
        if stage.repeat is not None:
            until = self._condition((*at, "repeat", "until"), stage.repeat.until, inside, read)
        read.merge(output.references)
        mentioned = [read, *(_beyond_item(each) for each in body.values())]
        self._merge_outer(program.references, mentioned, stage, block)
        return replace(
            program,
            until=until,
            output=output,
            body=topological(body),
            keeps=frozenset(block.stages) & frozenset(read.stages),
        )

    def _merge_outer(
        self, own: References, found: list[References], stage: GroupStage, block: Block
    ) -> None:
        """Add what a group's stages mention, except for what the group itself offers them."""
        offered = {stage.map.item} if stage.map else set[str]()
        if stage.repeat is not None:
            offered |= LOOP_NAMES
        outer = References()
        for each in found:
            outer.merge(each)
        for name in block.stages:
            outer.stages.pop(name, None)
        for name in offered:
            outer.names.pop(name, None)
        own.merge(outer)

    def _role(self, at: DataPath, stage: ModelStage) -> None:
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
        if isinstance(stage, NearestTool):
            sources = {"query": stage.query, "among": stage.among, "of": stage.of}
            return {
                key: self._value((*at, key), source, scope) or Constant(None)
                for key, source in sources.items()
            }
        return {}

    def _over(
        self, at: DataPath, stage: Stage, scope: Scope, references: References
    ) -> Value | None:
        assert stage.map is not None
        if stage.map.item in _RESERVED:
            self._problems.add((*at[:-1], "item"), f"{stage.map.item!r} has another meaning")
        if stage.map.item in scope.visible.items:
            what = (
                f"{stage.map.item!r} is the item of a group around this already: give it another "
                "name"
            )
            self._problems.add((*at[:-1], "item"), what)
        value = self._value(at, stage.map.over, scope)
        if value is not None:
            references.merge(value.references)
            if (what := self._not_a_list(value.bare, scope)) is not None:
                self._problems.add(at, what)
        return value

    def _not_a_list(self, piece: Piece, scope: Scope) -> str | None:
        """Return why a bare reference cannot be mapped over; None where it can, or may."""
        if isinstance(piece, OutputPiece) and piece.stage not in scope.visible.mapped:
            stage = scope.stages.get(piece.stage)
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

    def _condition(
        self, at: DataPath, source: str, scope: Scope, references: References
    ) -> Value | None:
        if not source:
            return None
        value = self._value(at, source, scope)
        if value is not None:
            references.merge(value.references)
            found = value.references
            if not found.inputs and not found.stages and not found.names:
                key = at[-1]
                self._problems.add(at, f"{key} is always the same: it mentions nothing")
        return value

    def _text(self, at: DataPath, source: str, scope: Scope) -> Template:
        template = parse(source, scope.visible)
        self._report(at, template, scope)
        return template

    def _value(self, at: DataPath, source: str, scope: Scope) -> Value | None:
        value, template = parse_value(source, scope.visible)
        self._report(at, template, scope)
        return value

    def _value_or_text(self, at: DataPath, source: str, scope: Scope) -> Value | Template:
        value, _ = parse_value(source, scope.visible)
        template = self._text(at, source, scope)
        return template if value is None else value

    def _report(self, at: DataPath, template: Template, scope: Scope) -> None:
        for line, what in template.problems:
            self._problems.add(at, what, line)
        for name, line in template.references.stages.items():
            self._known_stage(at, name, line, scope)
        for name, line in template.references.inputs.items():
            if name not in self._draft.inputs:
                what = f"unknown input {name!r}.{suggest(name, self._draft.inputs)}"
                self._problems.add(at, what, line)

    def _known_stage(self, at: DataPath, name: str, line: int, scope: Scope) -> None:
        if name in scope.stages:
            return
        what = f"unknown stage {name!r}.{suggest(name, scope.stages)}"
        if name in self._hidden:
            group = self._hidden[name]
            what = (
                f"stage {name!r} is known inside group {group!r} only; "
                f"what leaves it is `stages.{group}.output`"
            )
        self._problems.add(at, what, line)


def output_of(name: str) -> str:
    """Return the template for a stage's output."""
    return f"{{{{ stages.{name}.output }}}}"


def sinks(stages: Mapping[str, StageProgram]) -> list[str]:
    """Return the stages that no other stage uses."""
    used = {parent for stage in stages.values() for parent in stage.parents}
    return [name for name in stages if name not in used]


def _mapped(stages: Mapping[str, Stage | None]) -> frozenset[str]:
    return frozenset(name for name, stage in stages.items() if stage is not None and stage.map)


def _beyond_item(stage: StageProgram) -> References:
    """Return what a stage mentions, its own item aside."""
    found = References()
    found.merge(stage.references)
    if stage.spec.map:
        found.names.pop(stage.spec.map.item, None)
    return found


def _with_item(scope: Scope, stage: Stage) -> Scope:
    if not stage.map:
        return scope
    visible = replace(scope.visible, items=scope.visible.items | {stage.map.item})
    return Scope(scope.stages, visible)


def _hidden(block: Block) -> Iterator[tuple[str, str]]:
    """Yield (stage, its group) of everything inside groups."""
    for group, inner in block.inner.items():
        if inner.at != block.at:
            yield from ((name, group) for name in inner.stages)
            yield from _hidden(inner)
