"""Checks of a workflow as a whole: cycles, reachability, and what single stages may not say."""

import inspect
from collections.abc import Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from fate.workflow.problems import DataPath, Problems
from fate.workflow.program import Compiler, Draft, StageProgram
from fate.workflow.spec import LlmStage, PythonTool, SelectTool, SplitTool, Stage
from fate.workflow.template import Template, Value
from fate.workflow.tools import ToolError, import_function


def check_draft(draft: Draft, problems: Problems) -> None:
    """Report everything wrong with a workflow's stages, templates and edges."""
    for name, stage in draft.stages.items():
        if stage is not None:
            _check_stage(("stages", name), stage, problems)
    compiler = Compiler(draft, problems)
    stages = compiler.stages()
    outputs = compiler.outputs(stages)
    _check_cycles(stages, problems)
    if draft.outputs:
        _check_reachable(stages, outputs, problems)


def _check_cycles(stages: Mapping[str, StageProgram], problems: Problems) -> None:
    done: set[str] = set()
    for start in stages:
        if (cycle := _find_cycle(start, stages, done)) is not None:
            names = " -> ".join(cycle)
            problems.add(("stages", cycle[0]), f"the stages wait for each other: {names}")


def _find_cycle(start: str, stages: Mapping[str, StageProgram], done: set[str]) -> list[str] | None:
    """Walk the stages that follow from `start`; `done` grows by all that was visited."""
    if start in done:
        return None
    trail: list[str] = []
    stack: list[tuple[str, bool]] = [(start, False)]
    while stack:
        name, leaving = stack.pop()
        if leaving:
            trail.pop()
            done.add(name)
            continue
        if name in trail:
            done.update(trail)
            # edges were followed from child to parent; people read them the other way
            return [*trail[trail.index(name) :], name][::-1]
        if name in done or name not in stages:
            continue
        trail.append(name)
        stack.append((name, True))
        stack.extend((parent, False) for parent in reversed(stages[name].parents))
    return None


def _check_reachable(
    stages: Mapping[str, StageProgram],
    outputs: Mapping[str, Value | Template],
    problems: Problems,
) -> None:
    needed: set[str] = set()
    open_ = [name for output in outputs.values() for name in output.references.stages]
    while open_:
        name = open_.pop()
        if name in needed or name not in stages:
            continue
        needed.add(name)
        open_.extend(stages[name].parents)
    for name in stages:
        if name not in needed:
            what = f"no output depends on stage {name!r}: use it, name it in `outputs:`, or drop it"
            problems.add(("stages", name), what)


def _check_stage(at: DataPath, stage: Stage, problems: Problems) -> None:
    if isinstance(stage, LlmStage):
        _check_schema(at, stage, problems)
    elif isinstance(stage, SplitTool) and stage.overlap >= stage.size:
        what = f"overlap {stage.overlap} must be smaller than size {stage.size}"
        problems.add((*at, "overlap"), what)
    elif isinstance(stage, SelectTool):
        ways = ("index", "slice", "key", "first")
        given = [way for way in ways if getattr(stage, way) is not None]
        if len(given) != 1:
            problems.add(at, f"give exactly one of {', '.join(ways)}; got {len(given)}")
    elif isinstance(stage, PythonTool):
        _check_function(at, stage, problems)


def _check_schema(at: DataPath, stage: LlmStage, problems: Problems) -> None:
    if stage.answer_schema is None:
        return
    try:
        Draft202012Validator.check_schema(stage.answer_schema)
    except SchemaError as error:
        place = "/".join(str(step) for step in error.absolute_path)
        what = f"not a JSON Schema: {error.message}{f' (at {place})' if place else ''}"
        problems.add((*at, "schema"), what)
    if stage.exact_tokens:
        what = "exact_tokens and schema exclude each other: JSON ends where it ends"
        problems.add((*at, "exact_tokens"), what)


def _check_function(at: DataPath, stage: PythonTool, problems: Problems) -> None:
    try:
        function = import_function(stage.python)
    except ToolError as error:
        problems.add((*at, "python"), str(error))
        return
    try:
        inspect.signature(function).bind(**stage.args)
    except TypeError as error:
        problems.add((*at, "args"), f"{stage.python}: {error}")
    except ValueError:
        return  # a builtin without a signature
