"""Appends the tables of a run to a page of results, good or bad."""

from pathlib import Path

from fate.bench.machine import Machine
from fate.bench.suites.document import Document, section_markdown

_HEAD = """# Results

Runs of the simulated suites, appended by `--record` in the order they were made, good or bad. What
the suites are: [measurements](bench.md).
"""


def check_page(page: Path) -> None:
    """Refuse a page that cannot be written, before anything is run.

    Raises:
        OSError: says why.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    with page.open("a", encoding="utf-8"):
        pass
    if not page.stat().st_size:
        page.unlink()


def record(page: Path, document: Document, asked: str, machine: Machine, took: str) -> None:
    """Append what a run found.

    Args:
        page: a Markdown file, made if it is not there.
        document: the run's report.
        asked: the command.
        machine: where it ran.
        took: how long, for people.
    """
    before = page.read_text(encoding="utf-8") if page.is_file() else _HEAD
    parts = [
        f"## {document.title}, {machine.started_at[:10]}, {machine.commit or machine.fate}",
        f"`{asked}`, {took}, {machine.hardware}.",
    ]
    for section in document.sections:
        parts.append(f"### {section.title}")
        parts.extend(section_markdown(section))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(before.rstrip() + "\n\n" + "\n\n".join(parts) + "\n", encoding="utf-8")
