"""Reads workflow files; whatever is wrong with one is reported all at once, with file and line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from fate.workflow.check import check_draft
from fate.workflow.problems import DataPath, FileError, Problems, WorkflowError, suggest
from fate.workflow.program import Block, Draft, block_of
from fate.workflow.source import Document, read_yaml
from fate.workflow.spec import STAGE_MODELS, GroupStage, InputSpec, Stage, WorkflowSpec, stage_tag

SpecT = TypeVar("SpecT", bound=BaseModel)

FORMAT = "fate.workflow/1"
_KINDS = ("llm", "embed", "tool", "group")
_TOOLS = [tag for tag in STAGE_MODELS if tag not in ("llm", "embed", "python", "group")]
#: What stands in for the parts of `map` and `repeat` that cannot be understood.
_REQUIRED: dict[str, dict[str, Any]] = {"map": {"over": "{{ [] }}"}, "repeat": {"max": 1}}
_PLACEHOLDER = {"placeholder": {"kind": "llm", "model": "any", "prompt": "any"}}


def load_workflow(path: str | Path) -> WorkflowSpec:
    """Read and check a workflow file.

    The modules that `python:` stages name are looked for in the file's folder first; none is run.

    Raises:
        FileError: the file cannot be read as a workflow file.
        WorkflowError: every problem in it, one per line.
    """
    document, data = read_document(Path(path), FORMAT, "workflow")
    problems = _first_problems(document)
    _check_top(data, problems)
    draft = _draft(data, Path(path).parent, problems)
    check_draft(draft, problems)
    if problems.lines:
        raise WorkflowError(problems.lines)
    return WorkflowSpec.model_validate(data)


def read_document(path: Path, wanted: str, what: str) -> tuple[Document, dict[str, Any]]:
    """Return a file of a format, which is a `what` file, and its top mapping."""
    document = read_yaml(path, f"{what} file")
    return document, _require_format(document, wanted, what)


def read_checked(
    path: Path, wanted: str, what: str, model: type[SpecT], error: type[FileError]
) -> tuple[SpecT, Problems]:
    """Return a file that a model describes, and what else is wrong with it already.

    Raises:
        FileError: the file cannot be read; where the model refuses it, of the type `error`.
    """
    document, data = read_document(path, wanted, what)
    problems = _first_problems(document)
    try:
        return model.model_validate(data), problems
    except ValidationError as refusal:
        problems.add_validation(refusal, model, ())
        raise error(problems.lines) from None


def _first_problems(document: Document) -> Problems:
    problems = Problems(document)
    for at, what in document.problems:
        problems.add(at, what)
    return problems


def _require_format(document: Document, wanted: str, what: str) -> dict[str, Any]:
    """Return a file's top mapping, or raise when it is empty, no mapping or of another format."""
    data = document.data
    if data is None:
        raise FileError([f"{document.path}:1: the file is empty; start with `format: {wanted}`"])
    if not isinstance(data, dict):
        raise FileError([f"{document.path}:1: a {what} file is a mapping with `format: {wanted}`"])
    found = cast("dict[str, Any]", data)
    if found.get("format") != wanted:
        where = document.where(("format",))
        got = f"got {found['format']!r}" if "format" in found else "there is none"
        raise FileError([f"{where}: a {what} file starts with `format: {wanted}`; {got}"])
    return found


def _mapping(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _check_top(data: dict[str, Any], problems: Problems) -> None:
    """Check everything but the stages, which are checked one by one."""
    if "stages" in data and isinstance(data["stages"], dict) and not data["stages"]:
        problems.add(("stages",), "the workflow is empty: declare at least one stage")
    has_stages = bool(_mapping(data, "stages"))
    if data.get("stages", 0) is None:
        problems.add(("stages",), "the workflow is empty: declare at least one stage")
    replaced = has_stages or not data.get("stages", 1)
    top = {**data, "stages": _PLACEHOLDER} if replaced else data
    try:
        WorkflowSpec.model_validate(top)
    except ValidationError as error:
        problems.add_validation(error, WorkflowSpec, ())


def _draft(data: dict[str, Any], folder: Path, problems: Problems) -> Draft:
    outputs = _mapping(data, "outputs")
    return Draft(
        inputs={name: _input(raw) for name, raw in _mapping(data, "inputs").items()},
        roles=_mapping(data, "roles"),
        block=_block(data, ("stages",), "", problems),
        folder=folder,
        outputs={name: text for name, text in outputs.items() if isinstance(text, str)},
    )


def _input(raw: object) -> InputSpec | None:
    try:
        return InputSpec.model_validate(raw)
    except ValidationError:
        return None  # reported with the top of the file


def _block(data: Mapping[str, Any], at: DataPath, path: str, problems: Problems) -> Block:
    """Check the stages that stand side by side at a place, each on its own."""
    raws = _mapping(data, "stages")
    stages = {name: _stage((*at, name), raw, problems) for name, raw in raws.items()}
    inner = {
        name: _block(raws[name], (*at, name, "stages"), f"{path}{name}.", problems)
        for name, stage in stages.items()
        if isinstance(stage, GroupStage)
    }
    return block_of(stages, at, path, inner)


def _stage(at: DataPath, raw: object, problems: Problems) -> Stage | None:
    name = str(at[-1])
    if not name.isidentifier() or not name.isascii():
        what = f"stage name {name!r}: use letters, digits and _, not starting with a digit"
        problems.add(at, what)
    if not isinstance(raw, dict):
        problems.add(at, f"stage {name!r} must be a mapping with `kind: llm` or `kind: tool`")
        return None
    stage = cast("dict[str, Any]", raw)
    tag = stage_tag(stage)
    if tag not in STAGE_MODELS or (tag not in _KINDS and stage.get("kind") != "tool"):
        key = "tool" if stage.get("kind") == "tool" and "tool" in stage else "kind"
        problems.add((*at, key), _unknown_kind(stage))
        return None
    if tag == "group":
        if "stages" in stage and not _mapping(stage, "stages"):
            problems.add((*at, "stages"), f"group {name!r} is empty: give it at least one stage")
        if "stages" in stage:  # checked one by one
            stage = {**stage, "stages": _PLACEHOLDER}
    try:
        return cast("Stage", STAGE_MODELS[tag].model_validate(stage))
    except ValidationError as error:
        problems.add_validation(error, STAGE_MODELS[tag], at)
        return _salvaged(tag, stage, error)


def _salvaged(tag: str, stage: Mapping[str, Any], error: ValidationError) -> Stage | None:
    """Return a stage without its bad keys, so that the rest of it is checked too."""
    places = [detail["loc"] for detail in error.errors() if detail["loc"]]
    bad = {place[0] for place in places}
    inside = {place[:2] for place in places}
    repaired = {
        key: required
        | {k: value for k, value in _mapping(stage, key).items() if (key, k) not in inside}
        for key, required in _REQUIRED.items()
        if key in bad
    }
    try:
        rest = {key: value for key, value in stage.items() if key not in bad}
        return cast("Stage", STAGE_MODELS[tag].model_validate(rest | repaired))
    except ValidationError:
        return None


def _unknown_kind(stage: Mapping[str, Any]) -> str:
    kind = stage.get("kind")
    if kind is None:
        return "the key 'kind' is missing: write `kind: llm` or `kind: tool`"
    if kind != "tool":
        return f"unknown kind {kind!r}.{suggest(str(kind), _KINDS)}"
    if "tool" not in stage:
        return f"name the tool: `tool:` one of {', '.join(_TOOLS)}, or `python: module:function`"
    return f"unknown tool {stage['tool']!r}.{suggest(str(stage['tool']), _TOOLS)}"
