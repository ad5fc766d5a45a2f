"""What a user gives to a workflow: checked against its inputs, files read, defaults filled in."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fate.workflow.problems import FileError, WorkflowError, suggest
from fate.workflow.source import read_text
from fate.workflow.spec import InputSpec, Json, WorkflowSpec

#: A document of this size fits no model's context many times over [B].
MAX_INPUT_BYTES = 64 * 2**20


def parse_assignments(spec: WorkflowSpec, assignments: Iterable[str]) -> dict[str, Any]:
    """Return the values of `name=value` and `name=@file` arguments, not yet checked as a whole.

    For JSON inputs value and file hold JSON; for file inputs the value is a path.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, raw = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise WorkflowError([f"input {assignment!r}: write it as name=value or name=@file"])
        if name in values:
            raise WorkflowError([f"input {name!r} is given twice"])
        _known(spec, name)
        values[name] = _parsed(name, spec.inputs[name], raw)
    return values


def bind_inputs(
    spec: WorkflowSpec, given: Mapping[str, Any], folder: Path | None = None
) -> dict[str, Any]:
    """Return a value for every input: what is given, else the default; reads file inputs.

    Paths in defaults are relative to `folder`, that of the workflow file; paths that are given
    are relative to the working directory.

    Raises:
        WorkflowError: all that is missing, unknown or of the wrong kind.
    """
    problems = [
        f"unknown input {name!r}.{suggest(name, spec.inputs)}"
        for name in given
        if name not in spec.inputs
    ]
    values: dict[str, Any] = {}
    for name, declared in spec.inputs.items():
        if name not in given and declared.required:
            about = f" ({declared.description})" if declared.description else ""
            hint = "PATH" if declared.kind == "file" else "VALUE or @FILE"
            problems.append(f"input {name!r}{about} is missing; give {name}={hint}")
            continue
        raw = given.get(name, declared.default)
        base = Path() if name in given else (folder or Path())
        try:
            values[name] = _value(name, declared, raw, base)
        except FileError as error:
            problems.extend(error.problems)
    if problems:
        raise WorkflowError(f"workflow {spec.name!r}: {problem}" for problem in problems)
    return values


def _known(spec: WorkflowSpec, name: str) -> None:
    if name not in spec.inputs:
        hint = suggest(name, spec.inputs) or " The workflow has no inputs."
        raise WorkflowError([f"unknown input {name!r}.{hint}"])


def _parsed(name: str, declared: InputSpec, raw: str) -> Json:
    is_file = raw.startswith("@")
    if declared.kind == "file":
        return raw.removeprefix("@")
    text = read_text(Path(raw[1:]), f"file of input {name!r}", MAX_INPUT_BYTES) if is_file else raw
    if declared.kind == "text":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        source = raw[1:] if is_file else "the value"
        raise WorkflowError([f"input {name!r}: {source} is not JSON: {error}"]) from None


def _value(name: str, declared: InputSpec, raw: Json, base: Path) -> Json:
    if declared.kind == "json":
        return raw
    if not isinstance(raw, str):
        what = "a path" if declared.kind == "file" else "text"
        raise WorkflowError([f"input {name!r} must be {what}, got {type(raw).__name__}"])
    if declared.kind == "text":
        return raw
    return read_text(base / raw, f"file of input {name!r}", MAX_INPUT_BYTES)
