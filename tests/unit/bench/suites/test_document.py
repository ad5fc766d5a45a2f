"""Reports: what the page and the Markdown say, and that nothing is left open to markup."""

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.graphs import chain, cluster, profile

from fate.bench.machine import this_machine
from fate.bench.report import Row
from fate.bench.suites.axis import ticks
from fate.bench.suites.curves import curves
from fate.bench.suites.document import Document, Section, html, markdown
from fate.bench.suites.gantt import gantt, gantt_table
from fate.bench.suites.plots import bars, heat, heat_table
from fate.bench.suites.record import record
from fate.bench.suites.tables import (
    Book,
    Table,
    interval_text,
    pool_table,
    spent_table,
    text_columns,
)
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.policy.baselines.greedy import LateEft
from fate.view.fold import fold


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
    assert table.head == ("policy", "makespan / round-robin", "/ best published", "n")
    assert table.lines == [
        ("fate", ".600 [.500, .900]", ".800 [.700, .900]", "4"),
        ("heft", ".750 [.700, .800]", "", "4"),
    ]


def test_where_the_time_goes_is_shown_by_group() -> None:
    """A policy without such figures, as a lower bound, has no line."""
    book = Book([*BOOK.rows, figure("fate", 0.25, 0.2, 0.3, metric="load_share")])
    table = spent_table(book, ["headline", "regime switch"])
    assert table.head[:3] == ("group", "policy", "loading")
    assert table.lines == [("headline", "fate", "25 %", "", "", "", "", "", "")]


def test_bars_stand_for_their_figures() -> None:
    """Shortest first, planners marked; lengths are in proportion."""
    drawn = ElementTree.fromstring(bars(BOOK, "headline", "makespan_over_round-robin", "makespan"))
    assert [span.text for span in drawn.iter("span")] == ["fate", "heft"]
    title, first, second, foot = drawn
    assert title.text == "makespan"
    assert (first.get("class"), second.get("class")) == ("bar ours", "bar")
    assert [number.text for number in foot.iter("text")] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    widths = [float((rect.get("width") or "").rstrip("%")) for rect in drawn.iter("rect")]
    assert widths[0] / widths[1] == pytest.approx(0.6 / 0.75, abs=1e-3)
    assert bars(BOOK, "headline", "p95_over_round-robin", "P95") == ""


def test_heat_shows_groups_that_have_figures() -> None:
    """A group without runs has no column."""
    groups = {"switch": "regime switch", "prefix": "regime prefix"}
    drawn = heat(BOOK, ["fate", "heft"], groups, "makespan_over_round-robin")
    assert "switch" in drawn
    assert "prefix" not in drawn
    assert drawn.count(">.700<") == 1
    assert '<th colspan="1">regime</th>' in drawn
    table = heat_table(BOOK, ["fate", "heft"], groups, "makespan_over_round-robin")
    assert table == Table(("policy", "regime switch"), [("fate", ".700"), ("heft", "")])


def test_curves_have_a_mark_for_each_figure() -> None:
    """One line between two marks, lower figures lower on the page."""
    line = [(10.0, figure("fate", 0.8, 0.8, 0.8)), (20.0, figure("fate", 0.6, 0.6, 0.6))]
    drawn = ElementTree.fromstring(f"<div>{curves({'fate': line}, 'budget', 'makespan')}</div>")
    marks = [float(circle.get("cy") or "") for circle in drawn.iter("circle")]
    assert len(marks) == 2
    assert marks[0] < marks[1]


def ticks_along(*xs: float, measured: bool) -> list[tuple[str | None, float]]:
    """Return what stands below a curve, and where [%]."""
    line = [(x, figure("fate", 0.8, 0.7, 0.9)) for x in xs]
    drawn = curves({"fate": line}, "x", "makespan", measured=measured)
    texts = ElementTree.fromstring(f"<div>{drawn}</div>").iter("text")
    found = [text for text in texts if text.get("class") == "tick"]
    return [(text.text, float((text.get("x") or "").rstrip("%"))) for text in found]


def test_what_was_chosen_is_evenly_spaced_and_what_was_measured_is_not() -> None:
    """Small powers of one half are fractions; numbers that would touch are left out."""
    (a, left), (b, middle), (c, right) = ticks_along(0.0, 1 / 16, 1.0, measured=False)
    assert (a, b, c) == ("0", "1/16", "1")
    assert middle - left == pytest.approx(right - middle)
    (a, left), (b, middle), (c, right) = ticks_along(1.0, 2.0, 2.01, 16.0, measured=True)
    assert (a, b, c) == ("1", "2", "16")
    assert right - left == pytest.approx(4 * (middle - left), abs=0.02)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.04, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.482, 0.69, [0.5, 0.55, 0.6, 0.65]),
        (0.0, 117.3, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
        (0.9998, 1.0001, [0.9998, 0.99985, 0.9999, 0.99995, 1.0, 1.00005, 1.0001][::2]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    """At most six, inside of the axis."""
    assert ticks(low, high) == pytest.approx(expected)


def test_lanes_hold_all_that_runs_at_once() -> None:
    """Two policies over one axis of time; every bar lies in its device's lane."""
    on = cluster(devices=2, slots=2)
    graphs = [chain(name, "AB") for name in "xyz"]
    setup = Setup(cluster=on, profile=profile(on), policy=LateEft())
    history = fold(on, simulate([(0.0, graph) for graph in graphs], setup).records)
    drawn = ElementTree.fromstring(f"<div>{gantt(on, {'a': history, 'b': history})}</div>")
    assert [title.text for title in drawn.iter("h3")] == [
        f"{name}: {history.makespan_s:.0f} s, {history.counts.model_loads} loads" for name in "ab"
    ]
    run = next(each for each in drawn.iter("svg") if each.get("class") == "gantt")
    seen = [bar for bar in history.bars if bar.end_s > bar.start_s]
    rects = list(run.iter("rect"))
    assert len(rects) == len(seen)
    high = float(run.get("height") or "")
    assert all(float(r.get("y") or "") + float(r.get("height") or "") <= high for r in rects)
    ends = [sum(float((r.get(side) or "").rstrip("%")) for side in ("x", "width")) for r in rects]
    assert max(ends) == pytest.approx(98.0, abs=0.01)
    (line,) = gantt_table({"a": history}).lines
    assert line[:3] == ("a", f"{history.makespan_s:.1f}", str(history.counts.model_loads))


def test_columns_of_words_are_told_from_figures() -> None:
    """The first is always words; nothing at all counts as words."""
    table = Table(
        ("cell", "x", "what", "none"), [("0.9/switch", ".5", "a", ""), ("b", "", "-", "")]
    )
    assert text_columns(table) == {0, 3}
    table = Table(("cell", "x", "what"), [("0.9/switch", "-2", "at most 1")])
    assert text_columns(table) == {0, 2}


def document() -> Document:
    """Return a small report."""
    table = Table(("policy", "x"), [("a<b", "1")])
    return Document(
        title="T & t",
        lead="lead of `fate`",
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
    assert "lead of <code>fate</code>" in page


def test_what_plots_show_is_a_table_in_markdown_only() -> None:
    """Pages do not say it twice; marks are coloured."""
    drawn = Section(title="one", table=Table(("a", "b"), [("x", "✓ reached")]), drawn=True)
    one = dataclasses.replace(document(), sections=[drawn])
    assert "| x | ✓ reached |" in markdown(one)
    assert "reached" not in html(one)
    one = dataclasses.replace(document(), sections=[dataclasses.replace(drawn, drawn=False)])
    assert '<td class="good" data-title="b">✓ reached</td>' in html(one)


def test_markdown_has_the_same_tables() -> None:
    """Text first, then the table."""
    text = markdown(document())
    assert "## one\n\ntext <i>\n\n| policy | x |\n| --- | ---: |\n| a<b | 1 |\n" in text
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
