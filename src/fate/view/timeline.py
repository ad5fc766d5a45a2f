"""The timeline of a run, or of two side by side, as one self-contained HTML file.

Markup, style and scripts are package data in `page/`; the runs go in as JSON. The page asks
nothing of any network, and its content policy forbids it to.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import msgspec

from fate.domain.errors import FateError
from fate.view.columns import KINDS, OUTCOMES, PARTS, REASONS, Sheet, Texts, run_columns
from fate.view.explain import Terms
from fate.view.history import IDLE_LABELS
from fate.view.trail import Explained
from fate.view.waits import aside_lines, wait_lines
from fate.view.words import TERM_NAMES, sentences

#: In the order in which the page runs them.
_SCRIPTS = (
    "data", "paint", "overview", "layers", "picture", "chart", "input", "card", "panel", "below",
    "page",
)  # fmt: skip


class TimelineError(FateError):
    """The timeline cannot be written."""

    code = "timeline"


def write_timeline(path: Path, sheets: Sequence[Sheet]) -> None:
    """Write the page of one run, or of two to compare, to a file."""
    try:
        path.write_text(timeline(sheets), encoding="utf-8")
    except OSError as error:
        raise TimelineError(f"{path}: cannot write the timeline: {error.strerror}") from None


def timeline(sheets: Sequence[Sheet]) -> str:
    """Return the page."""
    tables = [table for sheet in sheets for _, table in sorted(sheet.trail.tables.items())]
    parts = {
        "/*{{style}}*/": _asset("timeline.css"),
        "/*{{script}}*/": "\n".join(_asset(f"{name}.js") for name in _SCRIPTS),
        "{{data}}": _json(payload(sheets)),
        "{{tables}}": "\n".join(_json(table_of(table)) for table in tables),
    }
    page = _asset("timeline.html")
    for place, text in parts.items():
        before, _, after = page.partition(place)
        page = before + text + after
    return page


def payload(sheets: Sequence[Sheet]) -> dict[str, Any]:
    """Return what the page shows of one run, or of two."""
    models = dict.fromkeys(model.id for sheet in sheets for model in sheet.facts.cluster.models)
    texts = Texts()
    runs = [run_columns(sheet, list(models), texts) for sheet in sheets]
    return {
        "models": list(models),
        "names": {
            "kinds": KINDS,
            "outcomes": OUTCOMES,
            "parts": PARTS,
            "reasons": REASONS,
            "idle": [IDLE_LABELS[reason] for reason in REASONS],
            "terms": [
                (term, TERM_NAMES[term.removesuffix("_s")]) for term in Terms.__struct_fields__
            ],
        },
        "runs": runs,
        "texts": list(texts.numbers),
    }


def table_of(explained: Explained) -> dict[str, Any]:
    """Return a decision as the side panel shows it, its numbers cut to what can be read."""
    return {
        "decision": _short(msgspec.to_builtins(explained.decision)),
        "words": sentences(explained.decision),
        "waits": [*wait_lines(explained.held), *aside_lines(explained.aside)],
    }


def _short(value: object) -> object:
    """Return nested values with numbers of five decimals, and without what says nothing."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        mapping = cast("dict[str, object]", value)
        items = {key: _short(inner) for key, inner in mapping.items()}
        return {key: inner for key, inner in items.items() if inner not in ("", None, [], 0)}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in cast("Sequence[object]", value)]
    return value


def _json(data: dict[str, Any]) -> str:
    """Return JSON that cannot end the script element it stands in, nor open another one."""
    text = msgspec.json.encode(data).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return files("fate.view").joinpath("page", name).read_text(encoding="utf-8")
