"""What is expected of a workflow: declared, else seen in earlier runs, else a guess."""

from pathlib import Path

import pytest
from tests.workflows import expander_of, spec_of

from fate.domain.graph import Stage, path_tokens
from fate.workflow.expectations import Expectations, Seen
from fate.workflow.values import MemoryOutputs

TEXT = """
stages:
  plan: {kind: llm, model: fast, prompt: P, max_tokens: 200, schema: {type: array}TOKENS}
  study:
    kind: group
    map: {over: "{{ stages.plan.output }}"ITEMS}
    stages:
      notes: {kind: llm, model: fast, prompt: "{{ item }}", max_tokens: 50}
      fix:
        kind: llm
        model: fast
        prompt: "{{ stages.notes.output }}"
        when: "{{ stages.notes.output == 'bad' }}"
        LIKELY
  solve:
    kind: group
    repeat: {max: 9, until: "{{ stages.try.output == 'ok' }}"ROUNDS}
    stages:
      try: {kind: llm, model: fast, prompt: "{{ previous }}{{ stages.plan.output }}", chat: false}
"""
DECLARED = {
    "TOKENS": ", expect_tokens: 20",
    "ITEMS": ", items: 2",
    "LIKELY": "probability: 0.1",
    "ROUNDS": ", expect: 2",
}
HISTORY = Expectations({
    "plan": Seen(tokens=80.0),
    "study": Seen(items=4.6),
    "study.notes": Seen(tokens=70.0),
    "study.fix": Seen(probability=0.25),
    "solve": Seen(rounds=3.5),
})  # fmt: skip


def stages(folder: Path, holes: dict[str, str], history: Expectations) -> dict[str, Stage]:
    """Return the expected stages, those of bodies too, by their path."""
    text = TEXT
    for hole in DECLARED:
        text = text.replace(hole, holes.get(hole, ""))
    graph = expander_of(spec_of(folder, text), {}, MemoryOutputs(), history=history).graph()
    found = {stage.id: stage for stage in graph.stages}
    return found | {f"{s.id}.{each.id}": each for s in graph.stages for each in s.body}


@pytest.mark.parametrize(
    ("holes", "history", "expected"),
    [
        ({}, Expectations(), (200.0, 8, 0.5, 5.0)),
        ({}, HISTORY, (80.0, 5, 0.25, 3.5)),
        (DECLARED, HISTORY, (20.0, 2, 0.1, 2.0)),
    ],
)
def test_declared_wins_over_seen_wins_over_guessed(
    tmp_path: Path,
    holes: dict[str, str],
    history: Expectations,
    expected: tuple[float, int, float, float],
) -> None:
    """For lengths, items, conditions and rounds alike."""
    found = stages(tmp_path, holes, history)
    assert expected == (
        found["plan"].output_tokens,
        found["study"].items,
        found["study.fix"].probability,
        found["solve"].rounds,
    )


def test_seen_lengths_are_bounded_by_what_is_allowed(tmp_path: Path) -> None:
    """The file may have changed since."""
    assert stages(tmp_path, {}, HISTORY)["study.notes"].output_tokens == 50.0


def test_previous_is_expected_at_its_mean_over_the_rounds(tmp_path: Path) -> None:
    """The first round has none."""
    found = stages(tmp_path, DECLARED, HISTORY)
    previous, plan = found["solve.try"].prompt
    assert (previous.key, plan.tokens) == ("expr:w/solve:previous", 20)
    assert previous.tokens == pytest.approx(256 / 2, rel=0.01)


def test_an_item_of_an_unknown_list_is_a_part_of_it(tmp_path: Path) -> None:
    """The list's expected text over the number of its items."""
    found = stages(tmp_path, DECLARED, HISTORY)
    assert path_tokens(found["study.notes"].prompt) == 4 + 10 + 4
    assert found["study.fix"].parents == ("notes",)
