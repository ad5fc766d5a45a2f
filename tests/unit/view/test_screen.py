"""The live view: what it shows, and that it fits."""

import asyncio
from io import StringIO

import pytest
from rich.console import Console
from tests.unit.view.conftest import stage
from tests.unit.view.test_groups import STUDY, Log, scopes

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.view.fold import Fold
from fate.view.live import LiveView
from fate.view.rollup import rollup
from fate.view.screen import Gauges, screen

GAUGES = Gauges(
    title="demo",
    policy="fate",
    now_s=4.0,
    first_end_s=9.5,
    expected_end_s=10.0,
    expected_s={2: 4.0},
    cpu_share=0.004,
    tokens_per_s=(120.0, 30.0),
    events=("3.0s  device d1 is back",),
)


def text(fold: Fold, cluster: Cluster, width: int = 80, height: int = 24) -> list[str]:
    """The screen without its styles."""
    lines = screen(fold, cluster, GAUGES, width, height)
    return ["".join(piece for piece, _ in line).rstrip() for line in lines]


def folded(cluster: Cluster, records: list[m.Record]) -> Fold:
    """A fold that has taken the records in."""
    fold = Fold(cluster)
    for record in records:
        fold.add(record)
    return fold


def test_it_says_what_runs_where_and_when_it_will_end(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """At 4 s one item of the map is done and the other one runs on d0; d1 waits."""
    lines = text(folded(cluster, records[:5]), cluster)
    assert lines[:6] == [
        "demo fate  0/3 stages  4.0 s of ~10.0 s, 6.0 s left  (at first 9.5 s, -5%)",
        "> notes a       1/2    " + "━" * 30,
        ". draft b       0/1    " + "─" * 30,
        ". join  tool    0/1    " + "─" * 30,
        "d0   ▮▮▮▮▮▮▯▯     0/0 MiB  call notes[1]  a  2.5 of 4.0 s",
        "d1   ▯▯▯▯▯▯▯▯     0/0 MiB  idle: waiting for parents",
    ]
    assert lines[6] == (
        "tokens/s 120 in, 30 out; 0% of prompts cached; 1 load; scheduler 0.4% of cores"
    )
    assert lines[7] == "! 3.0s  device d1 is back"


def test_the_plan_ahead_names_what_has_not_begun(cluster: Cluster, records: list[m.Record]) -> None:
    """The second plan gives the draft to d1 and the log ends before its load."""
    planned = m.Record(at_s=5.6, events=records[7].events)
    lines = text(folded(cluster, [*records[:7], planned]), cluster)
    assert "d1   next draft" in lines


def test_before_the_first_record_devices_are_starting(cluster: Cluster) -> None:
    """Weights are read and engines opened: nobody is idle yet."""
    assert [line.split()[-1] for line in text(Fold(cluster), cluster)[1:3]] == ["starting"] * 2


def test_what_runs_is_not_ahead(cluster: Cluster, records: list[m.Record]) -> None:
    """The first plan's map is at work on d0 from 1.5 s on, and named there only."""
    lines = text(folded(cluster, records[:4]), cluster)
    assert not any("next" in line for line in lines)


@pytest.mark.parametrize("width", [20, 80, 200])
def test_it_fits_any_terminal(cluster: Cluster, records: list[m.Record], width: int) -> None:
    """No line is too long and none too many; the header always stays."""
    for count in range(len(records) + 1):
        fold = folded(cluster, records[:count])
        for height in range(1, 30):
            lines = text(fold, cluster, width, height)
            assert len(lines) <= height
            assert all(len(line) <= width for line in lines)
            assert lines[0].startswith("demo")


def test_many_stages_are_counted_where_there_is_no_room(cluster: Cluster) -> None:
    """What runs comes first; the rest is one line."""
    log = Log(cluster, *[stage(f"s{n}", "a") for n in range(50)])
    log.run("s30")
    log.add(m.Expanded(instance="w/s40", tails=((),)))
    log.add(m.Call(activity=9, device="d0", model="a", chunk=Chunk("w/s40", 0, 1)))
    lines = text(log.fold, cluster, height=12)
    assert len(lines) <= 12
    assert any(line.startswith("> s40") for line in lines)
    assert any("1 done" in line and "waiting" in line for line in lines)


def test_groups_fold_into_one_row_per_stage(cluster: Cluster) -> None:
    """Items of a group are counted together, below the group."""
    log = Log(cluster, STUDY, stage("end", "b", "study"))
    log.add(m.Revealed(instance="w/study", scopes=scopes(STUDY, 0, 1)))
    log.run("study[0].notes")
    rows = rollup(log.fold.book)
    assert [(row.name, row.depth, row.done, row.total) for row in rows] == [
        ("study", 0, 0, 2),
        ("notes", 1, 1, 2),
        ("check", 1, 0, 2),
        ("end", 0, 0, 1),
    ]


def test_the_terminal_is_given_back_whatever_happens(
    cluster: Cluster, records: list[m.Record]
) -> None:
    """An exception leaves no hidden cursor and no task behind."""
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=80, height=24)
    view = LiveView(cluster, lambda _: GAUGES, console)

    async def fails() -> None:
        async with view:
            for record in records:
                view.add(record)
            view.draw()
            assert "notes" in written.getvalue()
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        asyncio.run(fails())
    out = written.getvalue()
    assert out.rindex("\x1b[?25h") > out.rindex("\x1b[?25l")
    assert view.fold.history().status == "ok"


def test_tokens_per_second_are_those_of_late(cluster: Cluster, records: list[m.Record]) -> None:
    """At 9.6 s, three items have computed 240 prompt tokens and written 60."""
    view = LiveView(cluster, lambda _: GAUGES, Console(file=StringIO()))
    for record in records:
        view.add(record)
    assert view.tokens_per_s(10.0) == pytest.approx((24.0, 6.0))
    assert view.tokens_per_s(30.0) == (0.0, 0.0)


def test_a_line_break_in_a_reason_cannot_break_the_screen(cluster: Cluster) -> None:
    """News come from engines, and may hold anything."""
    fold = Fold(cluster)
    gauges = Gauges(title="demo", policy="fate", now_s=0.0, events=("a\nb\r\x1b[2Jc",))
    lines = ["".join(t for t, _ in line) for line in screen(fold, cluster, gauges, 80, 24)]
    assert all(line.isprintable() for line in lines)
