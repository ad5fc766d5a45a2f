"""The critical path, what stages start from, and memory over time."""

from collections.abc import Callable
from itertools import pairwise

import msgspec

from fate.domain import messages as m
from fate.domain.graph import Graph, Scope, Stage
from fate.drivers.setup import Outcome
from fate.view.critical import critical_path
from fate.view.fold import fold
from fate.view.history import Counts, Gap, History, RunFacts
from fate.view.memory import memory_steps
from fate.view.stages import StageBook


def test_the_path_goes_back_over_loads_and_parents(
    facts: RunFacts, records: list[m.Record]
) -> None:
    """Every activity of the hand-made run waits for the one before it."""
    assert critical_path(fold(facts.cluster, records)) == (0, 1, 2, 3, 4)


def test_nothing_ran() -> None:
    """No bars, no path."""
    empty = History(
        start_s=0.0, end_s=0.0, bars=(), idle=(), stages=(), workflows=(), plans=(),
        counts=Counts(),
    )  # fmt: skip
    assert critical_path(empty) == ()


def test_the_path_is_a_chain_in_time(
    run_many: Callable[[int, int], tuple[RunFacts, Outcome]],
) -> None:
    """No two of its activities overlap, the last one ends last, and it has no hole to speak of."""
    facts, outcome = run_many(1, 5)
    history = fold(facts.cluster, outcome.records)
    path = [history.bars[n] for n in critical_path(history)]
    assert path[-1].end_s == history.end_s
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in pairwise(path))
    held_s = sum(bar.end_s - bar.start_s for bar in path)
    assert held_s > 0.9 * history.makespan_s


def stage(name: str, *parents: str, **fields: object) -> Stage:
    """Return a model call."""
    given = {"id": name, "kind": "llm", "parents": parents, "model": "a", **fields}
    return msgspec.convert(given, Stage)


def test_groups_are_seen_through() -> None:
    """A map's first stages start from what the map does; who reads the map, from all its ends."""
    book = StageBook()
    body = (stage("read"), stage("check", "read"))
    group = stage("study", "split", kind="group", body=[msgspec.to_builtins(s) for s in body])
    book.submit(Graph(id="w", stages=(stage("split"), group, stage("end", "study"))), 0.0)
    scopes = [
        Scope(n, (stage(f"study[{n}].read"), stage(f"study[{n}].check", f"study[{n}].read")))
        for n in range(2)
    ]
    book.revealed("w/study", scopes, 1.0)
    needs = {span.instance: span.needs for span in book.spans()}
    assert needs["w/study[1].read"] == ("w/split",)
    assert needs["w/study[1].check"] == ("w/study[1].read",)
    assert needs["w/end"] == ("w/study[0].check", "w/study[1].check")


def test_a_round_starts_from_the_round_before() -> None:
    """And who reads a loop starts from its last round."""
    book = StageBook()
    group = stage("solve", kind="group", loop=True, body=[msgspec.to_builtins(stage("solve"))])
    book.submit(Graph(id="w", stages=(group, stage("end", "solve"))), 0.0)
    for n in (1, 2):
        book.revealed("w/solve", [Scope(n, (stage(f"solve#{n}"),))], float(n))
    needs = {span.instance: span.needs for span in book.spans()}
    assert needs["w/solve#2"] == ("w/solve#1",)
    assert needs["w/end"] == ("w/solve#2",)


def test_memory_grows_with_a_load_and_is_lost_with_the_process(
    facts: RunFacts, records: list[m.Record]
) -> None:
    """Bytes are reserved when a load begins; another process starts with empty devices."""
    history = fold(facts.cluster, records)
    steps = memory_steps(facts.cluster, history)["d0"]
    assert (steps.budget, steps.most) == (100, 80)
    assert (steps.at_s, steps.levels) == ((0.5,), (((0, 80, 0),),))
    cut = msgspec.structs.replace(history, gaps=(Gap(start_s=6.0, end_s=7.0),))
    steps = memory_steps(facts.cluster, cut)["d0"]
    assert (steps.at_s, steps.levels) == ((0.5, 7.0), (((0, 80, 0),), ()))


def test_a_failed_load_gives_its_bytes_back(facts: RunFacts, records: list[m.Record]) -> None:
    """And an unload when it is done."""
    failed = m.Record(at_s=1.5, events=(m.Failed(activity=1, reason="disk"),))
    history = fold(facts.cluster, [*records[:3], failed])
    assert memory_steps(facts.cluster, history)["d0"].levels == (((0, 80, 0),), ())


def test_a_resumed_run_shows_the_gap(facts: RunFacts, records: list[m.Record]) -> None:
    """From the last record of one process to the first one of the next."""
    resumed = m.Record(at_s=4.0, events=(m.Resumed(reason="killed"),))
    history = fold(facts.cluster, [*records[:4], resumed])
    assert history.gaps == (Gap(start_s=1.5, end_s=4.0, reason="killed"),)
