"""The report of a suite: sections of text, tables and plots, as Markdown and as a page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from fate.bench.suites.tables import Table, text_columns

_CODE = re.compile("`([^`]+)`")
_VIRTUAL = '<p id="simulated">Virtual time: no model ran.</p>'
#: How a cell that begins with a mark looks.
_MARKS = {"✓": "good", "✗": "bad"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with text, plots (pages only) and a table.

    On pages `folded` tables open with a click; `drawn` ones are left out, as plots say the same.
    """

    title: str
    text: str = ""
    plots: tuple[str, ...] = ()
    table: Table | None = None
    folded: bool = False
    drawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report: what was run (`facts` as name and value), and its sections.

    `virtual` tells whether its seconds are virtual.
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    sections: Sequence[Section]
    virtual: bool = True


def markdown(document: Document) -> str:
    """Return the report as Markdown."""
    parts = [f"# {document.title}", document.lead]
    parts.append("\n".join([f"- {name}: {value}" for name, value in document.facts]))
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts.extend(section_markdown(section))
    return "\n\n".join(parts) + "\n"


def section_markdown(section: Section) -> list[str]:
    """Return a section's text and table as Markdown, without its heading."""
    parts = [section.text] if section.text else []
    if section.table is not None and section.table.lines:
        parts.append(table_markdown(section.table))
    return parts


def table_markdown(table: Table) -> str:
    """Return a table as Markdown."""
    left = text_columns(table)
    rule = tuple("---" if i in left else "---:" for i in range(len(table.head)))
    rows = [table.head, rule, *table.lines]
    return "\n".join(
        ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    )


def html(document: Document) -> str:
    """Return the report as one HTML file that needs nothing else."""
    css = files("fate.bench.suites").joinpath("page.css").read_text(encoding="utf-8")
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in document.facts
    )
    sections = "".join(_section(section) for section in document.sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(document.title)}</title><style>\n{css}</style></head><body>"
        f"{_VIRTUAL if document.virtual else ''}<main>"
        f"<h1>{escape(document.title)}</h1><p class='lead'>{_prose(document.lead)}</p>"
        f"<dl>{facts}</dl>{sections}</main></body></html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{_prose(section.text)}</p>")
    parts.extend(section.plots)
    if section.table is not None and section.table.lines and not section.drawn:
        found = _table(section.table)
        if section.folded:
            found = f"<details><summary>Table</summary>{found}</details>"
        parts.append(found)
    return f"<section>{''.join(parts)}</section>"


def _prose(text: str) -> str:
    """Return text in which what stands between backticks is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _table(table: Table) -> str:
    """Return a table; with more than one column of words its lines are stacked on a telephone."""
    left = text_columns(table)
    head = "".join(
        f"<th{_side(i in left)}>{escape(cell)}</th>" for i, cell in enumerate(table.head)
    )
    body = "".join(
        "<tr>"
        + "".join(_cell(i, cell, table.head[i], words=i in left) for i, cell in enumerate(line))
        + "</tr>"
        for line in table.lines
    )
    kind = ' class="stack"' if len(left) > 1 else ""
    return (
        f'<div class="wide"><table{kind}><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(column: int, text: str, title: str, *, words: bool) -> str:
    if column == 0:
        return f"<th{_side(words)}>{escape(text)}</th>"
    kind = _MARKS.get(text[:1]) or ("words" if words else "")
    shown = f' class="{kind}"' if kind else ""
    return f'<td{shown} data-title="{escape(title)}">{escape(text)}</td>'


def _side(words: bool) -> str:
    return ' class="words"' if words else ""
