"""The built-in tools: small functions from values to a value, with a limit on size."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fate.workflow.own_code import ToolError
from fate.workflow.spec import (
    BuiltInTool,
    JoinTool,
    Json,
    JsonTool,
    NearestTool,
    SelectTool,
    SplitTool,
)
from fate.workflow.template import as_text

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
_PATH_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(-?\d+)\]")


def run(stage: str, spec: BuiltInTool, arguments: Mapping[str, Any]) -> str:
    """Run a built-in tool; return its result as stored: text of a join, JSON text of anything else.

    Raises:
        ToolError: the tool failed or returned too much; says which stage.
    """
    try:
        value = _value(spec, arguments)
        text = value if isinstance(spec, JoinTool) else _to_json(value)
    except ToolError as error:
        raise ToolError(f"stage {stage!r}: {error}") from error
    size = len(text.encode())
    if size > spec.max_output_bytes:
        raise ToolError(
            f"stage {stage!r}: {spec.tool} returned {size} bytes, over the limit of "
            f"{spec.max_output_bytes}; return less, or raise max_output_bytes"
        )
    return text


def encode(value: Json) -> str:
    """Return a value as it is stored."""
    return json.dumps(value, ensure_ascii=False)


def decode(stored: str) -> Json:
    """Return the value of a stored JSON result."""
    return json.loads(stored)


def _value(spec: BuiltInTool, arguments: Mapping[str, Any]) -> Json:
    match spec:
        case SplitTool():
            return split(as_text(arguments["of"]), spec)
        case JoinTool():
            return join(arguments["of"], spec.separator)
        case SelectTool():
            return select(arguments["of"], spec)
        case JsonTool():
            return extract(find_json(as_text(arguments["of"])), spec.path)
        case NearestTool():
            return nearest(arguments["query"], arguments["among"], _list(arguments["of"]), spec.k)


def split(text: str, spec: SplitTool) -> list[str]:
    """Cut a text into pieces of `size` units; the last `overlap` of each begin the next."""
    if spec.by == "characters":
        units, glue = list(text), ""
    elif spec.by == "lines":
        units, glue = text.splitlines(), "\n"
    elif spec.by == "paragraph":
        units, glue = _PARAGRAPH_END.split(text), "\n\n"
    else:
        units, glue = _SENTENCE_END.split(text), " "
    if spec.by != "characters":
        units = [unit.strip() for unit in units if unit.strip()]
    step = spec.size - spec.overlap
    starts = range(0, max(len(units) - spec.overlap, min(len(units), 1)), step)
    return [glue.join(units[start : start + spec.size]) for start in starts]


def join(value: Json, separator: str) -> str:
    """Put the elements of a list together to one text; what is none is left out."""
    elements: Sequence[Any] = () if value is None else _list(value)
    return separator.join(as_text(each) for each in elements if each is not None)


def select(value: Json, spec: SelectTool) -> Json:
    """Return the part of a list or mapping that `spec` names."""
    if spec.key is not None:
        return _step(value, spec.key)
    if spec.index is not None:
        return _step(_list(value), spec.index)
    elements = _list(value)
    if spec.first is not None:
        return elements[: spec.first]
    start, stop = spec.slice or (None, None)
    return elements[start:stop]


def find_json(text: str) -> Json:
    """Return the first JSON value in a text: all of it, or the first object or list inside."""
    try:
        return json.loads(text)
    except ValueError:
        decoder = json.JSONDecoder()
    for match in re.finditer(r"[\[{]", text):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except ValueError:
            continue
    raise ToolError(f"no JSON found in {_short(text)}")


def extract(value: Json, path: str) -> Json:
    """Return what stands at a path such as `a.b[0]`; the empty path is the value itself."""
    position = 0
    while position < len(path):
        match = _PATH_STEP.match(path, position)
        if match is None:
            raise ToolError(f"path {path!r} is not understood at {path[position:]!r}")
        key, index = match.groups()
        value = _step(value, key if key is not None else int(index))
        position = match.end()
    return value


def nearest(query: Json, among: Json, things: Sequence[Any], k: int) -> list[Json]:
    """Return the k things whose vectors are most like the query's, the best first.

    Equal ones stay in the order of the list; a vector without a length is like nothing.
    """
    if not things:
        return []
    import numpy as np  # which most commands do not need

    try:
        one, all_ = np.asarray(query, dtype=float), np.asarray(among, dtype=float)
    except (TypeError, ValueError):
        raise ToolError("`query` must be a vector and `among` a list of vectors") from None
    if one.ndim != 1 or all_.ndim != 2 or one.shape[0] != all_.shape[1]:
        raise ToolError(
            f"vectors of one length are needed, got shape {one.shape} for `query` and {all_.shape} "
            "for `among`"
        )
    if len(all_) != len(things):
        raise ToolError(f"{len(all_)} vectors in `among` for {len(things)} elements in `of`")
    lengths = np.linalg.norm(all_, axis=1) * np.linalg.norm(one)
    likeness = np.divide(all_ @ one, lengths, out=np.full(len(all_), -2.0), where=lengths > 0)
    return [things[i] for i in np.argsort(-likeness, kind="stable")[:k]]


def _step(value: Json, step: str | int) -> Json:
    try:
        return value[step]
    except (LookupError, TypeError):
        raise ToolError(f"there is no {step!r} in {_short(as_text(value))}") from None


def _list(value: Json) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ToolError(f"needs a list, got {_short(as_text(value))}")
    return cast("list[Any]", value)


def _to_json(value: Json) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError(
            f"the result is not JSON-like: {error}; return text, lists, dicts"
        ) from None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 120 else line[:117] + "...")
