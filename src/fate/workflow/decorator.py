"""`@fate.tool`: a function of one's own as a stage. Imports nothing, since tool processes do it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])

#: The attribute in which a decorated function has its options.
OPTIONS = "__fate_tool__"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOptions:
    """The keys of a `python:` stage that a function brings along; None where it does not say."""

    pure: bool = False
    timeout_s: float | None = None
    memory: int | str | None = None
    max_output_bytes: int | None = None


@overload
def tool(function: _FunctionT, /) -> _FunctionT: ...


@overload
def tool(
    *,
    pure: bool = False,
    timeout_s: float | None = None,
    memory: int | str | None = None,
    max_output_bytes: int | None = None,
) -> Callable[[_FunctionT], _FunctionT]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Mark a function as a tool, for `Workflow.call`; it stays the function it is.

    The function runs in a process of its own, which imports its module: it must stand at the top
    level of a file. Arguments and result are what JSON can hold.

    Args:
        function: the function, when the decorator stands without parentheses.
        **options: `pure`, running it twice does no harm; `timeout_s`, longest time of a call [s];
            `memory`, private memory of its process, as `"256MiB"`; `max_output_bytes`.
    """
    given = ToolOptions(**options)

    def mark(marked: Callable[..., Any]) -> Callable[..., Any]:
        setattr(marked, OPTIONS, given)
        return marked

    return mark if function is None else mark(function)
