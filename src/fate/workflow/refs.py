"""References to a workflow's values, for the Python builder: in strings they become templates."""

import re
from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

_OUTPUT = re.compile(r"stages\.(\w+)\.output")


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


Text: TypeAlias = str | Ref

#: The element a mapped stage works on, under its default name.
ITEM = Ref("item")


def expr(form: str, *refs: Ref) -> Ref:
    """Return an expression over values: `expr("{} == 'yes' and {} > 2", verdict, score)`."""
    return Ref(form.format(*[ref.expression for ref in refs]))


def stage_name(ref: Text) -> str:
    """Return the name of the stage whose output is meant, or the name itself."""
    if isinstance(ref, str):
        return ref
    match = _OUTPUT.fullmatch(ref.expression)
    return ref.expression if match is None else match.group(1)


class Group:
    """A group under construction: what is added inside its `with` block is its body.

    `result` is the group's output: of a map the list of its items' outputs, of a loop that of its
    last round.
    """

    def __init__(
        self, name: str, opened: Callable[[], None], closed: Callable[[bool], None]
    ) -> None:
        self._opened, self._closed = opened, closed
        self.result = Ref(f"stages.{name}.output")
        self.settings: dict[str, object] = {}

    def output(self, template: Text) -> None:
        """Say what one item or round gives; by default it is the only last stage's output."""
        self.settings["output"] = str(template)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the body."""
        self._closed(kind is None)


class MapGroup(Group, Ref):
    """A map with a body; in strings it is the item."""

    def __init__(
        self, name: str, item: str, opened: Callable[[], None], closed: Callable[[bool], None]
    ) -> None:
        Group.__init__(self, name, opened, closed)
        Ref.__init__(self, item)

    def __enter__(self) -> "MapGroup":
        """Begin the body."""
        self._opened()
        return self


class LoopGroup(Group):
    """A loop: `round` counts from 1, `previous` is the output of the round before."""

    round = Ref("round")
    previous = Ref("previous")

    def until(self, condition: Text) -> None:
        """Say when the loop ends: asked after each round, over the stages of its body."""
        self.settings["until"] = str(condition)

    def __enter__(self) -> "LoopGroup":
        """Begin the body."""
        self._opened()
        return self
