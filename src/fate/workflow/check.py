"""Checks of a workflow as a whole: cycles, reachability, and what single stages may not say."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from fate.workflow.compile import Compiler, sinks
from fate.workflow.own_code import ToolError, check_arguments, check_target
from fate.workflow.problems import DataPath, Problems
from fate.workflow.program import Block, Draft, StageProgram
from fate.workflow.spec import GroupStage, LlmStage, PythonTool, SelectTool, SplitTool, Stage
from fate.workflow.template import LOOP_NAMES

#: Groups, loops and maps may stand inside each other to this depth.
MAX_DEPTH = 2


def check_draft(draft: Draft, problems: Problems) -> None:
    """Report everything wrong with a workflow's stages, templates and edges."""
    _check_stages(draft.block, frozenset(), 0, problems)
    _check_own_code(draft.block, draft.folder, problems)
    compiler = Compiler(draft, problems)
    stages = compiler.stages()
    outputs = compiler.outputs(stages)
    if draft.outputs:
        needed = [name for output in outputs.values() for name in output.references.stages]
        _check_reachable(draft.block, stages, needed, problems)
    _check_programs(draft.block, stages, problems)


def _check_stages(block: Block, around: frozenset[str], depth: int, problems: Problems) -> None:
    """Check each stage of a block, and of the blocks in it, on its own."""
    for name, stage in block.stages.items():
        if stage is None:
            continue
        at = (*block.at, name)
        inner = block.inner.get(name)
        if name in around:
            what = f"{name!r} is the name of a stage around this one already: give it another"
            problems.add(at, what)
        if (inner is not None or stage.map is not None) and depth == MAX_DEPTH:
            what = f"groups, loops and maps nest to depth {MAX_DEPTH}: {name!r} is one too deep"
            problems.add(at, what)
        _check_shared(at, stage, problems)
        _check_stage(at, stage, problems)
        if inner is None:
            continue
        if inner.at == block.at:  # a loop of one stage
            once = inner.stages[name]
            if once is not None:
                _check_round(at, once, problems)
        elif depth < MAX_DEPTH:
            _check_stages(inner, around | frozenset(block.stages), depth + 1, problems)


def _check_round(at: DataPath, stage: Stage, problems: Problems) -> None:
    if stage.map is not None:
        what = "map and repeat exclude each other: put the repeated stage in a group with `map:`"
        problems.add((*at, "repeat"), what)
    _check_stage(at, stage, problems)


def _check_programs(
    block: Block, stages: Mapping[str, StageProgram], problems: Problems, *, in_loop: bool = False
) -> None:
    """Check how the stages of a block, and of the blocks in it, depend on each other."""
    _check_cycles(block, stages, problems, in_loop=in_loop)
    for name, stage in stages.items():
        at = (*block.at, name)
        join = stage.spec.join
        if isinstance(join, int) and join > len(stage.parents):
            what = f"join {join}: the stage depends on {len(stage.parents)} only"
            problems.add((*at, "join"), what)
        elif join == "any" and not stage.parents:
            problems.add((*at, "join"), "join any: the stage depends on no other stage")
        inner = block.inner.get(name)
        if inner is not None:
            _check_group(at, stage, inner, problems)
            _check_programs(inner, stage.body, problems, in_loop=stage.loop)


def _check_group(at: DataPath, group: StageProgram, inner: Block, problems: Problems) -> None:
    spec = group.spec
    last = sinks(group.body)
    declared = isinstance(spec, GroupStage) and bool(spec.output)
    if not declared and len(last) > 1:
        what = (
            f"the group has {len(last)} last stages ({', '.join(last)}): say with `output:` what "
            "it gives"
        )
        problems.add(at, what)
    elif declared:
        _check_reachable(inner, group.body, group.keeps, problems)
    if group.until is not None and spec.repeat is not None:
        found = group.until.references
        if not (LOOP_NAMES & found.names.keys() or group.body.keys() & found.stages.keys()):
            what = (
                "until never changes from round to round: mention a stage of the loop, `round` or "
                "`previous`"
            )
            problems.add((*at, "repeat", "until"), what)


def _check_cycles(
    block: Block, stages: Mapping[str, StageProgram], problems: Problems, *, in_loop: bool
) -> None:
    done: set[str] = set()
    for start in stages:
        if (cycle := _find_cycle(start, stages, done)) is not None:
            names = " -> ".join(cycle)
            hint = "; `previous` is the output of the round before" if in_loop else ""
            what = f"the stages wait for each other: {names}{hint}"
            problems.add((*block.at, cycle[0]), what)


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
    block: Block,
    stages: Mapping[str, StageProgram],
    outputs: Iterable[str],
    problems: Problems,
) -> None:
    needed: set[str] = set()
    open_ = list(outputs)
    while open_:
        name = open_.pop()
        if name in needed or name not in stages:
            continue
        needed.add(name)
        open_.extend(stages[name].parents)
    for name in stages:
        if name not in needed:
            what = f"no output depends on stage {name!r}: use it, name it in `outputs:`, or drop it"
            if block.path:
                what = f"the group's output does not depend on stage {name!r}: use it, or drop it"
            problems.add((*block.at, name), what)


def _check_shared(at: DataPath, stage: Stage, problems: Problems) -> None:
    """Check what all kinds of stages may say."""
    given = stage.model_fields_set
    if stage.map is not None and stage.map.truncate and stage.map.max_items is None:
        problems.add((*at, "map", "truncate"), "truncate needs `max_items`, the length to cut at")
    repeat = stage.repeat
    if repeat is not None and repeat.expect is not None and repeat.expect > repeat.max:
        what = f"expect {repeat.expect:g} is more than max {repeat.max}"
        problems.add((*at, "repeat", "expect"), what)
    if stage.probability is not None and not stage.when:
        problems.add((*at, "probability"), "probability says how likely `when` holds: add `when:`")
    if stage.on_error == "default" and "default" not in given:
        what = "on_error default needs `default:`, the output to go on with"
        problems.add((*at, "on_error"), what)
    if stage.on_error != "default" and "default" in given and stage.default is not None:
        problems.add((*at, "default"), "default is used with `on_error: default` only")


def _check_stage(at: DataPath, stage: Stage, problems: Problems) -> None:
    if isinstance(stage, LlmStage):
        _check_schema(at, stage, problems)
        _check_default(at, stage, problems)
    elif isinstance(stage, SplitTool) and stage.overlap >= stage.size:
        what = f"overlap {stage.overlap} must be smaller than size {stage.size}"
        problems.add((*at, "overlap"), what)
    elif isinstance(stage, SelectTool):
        ways = ("index", "slice", "key", "first")
        given = [way for way in ways if getattr(stage, way) is not None]
        if len(given) != 1:
            problems.add(at, f"give exactly one of {', '.join(ways)}; got {len(given)}")
    elif isinstance(stage, GroupStage) and (stage.map is None) == (stage.repeat is None):
        what = "a group has either `map:`, one run for each item, or `repeat:`, one for each round"
        problems.add(at, what)


def _check_default(at: DataPath, stage: LlmStage, problems: Problems) -> None:
    if stage.on_error != "default" or stage.answer_schema is None:
        return
    import jsonschema  # slow to import, and most workflows have no schemas

    try:
        cls = jsonschema.Draft202012Validator
        jsonschema.validate(stage.default, stage.answer_schema, cls=cls)
    except jsonschema.ValidationError as error:
        problems.add((*at, "default"), f"default violates the schema: {error.message[:200]}")
    except jsonschema.SchemaError:
        return  # reported already


def _check_schema(at: DataPath, stage: LlmStage, problems: Problems) -> None:
    if stage.answer_schema is None:
        return
    import jsonschema  # see above

    try:
        jsonschema.Draft202012Validator.check_schema(stage.answer_schema)
    except jsonschema.SchemaError as error:
        place = "/".join(str(step) for step in error.absolute_path)
        what = f"not a JSON Schema: {error.message}{f' (at {place})' if place else ''}"
        problems.add((*at, "schema"), what)
    if stage.exact_tokens:
        what = "exact_tokens and schema exclude each other: JSON ends where it ends"
        problems.add((*at, "exact_tokens"), what)


def _check_own_code(block: Block, folder: Path, problems: Problems) -> None:
    """Check that the functions a block names are there, those inside its groups too."""
    for name, stage in block.stages.items():
        if isinstance(stage, PythonTool):
            _check_function((*block.at, name), stage, folder / stage.folder, problems)
    for inner in block.inner.values():
        _check_own_code(inner, folder, problems)


def _check_function(at: DataPath, stage: PythonTool, folder: Path, problems: Problems) -> None:
    try:
        check_target(stage.python, folder)
    except ToolError as error:
        problems.add((*at, "python"), str(error))
        return
    try:
        check_arguments(stage.python, folder, list(stage.args))
    except ToolError as error:
        problems.add((*at, "args"), str(error))
