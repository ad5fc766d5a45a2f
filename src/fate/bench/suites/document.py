"""The report of a suite: sections of text, tables and plots, as Markdown and as a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from fate.bench.suites.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with text, plots (pages only) and a table; `folded` tables open with a click."""

    title: str
    text: str = ""
    plots: tuple[str, ...] = ()
    table: Table | None = None
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report: what was run (`facts` as name and value), and its sections."""

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    sections: Sequence[Section]


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
    rows = [table.head, ("---",) * len(table.head), *table.lines]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows])


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
        '<p id="simulated">Virtual time: no model ran.</p><main>'
        f"<h1>{escape(document.title)}</h1><p class='lead'>{escape(document.lead)}</p>"
        f"<dl>{facts}</dl>{sections}</main></body></html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    parts.extend(section.plots)
    if section.table is not None and section.table.lines:
        found = _table(section.table)
        if section.folded:
            found = f"<details><summary>Table</summary>{found}</details>"
        parts.append(found)
    return f"<section>{''.join(parts)}</section>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    body = "".join(
        "<tr>" + "".join(_cell(i, cell) for i, cell in enumerate(line)) + "</tr>"
        for line in table.lines
    )
    return (
        '<div class="wide"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(column: int, text: str) -> str:
    return f"<th>{escape(text)}</th>" if column == 0 else f"<td>{escape(text)}</td>"
