"""The timeline page: one file, nothing from outside, data that cannot break out of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fate.domain import messages as m
from fate.drivers.setup import Outcome
from fate.view.columns import Sheet
from fate.view.fold import fold
from fate.view.history import HOST, RunFacts
from fate.view.metrics import summary
from fate.view.timeline import TimelineError, payload, timeline, write_timeline
from fate.view.trail import Expected, Trail

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
PAGE = Path(__file__).parents[3] / "src" / "fate" / "view" / "page"


def sheet(facts: RunFacts, records: list[m.Record], trail: Trail = Trail()) -> Sheet:  # noqa: B008  # frozen
    """Return a run for the page."""
    history = fold(facts.cluster, records)
    return Sheet(facts=facts, history=history, summary=summary(facts, history), trail=trail)


def data_of(page: str) -> Any:
    """Return the data that a page carries."""
    found = DATA.search(page)
    assert found is not None
    return msgspec.json.decode(found[1])


def test_the_page_asks_nothing_of_any_network(facts: RunFacts, records: list[m.Record]) -> None:
    """No address, no import, and a policy that forbids what might be overlooked."""
    text = timeline([sheet(facts, records)])
    assert not re.search(r"https?:|url\(|@import|src=|href=|fetch\(|XMLHttp|innerHTML", text)
    assert "default-src 'none'" in text
    assert "{{" not in text


def test_the_data_is_what_happened(facts: RunFacts, records: list[m.Record]) -> None:
    """Rows by device and track, bars as columns, idle spans with reasons, memory in steps."""
    data = data_of(timeline([sheet(facts, records)]))
    run, names = data["runs"][0], data["names"]
    assert [device["id"] for device in run["devices"]] == ["d0", "d1", HOST]
    assert run["rows"] == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0]]
    bars = run["bars"]
    assert [names["kinds"][kind] for kind in bars["kinds"]] == [
        "load", "call", "load", "call", "tool",
    ]  # fmt: skip
    assert bars["row"] == [1, 0, 3, 2, 4]
    assert (bars["start"][1], bars["length"][1]) == (1_500_000, 4_000_000)
    assert data["texts"][bars["name"][1]] == "w/notes"
    assert [run["parts"]["end"][i] for i in range(*bars["part"][1:3])][:2] == [2_000_000, 3_500_000]
    planning = names["reasons"].index("planning")
    assert [0, 0, 500_000, 1, planning] in run["idle"]
    assert run["memory"][0]["levels"] == [[[0, 80, 0]]]
    assert run["memory"][2] is None
    assert run["critical"] == [0, 1, 2, 3, 4]


def test_plans_are_laid_under_the_bars(facts: RunFacts, records: list[m.Record]) -> None:
    """What the plan that started a bar expected, and where the first plan had wanted it."""
    trail = Trail(
        expected={1: Expected(version=2, device="d0", start_s=1.4, end_s=5.0)},
        first={1: Expected(version=1, device="d1", start_s=2.0, end_s=6.0)},
    )
    run = payload([sheet(facts, records, trail)])["runs"][0]
    assert run["ghosts"] == [[1, 1.4, 5.0, 1, 1, 2.0, 6.0]]


def test_every_column_has_a_value_for_every_bar(facts: RunFacts, records: list[m.Record]) -> None:
    """The script reads columns by a bar's number."""
    run = payload([sheet(facts, records)])["runs"][0]
    assert {len(column) for name, column in run["bars"].items() if name != "part"} == {5}
    assert len(run["bars"]["part"]) == 6


def test_names_cannot_end_the_script(facts: RunFacts, records: list[m.Record]) -> None:
    """Reasons and names come from users and engines."""
    evil = "</script><script>alert('x')</script><!--"
    failed = m.Record(
        at_s=2.0,
        events=(m.Failed(activity=2, reason=evil),),
        commands=(m.WorkflowEnded(workflow="w", status="failed", reason=evil),),
    )
    text = timeline([sheet(facts, [*records[:4], failed])])
    assert text.count("</script>") == 3
    assert data_of(text)["runs"][0]["failures"] == [evil]


def test_two_runs_share_models_and_texts(facts: RunFacts, records: list[m.Record]) -> None:
    """Colours and names mean the same in both."""
    data = payload([sheet(facts, records), sheet(facts, records)])
    one, two = data["runs"]
    assert data["models"] == ["a", "b"]
    assert one["bars"] == two["bars"]


def test_a_simulated_run_says_so(
    run_many: Callable[[int, int], tuple[RunFacts, Outcome]],
) -> None:
    """The page shows its banner when the data says so."""
    facts, outcome = run_many(2, 3)
    assert payload([sheet(facts, list(outcome.records))])["runs"][0]["simulated"] is True


def test_a_file_that_cannot_be_written_is_one_clear_line(
    facts: RunFacts, records: list[m.Record], tmp_path: Path
) -> None:
    """Not a traceback after a long run."""
    with pytest.raises(TimelineError, match="cannot write the timeline: No such file"):
        write_timeline(tmp_path / "no" / "run.html", [sheet(facts, records)])


@pytest.mark.parametrize("path", sorted(PAGE.glob("*.*")), ids=lambda path: path.name)
def test_scripts_stay_short(path: Path) -> None:
    """As with modules: a longer one needs a split."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
