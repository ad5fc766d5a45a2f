"""Reports of the commands that are no suite of problems and policies: facts, sections, limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from fate.bench.report import Report, Target
from fate.bench.suites.document import Document, Section, html, markdown
from fate.bench.suites.tables import Book
from fate.bench.suites.write import REPORT_HTML, REPORT_MD, targets_section


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """What a command's report says beside its figures: see `suite.Look`.

    `virtual` tells whether what was measured took place in virtual time.
    """

    lead: str
    limits: str
    virtual: bool = True


def write_plain(
    report: Report,
    plain: Plain,
    sections: Sequence[Section],
    targets: Sequence[Target],
    asked: str,
) -> None:
    """Write report.md and report.html into the folder of a report."""
    machine = report.machine
    document = Document(
        title=f"fate bench {report.suite}",
        lead=plain.lead,
        facts=(
            ("command", asked),
            ("commit", machine.commit or f"fate {machine.fate}"),
            ("machine", machine.hardware),
        ),
        sections=[
            section
            for section in (
                targets_section(Book(report.rows), targets),
                *sections,
                Section(title="What this does not show", text=plain.limits),
            )
            if section.text or section.plots or section.table
        ],
        virtual=plain.virtual,
    )
    (report.out / REPORT_MD).write_text(markdown(document), encoding="utf-8")
    (report.out / REPORT_HTML).write_text(html(document), encoding="utf-8")
