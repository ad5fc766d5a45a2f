"""Identical calls are marked, over all workflows of a run; what could differ is not."""

from pathlib import Path

import pytest
from tests.workflows import expander_of, spec_of

from fate.domain.messages import Expanded, Twin
from fate.workflow.expand import Expander
from fate.workflow.twins import TwinIndex
from fate.workflow.values import MemoryOutputs

TEXT = """
inputs: {list: {kind: json}}
TOP
stages:
  a: {kind: llm, model: fast, map: {over: "{{ inputs.list }}"}, prompt: "Say {{ item }}"MORE}
  b: {kind: llm, model: fast, prompt: "Say {{ inputs.list[0] }}"OTHER}
"""


def made(folder: Path, text: str, *, twins: TwinIndex | None = None) -> Expander:
    """Return an expander of the workflow with its holes filled."""
    for hole in ("TOP", "MORE", "OTHER"):
        text = text.replace(hole, "")
    index = twins or TwinIndex()
    return expander_of(
        spec_of(folder, text), {"list": ["x", "y", "x"]}, MemoryOutputs(), twins=index
    )


def twins_of(it: Expander, stage: str) -> tuple[Twin, ...]:
    """Expand a stage and return its twins."""
    result = it.expand(f"w/{stage}")
    assert isinstance(result, Expanded), result
    return result.twins


def test_an_item_is_a_twin_of_the_first_that_asks_the_same(tmp_path: Path) -> None:
    """Of its own instance or an earlier one; asking twice changes nothing."""
    it = made(tmp_path, TEXT)
    assert twins_of(it, "a") == (Twin(2, "w/a", 0),)
    assert twins_of(it, "b") == (Twin(0, "w/a", 0),)
    assert twins_of(it, "a") == (Twin(2, "w/a", 0),)


@pytest.mark.parametrize(
    "other",
    ["max_tokens: 3", "seed: 1", "stop: [x]", "system: Be brief.", "chat: false", "temperature: 1",
     "exact_tokens: true", "schema: {type: string}"],
)  # fmt: skip
def test_other_calls_are_no_twins(tmp_path: Path, other: str) -> None:
    """Whatever changes the answer makes another call; warm ones are never shared."""
    it = made(tmp_path, TEXT.replace("OTHER", f", {other}"))
    twins_of(it, "a")
    assert twins_of(it, "b") == ()


def test_warm_calls_are_not_shared_among_themselves(tmp_path: Path) -> None:
    """Equal prompts at a temperature are meant to give different answers."""
    assert twins_of(made(tmp_path, TEXT.replace("MORE", ", temperature: 0.5")), "a") == ()


def test_reuse_can_be_switched_off(tmp_path: Path) -> None:
    """For the whole file."""
    it = made(tmp_path, TEXT.replace("TOP", "reuse: false"))
    assert twins_of(it, "a") == ()


def test_workflows_of_a_run_share_their_index(tmp_path: Path) -> None:
    """Two submissions over the same inputs run each call once."""
    index, inputs = TwinIndex(), {"list": ["y"]}
    first = made(tmp_path, TEXT, twins=index)
    spec = first.program.spec
    second = expander_of(spec, inputs, MemoryOutputs(), workflow="v", twins=index)
    twins_of(first, "a")
    result = second.expand("v/a")
    assert isinstance(result, Expanded) and result.twins == (Twin(0, "w/a", 1),)


def test_a_dropped_item_is_no_source(tmp_path: Path) -> None:
    """The next that asks the same is made."""
    it = made(tmp_path, TEXT)
    twins_of(it, "a")
    it.default("w/a", 0)
    assert twins_of(it, "b") == ()
