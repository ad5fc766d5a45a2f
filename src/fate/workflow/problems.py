"""Problems in a user's file: collected, located, reported all at once."""

import difflib
from collections.abc import Iterable
from typing import Protocol, TypeAlias, get_args

from pydantic import BaseModel, ValidationError

from fate.domain.errors import FateError

#: Where in a file's data something stands: `("stages", "notes", "prompt")`.
DataPath: TypeAlias = tuple[str | int, ...]


class FileError(FateError):
    """A user's file is wrong or cannot be read; `problems` holds one line for each mistake."""

    code = "bad-file"

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class WorkflowError(FileError):
    """A workflow file or its inputs are wrong."""

    code = "bad-workflow"


class Locator(Protocol):
    """Turns a place in the data into what a user can find."""

    def where(self, at: DataPath, line: int = 0) -> str:
        """Return `file:line`; `line` > 0 is a line within the text that stands there."""
        ...

    def line(self, at: DataPath, line: int = 0) -> int:
        """Return the line of a place in its file, 0 where there is no file."""
        ...


class NamedLocator:
    """Places in a workflow that was built, not read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def where(self, at: DataPath, line: int = 0) -> str:
        """Return `workflow 'brief', stages.notes.prompt`."""
        place = ".".join(str(step) for step in at)
        suffix = f" line {line}" if line > 1 else ""
        return f"workflow {self._name!r}, {place}{suffix}" if place else f"workflow {self._name!r}"

    def line(self, at: DataPath, line: int = 0) -> int:
        """Return 0: there is no file."""
        return 0


class Problems:
    """A list of problems under construction, none of them twice."""

    def __init__(self, locator: Locator) -> None:
        self._locator = locator
        self._found: dict[str, int] = {}

    @property
    def lines(self) -> list[str]:
        """All problems in the order of their lines, on one line in the order of discovery."""
        return sorted(self._found, key=self._found.__getitem__)

    def add(self, at: DataPath, what: str, line: int = 0) -> None:
        """Record what is wrong at a place and how to mend it."""
        text = f"{self._locator.where(at, line)}: {what}"
        self._found.setdefault(text, self._locator.line(at, line))

    def add_validation(self, error: ValidationError, model: type[BaseModel], at: DataPath) -> None:
        """Record every mistake pydantic found in the data at a place."""
        for detail in error.errors(include_url=False):
            loc = tuple(step for step in detail["loc"] if not _is_union_tag(step))
            what = _describe(detail["type"], detail["msg"], loc, model, detail["input"])
            self.add((*at, *loc), what)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?`, or the known names where none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    if not names:
        return ""
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f" Known: {listed}."


def _is_union_tag(step: str | int) -> bool:
    # pydantic names union members and key checks in its locations; users know neither
    return isinstance(step, str) and step in {"[key]", "function-after", "llm", "tuple"}


def _describe(kind: str, message: str, loc: DataPath, model: type[BaseModel], value: object) -> str:
    key = str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        return f"unknown key {key!r}.{suggest(key, known_keys(model, loc[:-1]))}"
    if kind == "missing":
        return f"the key {key!r} is missing"
    message = message.removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return f"{value!r} is not allowed here; {message[0].lower()}{message[1:]}"
    got = "" if isinstance(value, dict | list | BaseModel) else f", got {value!r}"
    prefix = f"{key}: " if key else ""
    return f"{prefix}{message[0].lower()}{message[1:]}{got}"


def known_keys(model: type[BaseModel], loc: DataPath) -> list[str]:
    """Return the keys a model allows at a place inside it."""
    current: list[type[BaseModel]] = [model]
    for step in loc:
        following: list[type[BaseModel]] = []
        for candidate in current:
            for name, info in candidate.model_fields.items():
                if step in (name, info.alias):
                    following.extend(_models_in(info.annotation))
        current = following or current  # a key of a mapping, or a position in a list
    return [info.alias or name for each in current for name, info in each.model_fields.items()]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]
