"""What earlier runs have seen of a workflow's stages."""

from pathlib import Path

import pytest

from fate.domain.graph import Chunk, Graph, Scope, Stage
from fate.domain.messages import (
    Call,
    Command,
    Event,
    Expanded,
    ItemDone,
    Record,
    Revealed,
    Skipped,
    Submitted,
)
from fate.store.history import (
    Observer,
    StageHistory,
    default_path,
    load_history,
    quantile,
    save_history,
)

STUDY = Stage(id="study", kind="group", mapped=True)
SOLVE = Stage(id="solve", kind="group", loop=True)
NOTES = Stage(id="notes", kind="llm", model="m", mapped=True)


def observed(*steps: tuple[Event, ...] | tuple[Command, ...]) -> Observer:
    """Return an observer that saw steps of events, or of commands."""
    observer = Observer()
    for number, step in enumerate(steps):
        commands = tuple(each for each in step if isinstance(each, Call))
        events = tuple(each for each in step if not isinstance(each, Call))
        observer.add(Record(at_s=float(number), events=events, commands=commands))  # pyright: ignore[reportArgumentType]  # sorted out above
    return observer


def submitted(*stages: Stage) -> tuple[Event, ...]:
    """Return the submission of workflow `w`."""
    return (Submitted(graph=Graph(id="w", stages=stages)),)


def call(activity: int, instance: str, items: int = 1) -> tuple[Command, ...]:
    """Return a call of an instance's first items."""
    return (Call(activity=activity, device="d", model="m", chunk=Chunk(f"w/{instance}", 0, items)),)


def done(activity: int, *tokens: int) -> tuple[Event, ...]:
    """Return the items of a call, with what each wrote."""
    return tuple(
        ItemDone(activity=activity, item=item, output_tokens=each)
        for item, each in enumerate(tokens)
    )


def test_lengths_items_and_conditions_are_seen() -> None:
    """By the written id of a stage; items without tokens are tools."""
    seen = observed(
        submitted(NOTES, Stage(id="a", kind="llm"), Stage(id="t", kind="tool")),
        (Expanded(instance="w/notes", tails=((), (), ())), Skipped(instance="w/a")),
        call(1, "notes", 3),
        done(1, 10, 20, 60),
        call(2, "t"),
        done(2, 0),
    ).seen
    notes = seen["notes"]
    assert (notes.count, notes.items, notes.mean_items) == (3, [3], 3.0)
    assert (notes.length("mean"), notes.length("p50"), notes.length("p90")) == (30.0, 20.0, 60.0)
    assert (seen["a"].probability, notes.probability) == (0.0, 1.0)
    assert "t" not in seen or seen["t"].length("mean") is None


def test_scopes_of_groups_are_the_stages_as_written() -> None:
    """Items and rounds add up; a loop's rounds are known when it ends."""
    notes = Stage(id="study[0].notes", kind="llm", model="m")
    first = Stage(id="solve#1.try", kind="llm", model="m")
    seen = observed(
        submitted(STUDY, SOLVE),
        (
            Revealed(instance="w/study", scopes=(Scope(0, (notes,)), Scope(1, ()))),
            Revealed(instance="w/solve", scopes=(Scope(1, (first,)),)),
        ),
        (Expanded(instance="w/study[0].notes"), Expanded(instance="w/solve#1.try")),
        call(1, "study[0].notes"),
        done(1, 7),
        (Revealed(instance="w/solve", scopes=(Scope(2, ()),)),),
        (Revealed(instance="w/solve"),),
    ).seen
    assert (seen["study"].items, seen["study.notes"].tokens) == ([2], [7])
    assert (seen["solve"].rounds, seen["solve"].ran) == ([2], 1.0)


def test_a_loop_of_one_stage_was_asked_once() -> None:
    """Its rounds share its written id, but only the loop has a condition."""
    rounds = [Stage(id=f"refine#{n}", kind="llm", model="m") for n in (1, 2)]
    refine = Stage(id="refine", kind="group", loop=True)
    seen = observed(
        submitted(refine),
        (Revealed(instance="w/refine", scopes=(Scope(1, (rounds[0],)),)),),
        (Expanded(instance="w/refine#1"),),
        (Revealed(instance="w/refine", scopes=(Scope(2, (rounds[1],)),)),),
        (Expanded(instance="w/refine#2"),),
        (Revealed(instance="w/refine"),),
    ).seen["refine"]
    assert (seen.ran, seen.rounds) == (1.0, [2])


def test_the_file_merges_and_is_bounded(tmp_path: Path) -> None:
    """Counts add up, samples do not grow without end, the last used workflows stay."""
    path = tmp_path / "home" / "history.json"
    assert load_history(path, "w") == {}
    for run in range(40):
        seen = StageHistory(count=1000, tokens=list(range(1000)), items=[run], ran=10.0)
        save_history(path, "w", {"a": seen})
    known = load_history(path, "w")["a"]
    assert known.count == 40_000
    assert len(known.tokens) <= 64 and known.items == list(range(40))
    assert known.length("p50") == pytest.approx(500, rel=0.05)
    assert known.length("p90") == pytest.approx(900, rel=0.05)
    assert known.ran <= 200
    for number in range(205):
        save_history(path, f"other{number}", {"a": StageHistory(count=1)})
    assert load_history(path, "w") == {} and load_history(path, "other204")["a"].count == 1


def test_a_broken_file_counts_as_empty(tmp_path: Path) -> None:
    """And is replaced by the next run."""
    path = tmp_path / "history.json"
    path.write_text("{")
    assert load_history(path, "w") == {}
    save_history(path, "w", {"a": StageHistory(count=1)})
    assert load_history(path, "w")["a"].count == 1
    assert [each.name for each in tmp_path.iterdir()] == ["history.json"]


def test_the_path_follows_fate_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beside the profile."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "history.json"


def test_quantiles() -> None:
    """The smallest value that enough others do not exceed."""
    assert [quantile([3, 1, 2], share) for share in (0.0, 0.5, 0.9, 1.0)] == [1, 2, 3, 3]
    assert quantile(list(range(1, 11)), 0.9) == 9
