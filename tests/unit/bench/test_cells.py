"""The cells of the live benchmark, against what the docs say of them."""

from collections.abc import Iterable

import pytest

from fate.bench.cells import CELLS, GAIN, LIVE, Part, pick, words
from fate.domain.catalog import Model
from fate.domain.errors import FateError
from fate.domain.graph import Graph
from fate.workflow.expand import Expander
from fate.workflow.spec import GroupStage, Stage
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import MemoryOutputs

MODELS = {letter: Model(id=letter, weight_bytes=1, tokenizer="t") for letter in "ABC"}


def graph(part: Part) -> Graph:
    """Return a part's graph as it is submitted."""
    roles = {role: MODELS[letter] for role, letter in part.roles.items()}
    program = part.program
    expander = Expander(
        program.spec, part.id, part.inputs, roles, TokenCounter(), MemoryOutputs(), program
    )
    return expander.graph()


def calls(cell: str) -> list[str]:
    """Return the model of every call of a cell."""
    stages = [stage for part in CELLS[cell] for stage in graph(part).stages]
    return [stage.model for stage in stages for _ in range(stage.items)]


def flat(stages: Iterable[Stage]) -> list[Stage]:
    """Return stages with those of groups in place of the groups."""
    found: list[Stage] = []
    for stage in stages:
        found += flat(stage.stages.values()) if isinstance(stage, GroupStage) else [stage]
    return found


def test_words_depend_on_their_name_alone() -> None:
    """Nothing is drawn at run time: every run of every version has the same prompts."""
    assert words(4, "reader") == words(4, "reader") != words(4, "critic")
    assert words(100, "reader").startswith(words(4, "reader"))
    assert all(len(word) == 2 for word in words(50, "x").split())


def test_mixed_has_two_map_reduces_and_four_chains() -> None:
    """34 calls: 2 x (4 + 2 + 1) and 4 x 5."""
    assert len(calls("mixed")) == 34
    assert len(calls("chains")) == len(calls("lockstep")) == 20
    assert len(calls("mapreduce")) == 7
    assert calls("control") == ["A"] * 12


def test_chains_are_out_of_phase_and_lockstep_is_in_phase() -> None:
    """At the first step the chains want all three models; in lockstep one."""
    first = [graph(part).stages[0].model for part in CELLS["chains"]]
    assert set(first) == set("ABC")
    assert {graph(part).stages[0].model for part in CELLS["lockstep"]} == {"A"}


def test_workflows_share_what_they_should_and_nothing_else() -> None:
    """The same system text begins every prompt on a model; the control shares nothing."""
    heads: dict[str, set[str]] = {}
    for part in CELLS["chains"]:
        for stage in graph(part).stages:
            heads.setdefault(stage.model, set()).add(stage.prompt[0].key)
    assert {model: len(keys) for model, keys in heads.items()} == {"A": 1, "B": 1, "C": 1}
    (control,) = CELLS["control"]
    assert len(set(control.inputs["texts"])) == 12


def test_all_work_is_fixed() -> None:
    """Raw prompts, no temperature, and exactly as many tokens as asked for."""
    for part in {part.file: part for parts in CELLS.values() for part in parts}.values():
        for stage in flat(part.program.spec.stages.values()):
            assert stage.kind == "llm" and stage.exact_tokens and not stage.chat
            assert stage.temperature == 0.0 and stage.max_tokens in (24, 32)


def test_cells_are_chosen_by_name() -> None:
    """`all` is every cell; the pooled cell of that name has those with a gain."""
    assert pick("all") == list(LIVE)
    assert pick("mixed, control") == ["mixed", "control"]
    assert set(GAIN) <= set(LIVE) <= set(CELLS)
    with pytest.raises(FateError, match="no cell 'mix'"):
        pick("mix")
