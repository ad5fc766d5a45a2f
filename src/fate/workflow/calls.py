"""A decorated function as a `python:` stage: where it is found, and whether arguments fit it."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fate.workflow.decorator import OPTIONS, ToolOptions
from fate.workflow.refs import Ref


def stage_of(function: Callable[..., Any], arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the keys of a stage that calls a function.

    Raises:
        ValueError: it is no tool, cannot be imported by another process, or does not take these
            arguments.
    """
    name = getattr(function, "__name__", repr(function))
    options = getattr(function, OPTIONS, None)
    if not isinstance(options, ToolOptions):
        raise ValueError(f"{name} is no tool: put `@fate.tool` above it")
    if getattr(function, "__qualname__", name) != name or name == "<lambda>":
        raise ValueError(f"{name}: a tool stands at the top level of a module, not inside another")
    module, folder = _home(function.__module__, name)
    _check(function, name, arguments)
    given = {key: value for key, value in asdict(options).items() if value is not None}
    return {
        "kind": "tool",
        "python": f"{module}:{name}",
        "folder": str(folder),
        "args": dict(arguments),
        **given,
    }


def _home(module: str, name: str) -> tuple[str, Path]:
    """Return a module's name for other processes, and the folder it is found in."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise ValueError(f"{name}: its module is no file, so that no other process can import it")
    path = Path(file).resolve()
    if module == "__main__":
        return path.stem, path.parent
    steps = module.count(".") + (path.name == "__init__.py")
    return module, path.parents[steps]


def _check(function: Callable[..., Any], name: str, arguments: Mapping[str, object]) -> None:
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
    hints = get_type_hints(function)
    for key, value in arguments.items():
        if key not in hints or isinstance(value, str | Ref):
            continue  # templates have their values later
        try:
            TypeAdapter(hints[key]).validate_python(value, strict=True)
        except ValidationError as error:
            what = error.errors(include_url=False)[0]["msg"]
            raise ValueError(f"{name}: argument {key!r}: {what}") from None
