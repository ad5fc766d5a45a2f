"""Reports: what the page and the Markdown say, and that nothing is left open to markup."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from fate.bench.machine import this_machine
from fate.bench.report import Row
from fate.bench.suites.curves import curves
from fate.bench.suites.document import Document, Section, html, markdown
from fate.bench.suites.plots import bars, heat
from fate.bench.suites.record import record
from fate.bench.suites.tables import Book, Table, interval_text, pool_table


def figure(policy: str, mean: float, low: float, high: float, **changes: str) -> Row:
    """Return a ratio over round-robin of the headline."""
    facts = {"suite": "s", "cell": "headline", "metric": "makespan_over_round-robin", **changes}
    return Row(policy=policy, mean=mean, low=low, high=high, n=4, **facts)


BOOK = Book(
    [
        figure("heft", 0.75, 0.7, 0.8),
        figure("fate", 0.6, 0.5, 0.9),
        figure("fate", 0.8, 0.7, 0.9, metric="makespan_over_best-published"),
        figure("fate", 0.7, 0.7, 0.7, cell="regime switch"),
    ]
)


def test_ratios_are_written_without_a_zero() -> None:
    """As everywhere in the docs; a point has no interval."""
    assert interval_text(figure("x", 0.6754, 0.5, 1.25)) == ".675 [.500, 1.250]"
    assert interval_text(figure("x", 0.7, 0.7, 0.7)) == ".700"


def test_a_pool_table_leaves_out_empty_columns() -> None:
    """Quickest first; what nobody has a figure for is not shown."""
    table = pool_table(BOOK, "headline")
    assert table.head == ("policy", "makespan / round-robin", "best published", "n")
    assert table.lines == [
        ("fate", ".600 [.500, .900]", ".800 [.700, .900]", "4"),
        ("heft", ".750 [.700, .800]", "", "4"),
    ]


def test_bars_stand_for_their_figures() -> None:
    """Shortest first, planners marked; lengths are in proportion."""
    drawn = ElementTree.fromstring(bars(BOOK, "headline", "makespan_over_round-robin"))
    assert [span.text for span in drawn.iter("span")] == ["fate", "heft"]
    assert drawn[0].get("class") == "bar ours"
    assert drawn[1].get("class") == "bar"
    widths = [float((rect.get("width") or "").rstrip("%")) for rect in drawn.iter("rect")]
    assert widths[0] / widths[1] == pytest.approx(0.6 / 0.75, abs=1e-3)
    assert bars(BOOK, "headline", "p95_over_round-robin") == ""


def test_heat_shows_groups_that_have_figures() -> None:
    """A group without runs has no column."""
    groups = {"switch": "regime switch", "prefix": "regime prefix"}
    drawn = heat(BOOK, ["fate", "heft"], groups, "makespan_over_round-robin")
    assert "switch" in drawn
    assert "prefix" not in drawn
    assert drawn.count(">.700<") == 1


def test_curves_have_a_mark_for_each_figure() -> None:
    """One line between two marks, lower figures lower on the page."""
    line = [(10.0, figure("fate", 0.8, 0.8, 0.8)), (20.0, figure("fate", 0.6, 0.6, 0.6))]
    drawn = ElementTree.fromstring(f"<div>{curves({'fate': line}, 'budget', 'makespan')}</div>")
    marks = [float(circle.get("cy") or "") for circle in drawn.iter("circle")]
    assert len(marks) == 2
    assert marks[0] < marks[1]


def document() -> Document:
    """Return a small report."""
    table = Table(("policy", "x"), [("a<b", "1")])
    return Document(
        title="T & t",
        lead="lead",
        facts=(("command", "fate bench x"),),
        sections=[Section(title="one", text="text <i>", table=table, folded=True)],
    )


def test_the_page_stands_alone() -> None:
    """No script, no address of anything else, markup in names escaped."""
    page = html(document())
    assert "http" not in page
    assert "<script" not in page
    assert "a&lt;b" in page
    assert "text &lt;i&gt;" in page
    assert "T &amp; t" in page


def test_markdown_has_the_same_tables() -> None:
    """Text first, then the table."""
    text = markdown(document())
    assert "## one\n\ntext <i>\n\n| policy | x |\n| --- | --- |\n| a<b | 1 |\n" in text
    assert "- command: fate bench x" in text


def test_records_are_appended(tmp_path: Path) -> None:
    """The first run makes the page, later ones stand below it."""
    page = tmp_path / "docs" / "results.md"
    for took in ("5 s", "6 s"):
        record(page, document(), "fate bench x --seeds 0", this_machine(), took)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Results\n")
    assert text.count("# Results") == 1
    assert text.index("`fate bench x --seeds 0`, 5 s") < text.index("`fate bench x --seeds 0`, 6 s")
    assert text.count("| a<b | 1 |") == 2
