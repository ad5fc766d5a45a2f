"""Groups, skipped and dropped work, twins, KV states, interruptions, as the fold sees them."""

from typing import Any

import msgspec
import pytest
from tests.unit.view.conftest import Facts, stage

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk, Graph, Scope, Stage, place_stages
from fate.view.fold import Fold
from fate.view.history import History
from fate.view.metrics import summary
from fate.view.news import troubles
from fate.view.report import render

STUDY = Stage(
    id="study",
    kind="group",
    items=2,
    body=(stage("notes", "a"), stage("check", "b", "notes")),
    on_error="skip",
)
LOOP = Stage(id="refine", kind="group", loop=True, rounds=2.0, body=(stage("refine", "a"),))


def scopes(group: Stage, *indices: int) -> tuple[Scope, ...]:
    """The group's body, once for each index."""
    return tuple(Scope(index, place_stages(group.id, index, group)) for index in indices)


class Log:
    """A fold fed message by message, a second apart."""

    def __init__(self, cluster: Cluster, *stages: Stage) -> None:
        self.fold, self.at_s, self.activity = Fold(cluster), 0.0, 0
        self.add(m.Submitted(graph=Graph(id="w", stages=stages)))

    def add(self, *messages: Any) -> None:
        """One record with these messages."""
        commands = tuple(x for x in messages if isinstance(x, m.LoggedCommand))
        events = tuple(x for x in messages if not isinstance(x, m.LoggedCommand))
        self.at_s += 1.0
        self.fold.add(m.Record(at_s=self.at_s, events=events, commands=commands))

    def run(self, name: str, items: int = 1) -> None:
        """Expand and call a stage to its end."""
        instance, self.activity = f"w/{name}", self.activity + 1
        self.add(m.Expand(instance=instance))
        self.add(m.Expanded(instance=instance, tails=((),) * items))
        chunk = Chunk(instance, 0, items)
        self.add(m.Call(activity=self.activity, device="d0", model="a", chunk=chunk))
        done = [m.ItemDone(activity=self.activity, item=i) for i in range(items)]
        self.add(*done, m.Done(activity=self.activity))

    def states(self) -> dict[str, str]:
        """Status of every stage by its name in the workflow."""
        return {span.stage: span.status for span in self.history.stages}

    @property
    def history(self) -> History:
        """What the log has told so far."""
        return self.fold.history()


def test_a_map_of_several_stages_adds_its_stages_when_it_is_revealed(cluster: Cluster) -> None:
    """The total grows; the group is done when all its items are."""
    log = Log(cluster, STUDY)
    assert list(log.states()) == ["study"]
    log.add(m.Expand(instance="w/study"))
    log.add(m.Revealed(instance="w/study", scopes=scopes(STUDY, 0, 1)))
    assert len(log.fold.book.stages) == 5
    assert log.fold.book.waiting == {"": 0, "a": 2, "b": 2}
    for name in ("study[0].notes", "study[0].check", "study[1].notes"):
        log.run(name)
    assert log.states()["study"] == "running"
    log.run("study[1].check")
    assert set(log.states().values()) == {"done"}
    assert log.fold.book.done_stages == 5
    assert not any(log.fold.book.waiting.values())


def test_a_loop_is_done_when_no_round_follows(cluster: Cluster) -> None:
    """Rounds are counted as they come; an empty answer ends the group."""
    log = Log(cluster, LOOP)
    for number in (1, 2):
        log.add(m.Revealed(instance="w/refine", scopes=scopes(LOOP, number)))
        log.run(f"refine#{number}")
        assert log.states()["refine"] == "running"
    log.add(m.Revealed(instance="w/refine"))
    assert log.states() == {"refine": "done", "refine#1": "done", "refine#2": "done"}
    assert log.history.stages[0].items == 2


def test_a_skipped_stage_skips_what_needs_it_alone(cluster: Cluster) -> None:
    """The core says so of the first only; a stage with another parent goes on."""
    log = Log(
        cluster,
        stage("ask", "a"),
        stage("deep", "b"),
        stage("review", "b", "deep"),
        stage("end", "a", "ask", "review"),
    )
    log.add(m.Expand(instance="w/deep"), m.Skipped(instance="w/deep"))
    assert log.states() == {
        "ask": "waiting",
        "deep": "skipped",
        "review": "skipped",
        "end": "waiting",
    }
    assert log.fold.book.waiting == {"a": 2, "b": 0}


def test_a_join_gives_up_the_parents_it_does_not_need(cluster: Cluster) -> None:
    """When `any` starts, what is unfinished and wanted by nobody else is skipped."""
    log = Log(
        cluster,
        stage("fast", "a"),
        stage("slow", "b"),
        stage("kept", "b", kept=True),
        stage("first", "a", "fast", "slow", "kept", join=1),
    )
    log.run("fast")
    log.add(m.Expand(instance="w/first"))
    states = log.states()
    assert (states["slow"], states["kept"]) == ("skipped", "waiting")


def test_a_dropped_scope_takes_its_open_stages_along(cluster: Cluster) -> None:
    """`on_error: skip` of a group: its other items go on and the group ends."""
    log = Log(cluster, STUDY, stage("end", "b", "study"))
    log.add(m.Revealed(instance="w/study", scopes=scopes(STUDY, 0, 1)))
    log.run("study[0].notes")
    log.add(m.Dropped(instance="w/study", item=0, reason="three attempts failed"))
    log.run("study[1].notes")
    log.run("study[1].check")
    states = log.states()
    assert (states["study[0].notes"], states["study[0].check"]) == ("done", "skipped")
    assert states["study"] == "done"
    assert (log.history.stages[0].done, log.history.stages[0].dropped) == (1, 1)
    assert log.history.counts.dropped == 1


def test_twins_are_not_ready_and_end_with_their_source(cluster: Cluster) -> None:
    """An item that takes another's output is no work for a device."""
    log = Log(cluster, stage("notes", "a", mapped=True, items=3))
    twin = m.Twin(item=2, source="w/notes", source_item=0)
    log.add(m.Expanded(instance="w/notes", tails=((),) * 3, twins=(twin,)))
    assert log.fold.book.ready["a"] == 2
    log.add(m.Call(activity=1, device="d0", model="a", chunk=Chunk("w/notes", 0, 2)))
    done = [m.ItemDone(activity=1, item=item) for item in (0, 1)]
    reuse = m.Reuse(instance="w/notes", item=2, source="w/notes", source_item=0)
    log.add(*done, m.Done(activity=1), reuse)
    assert log.states() == {"notes": "done"}
    assert log.history.counts.reused == 1


def test_a_twin_whose_source_is_gone_runs_like_any_item(cluster: Cluster) -> None:
    """A call that includes it makes it an ordinary item."""
    log = Log(cluster, stage("notes", "a", mapped=True, items=2))
    twin = m.Twin(item=1, source="w/notes", source_item=0)
    log.add(m.Expanded(instance="w/notes", tails=((),) * 2, twins=(twin,)))
    log.add(m.Call(activity=1, device="d0", model="a", chunk=Chunk("w/notes", 0, 2)))
    log.add(m.Failed(activity=1, reason="boom"))
    assert log.fold.book.ready["a"] == 2


def test_kv_states_and_interruptions_are_counted(cluster: Cluster) -> None:
    """What an unload saved and a load could not bring back; bytes of a move; a second process."""
    log = Log(cluster, stage("notes", "a"))
    log.add(m.Load(activity=1, device="d0", model="a"))
    assert log.fold.lanes["d0"].held == {"a": 80}
    log.add(m.Done(activity=1), m.Unload(activity=2, device="d0", model="a", park=(0, 1)))
    log.add(m.Done(activity=2), m.Load(activity=3, device="d0", model="a", restore=(0, 1)))
    log.add(m.Done(activity=3, missing=(1,)))
    move = m.Move(
        activity=4,
        device="d1",
        model="a",
        source="d0",
        source_sequence=0,
        path=(),
        sequence=0,
        bytes_per_s=1e8,
    )
    log.add(move)
    log.add(m.Done(activity=4, moved_bytes=3_000_000))
    log.add(msgspec.structs.replace(move, activity=6, source="d1", sequence=1))
    log.add(m.Done(activity=6))
    log.add(m.Load(activity=5, device="d1", model="b"))
    log.add(m.Resumed(reason="killed"))
    counts = log.history.counts
    assert (counts.parked, counts.restored) == (2, 1)
    assert (counts.moves, counts.moved_bytes, counts.interruptions) == (1, 3_000_000, 1)
    assert counts.copies == 1
    last = log.history.bars[-1]
    assert (last.outcome, last.reason, counts.failed_attempts) == ("interrupted", "killed", 0)
    assert log.fold.lanes["d0"].held == {}
    log.add(m.Drained(device="d1", reason="busy: 429", until_s=30.0))
    log.add(m.Drained(device="d1", reason="busy: 429", until_s=40.0))
    assert log.fold.idle.reason(log.fold.lanes["d1"]) == "resting"
    log.add(m.Readmitted(device="d1"))
    assert log.history.counts.drains == 1
    log.add(m.Drained(device="d1", reason="slow: an item took long", until_s=50.0))
    assert log.fold.idle.reason(log.fold.lanes["d1"]) == "drained"


def test_the_report_names_what_is_unusual(cluster: Cluster) -> None:
    """One line, and only where there is something to say."""
    log = Log(cluster, stage("notes", "a"))
    figures = summary(Facts(cluster), log.history)
    assert "items and states" not in render(figures)
    figures = msgspec.structs.replace(figures, reused_items=3, moves=1, moved_bytes=2_500_000)
    text = render(figures)
    assert "items and states: 3 answered by an identical call, 1 moved (2.5 MB)" in text


@pytest.mark.parametrize("status", ["ok", "cancelled"])
def test_a_workflow_that_ends_leaves_nothing_waiting(cluster: Cluster, status: Any) -> None:
    """Counts per model return to zero, whatever was revealed and not run."""
    log = Log(cluster, STUDY, stage("end", "b", "study"))
    log.add(m.Revealed(instance="w/study", scopes=scopes(STUDY, 0, 1)))
    log.add(m.Expanded(instance="w/study[0].notes", tails=((),)))
    log.add(m.WorkflowEnded(workflow="w", status=status))
    assert not any(log.fold.book.waiting.values())
    assert not any(log.fold.book.ready.values())


def test_news_of_a_rest_leave_the_reason_to_the_failure_before_it(cluster: Cluster) -> None:
    """Those of a drain have it."""
    fold = Log(cluster, stage("notes", "a")).fold
    rest = m.Drained(device="d1", reason="busy: 429: wait", until_s=30.0)
    slow = m.Drained(device="d0", reason="slow: an item took long", until_s=9.0)
    assert list(troubles(fold, m.Record(at_s=1.0, events=(), commands=(rest, slow)))) == [
        "device d1 is at rest until 30.0 s, as its server asks",
        "device d0 is drained until 9.0 s: it is too slow: an item took long",
    ]
