"""Own code in a workflow, `module:function`: what a call of it is, and whether it can be made.

Nothing here runs own code. Whether a module and a function exist, and which arguments the function
takes, is read from the source.
"""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from fate.domain.errors import FateError
from fate.workflow.problems import suggest

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class ToolError(FateError):
    """A tool failed. `retryable` tells whether another attempt is allowed and may do better."""

    code = "tool"

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        self.retryable = retryable
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCall:
    """One call of own code, for one item of a stage.

    `target` is `module:function`, `folder` where the module is looked for first. The limits are
    seconds for the call, bytes of private memory of the process, bytes of the result as JSON.
    """

    stage: str
    target: str
    folder: Path
    arguments: Mapping[str, Any]
    pure: bool
    timeout_s: float
    memory_bytes: int
    max_output_bytes: int

    @property
    def module(self) -> str:
        """The module's name."""
        return self.target.partition(":")[0]

    @property
    def function(self) -> str:
        """The function's name."""
        return self.target.partition(":")[2]


def search_path(folder: Path) -> list[str]:
    """Return where modules of own code are looked for: their folder, then as this process does."""
    return [str(folder.resolve()), *[str(Path(each).resolve()) for each in sys.path]]


def check_target(target: str, folder: Path) -> None:
    """Raise a `ToolError` when there is no such module or no such function in it."""
    _bound(target, folder)


def check_arguments(target: str, folder: Path, names: Sequence[str]) -> None:
    """Raise a `ToolError` when the function cannot be called with arguments of these names.

    A function whose definition is not plain to see is not checked.
    """
    found = _bound(target, folder)
    if found is None or any(_changes_arguments(each) for each in found.decorator_list):
        return
    own = found.args
    plain, positional = [each.arg for each in own.args], [each.arg for each in own.posonlyargs]
    required = [*positional, *plain][: len(positional) + len(plain) - len(own.defaults)]
    required += [
        each.arg
        for each, default in zip(own.kwonlyargs, own.kw_defaults, strict=True)
        if default is None
    ]
    accepted = [*plain, *[each.arg for each in own.kwonlyargs]]
    for name in required:
        if name in positional:
            raise ToolError(f"{target}: {name!r} can only be given by position")
        if name not in names:
            raise ToolError(f"{target}: missing a required argument: {name!r}")
    for name in names:
        if name not in accepted and own.kwarg is None:
            raise ToolError(f"{target}: unexpected argument {name!r}.{suggest(name, accepted)}")


def _changes_arguments(decorator: ast.expr) -> bool:
    """Whether a decorator may change what the function takes; `fate.tool` does not."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name != "tool"


def _bound(target: str, folder: Path) -> _Function | None:
    """Return the definition of a function; None where it is there but cannot be read."""
    module, _, name = target.partition(":")
    spec = _find(module, folder)
    if spec is None:
        raise ToolError(
            f"cannot import {module!r}: there is no such module in {folder.resolve()} or on the "
            "Python path"
        )
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(spec.origin).read_bytes(), spec.origin)
    except (OSError, SyntaxError, ValueError) as error:
        reason = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else error
        raise ToolError(f"cannot import {module!r}: {spec.origin}: {reason}") from None
    names = dict(_bindings(tree.body))
    if name not in names and not names.keys() & {"*", "__getattr__"}:
        functions = [key for key, node in names.items() if node is not None]
        raise ToolError(f"module {module!r} has no function {name!r}.{suggest(name, functions)}")
    return names.get(name)


def _find(module: str, folder: Path) -> ModuleSpec | None:
    """Find a module without importing the packages it is in."""
    if module in sys.builtin_module_names:
        return ModuleSpec(module, None)
    path: Sequence[str] | None = search_path(folder)
    spec: ModuleSpec | None = None
    trail = ""
    for part in module.split("."):
        trail = f"{trail}.{part}" if trail else part
        if path is None:
            return None
        spec = PathFinder.find_spec(trail, path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _bindings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, _Function | None]]:
    """Yield every name that statements of a module bind, with the function where it is one."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, node
            case ast.ClassDef():
                yield node.name, None
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    yield (alias.asname or alias.name.partition(".")[0]), None
            case ast.Assign(targets=targets):
                yield from _assigned(targets)
            case ast.AnnAssign(target=target):
                yield from _assigned([target])
            case ast.If() | ast.Try() | ast.With() | ast.For() | ast.While():
                blocks = [getattr(node, field, []) for field in ("body", "orelse", "finalbody")]
                blocks += [handler.body for handler in getattr(node, "handlers", [])]
                for block in blocks:
                    yield from _bindings(block)
            case _:
                continue


def _assigned(targets: Sequence[ast.expr]) -> Iterator[tuple[str, None]]:
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id, None
