"""The timeline page: one file, nothing from outside, data that cannot break out of it."""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fate.domain import messages as m
from fate.drivers.setup import Outcome
from fate.view.fold import fold
from fate.view.history import HOST, RunFacts
from fate.view.metrics import summary
from fate.view.timeline import TimelineError, payload, timeline, write_timeline

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def page(facts: RunFacts, records: list[m.Record]) -> str:
    """Return the page of a run."""
    history = fold(facts.cluster, records)
    return timeline(facts, history, summary(facts, history))


def test_the_page_asks_nothing_of_any_network(facts: RunFacts, records: list[m.Record]) -> None:
    """No address, no import, and a policy that forbids what might be overlooked."""
    text = page(facts, records)
    assert not re.search(r"https?:|url\(|@import|src=|href=|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text
    assert "{{" not in text


def test_the_data_is_what_happened(facts: RunFacts, records: list[m.Record]) -> None:
    """Bars, idle spans with reasons, lanes and models, as the script expects them."""
    found = DATA.search(page(facts, records))
    assert found is not None
    data = msgspec.json.decode(found[1])
    assert [lane["id"] for lane in data["lanes"]] == ["d0", "d1", HOST]
    assert data["span"] == 10.0
    call = data["bars"][1]
    assert call[:9] == [0, 0, "call", 0, "w/notes", 0, 2, 1.5, 5.5]
    assert call[12][0] == ["prefill", 1.5, 2.0]
    assert [0, 0.0, 0.5, 1, "planning"] in data["idle"]
    assert data["plans"][0]["heads"] == ["w/notes[0:2]", ""]
    assert data["summary"]["model_loads"] == 2


def test_the_script_names_every_position_of_a_bar(facts: RunFacts, records: list[m.Record]) -> None:
    """The list in Python and its index in the script have one length."""
    text = page(facts, records)
    named = re.search(r"const BAR = \{(.*?)\};", text, re.DOTALL)
    assert named is not None
    positions = [int(number) for number in re.findall(r": (\d+)", named[1])]
    history = fold(facts.cluster, records)
    bar = payload(facts, history, summary(facts, history))["bars"][0]
    assert positions == list(range(len(bar)))


def test_names_cannot_end_the_script(facts: RunFacts, records: list[m.Record]) -> None:
    """Reasons and names come from users and engines."""
    evil = "</script><script>alert('x')</script><!--"
    failed = m.Record(
        at_s=2.0,
        events=(m.Failed(activity=2, reason=evil),),
        commands=(m.WorkflowEnded(workflow="w", status="failed", reason=evil),),
    )
    text = page(facts, [*records[:4], failed])
    assert text.count("</script>") == 2
    found = DATA.search(text)
    assert found is not None
    assert msgspec.json.decode(found[1])["run"]["reasons"] == [evil]


def test_a_simulated_run_says_so(
    run_many: Callable[[int, int], tuple[RunFacts, Outcome]],
) -> None:
    """The page shows its banner when the data says so."""
    facts, outcome = run_many(2, 3)
    history = fold(facts.cluster, outcome.records)
    assert payload(facts, history, summary(facts, history))["summary"]["simulated"] is True


def test_a_file_that_cannot_be_written_is_one_clear_line(
    facts: RunFacts, records: list[m.Record], tmp_path: Path
) -> None:
    """Not a traceback after a long run."""
    history = fold(facts.cluster, records)
    with pytest.raises(TimelineError, match="cannot write the timeline: No such file"):
        write_timeline(tmp_path / "no" / "run.html", facts, history, summary(facts, history))
