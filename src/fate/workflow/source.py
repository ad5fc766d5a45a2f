"""YAML files with line numbers: read once, checked for size, encoding, syntax, duplicate keys."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from fate.workflow.problems import DataPath, FileError
from fate.workflow.spec import Json

#: A workflow or cluster file over this size is a mistake: data belongs in inputs [B].
MAX_FILE_BYTES = 2 * 2**20
#: YAML aliases can blow a small file up; nobody writes this many values by hand.
MAX_NODES = 200_000

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Document:
    """A parsed file: its data, and the line on which each part of it stands (from 1).

    `keys` are the lines of mapping keys and list elements, `texts` the first lines of scalars'
    contents: for a block scalar the line below its key.
    """

    path: Path
    data: Any = None
    keys: dict[DataPath, int] = field(default_factory=dict[DataPath, int])
    texts: dict[DataPath, int] = field(default_factory=dict[DataPath, int])
    problems: list[tuple[DataPath, str]] = field(default_factory=list[tuple[DataPath, str]])

    @property
    def format(self) -> object:
        """What the file says it is."""
        data = self.data
        return cast("dict[str, Json]", data).get("format") if isinstance(data, dict) else None

    def where(self, at: DataPath, line: int = 0) -> str:
        """Return `file:line` of a place, or of a line within the text that stands there."""
        return f"{self.path}:{self.line(at, line)}"

    def line(self, at: DataPath, line: int = 0) -> int:
        """Return the line of a place, or of a line within the text that stands there."""
        if line and at in self.texts:
            return self.texts[at] + line - 1
        while at and at not in self.keys:
            at = at[:-1]
        return self.keys.get(at, 1)


def read_text(path: Path, what: str, limit: int = MAX_FILE_BYTES) -> str:
    """Return a file's text, or raise one clear line: missing, a directory, too big, not UTF-8."""
    try:
        if path.is_dir():
            raise FileError([f"{path}: this is a directory; give a {what}"])
        size = path.stat().st_size
        if size > limit:
            raise FileError(
                [f"{path}: the {what} has {size} bytes, the limit is {limit}; make it smaller"]
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise FileError([f"{path}: no such file; check the path of the {what}"]) from None
    except UnicodeDecodeError as error:
        raise FileError(
            [f"{path}: not UTF-8 text (byte {error.start}); save the {what} as UTF-8"]
        ) from None
    except OSError as error:
        raise FileError([f"{path}: cannot be read: {error.strerror}"]) from None


def read_yaml(path: Path, what: str) -> Document:
    """Read a YAML file; syntax errors raise, duplicate keys are collected in `problems`."""
    text = read_text(path, what)
    document = Document(path)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                document.data = _Walk(loader, document).value(node, ())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise FileError([_syntax_problem(path, error)]) from None
    return document


def _syntax_problem(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    line = mark.line + 1 if mark is not None else 1
    hint = " Put text that contains ': ' or starts with '{' in quotes, or use a '|' block."
    return f"{path}:{line}: not valid YAML: {what}.{hint}"


class _Walk:
    """Turns YAML nodes into plain data, noting lines on the way."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader: Any = loader  # its methods are not typed
        self._document = document
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, at: DataPath) -> Json:
        """Return the data of a node that stands at a place."""
        self._count += 1
        line = node.start_mark.line + 1
        self._document.keys.setdefault(at, line)
        if id(node) in self._open or self._count > MAX_NODES:
            raise FileError(
                [f"{self._document.path}:{line}: aliases make this endless or huge; write it out"]
            )
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, at)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child, (*at, i)) for i, child in enumerate(node.value)]
            block = getattr(node, "style", None) in ("|", ">")
            self._document.texts[at] = line + 1 if block else line
            return self._loader.construct_object(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, at: DataPath) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                what = f"the key {key!r} is not text; put it in quotes"
                self._document.problems.append(((*at, str(key)), what))
                key = str(key)
            if key in result:
                first = self._document.keys[(*at, key)]
                what = f"{key!r} stands here twice, first on line {first}; rename or remove one"
                again = (*at, f"{key} (again)")
                self._document.keys[again] = line
                self._document.problems.append((again, what))
                continue
            self._document.keys[(*at, key)] = line
            result[key] = self.value(value_node, (*at, key))
        return result
