"""Measured shapes and token numbers, and the cells made of them."""

import random
from statistics import fmean

import pytest

from fate.bench.workloads.draft import Draft, models_of
from fate.bench.workloads.lengths import generator
from fate.bench.workloads.native import LLM_NATIVE_CELLS, TEMPLATES, llm_native
from fate.bench.workloads.trading import trading
from fate.domain.errors import FateError
from fate.domain.graph import Graph, path_tokens, shared_tokens

#: Template -> number of model calls, edges between stages.
_SHAPES = {
    "chain": (6, 5), "code-agent": (30, 87), "debate": (6, 9), "mapreduce": (15, 14),
    "metagpt": (4, 6), "rag": (3, 4), "reason": (4, 3), "reflection": (24, 36),
    "short-agent": (10, 27), "trading": (88, 260), "tree": (50, 49), "vote": (5, 4),
}  # fmt: skip


def one(template: str, seed: int = 0) -> Graph:
    """Return one workflow as it was declared."""
    return llm_native(seed, 1, template)[0].declared


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_shapes(template: str) -> None:
    """As many calls and edges as the real workflow has."""
    graph = one(template)
    calls = sum(stage.kind == "llm" for stage in graph.stages)
    edges = sum(len(stage.parents) for stage in graph.stages)
    assert (calls, edges) == _SHAPES[template]


def stage_tokens(template: str, stage: str, draws: int = 300) -> tuple[float, float]:
    """Return the mean tokens of a stage's prompts and answers, as they turn out."""
    prompts, answers = list[int](), list[float]()
    for seed in range(draws):
        graph = llm_native(seed, 1, template)[0].actual
        found = next(each for each in graph.stages if each.id == stage)
        prompts.append(path_tokens(found.prompt))
        answers.append(found.output_tokens)
    return fmean(prompts), fmean(answers)


@pytest.mark.parametrize(
    ("template", "stage", "prompt", "answer"),
    [
        ("mapreduce", "expert3", 165, 294),
        ("mapreduce", "sum", 4380, 168),
        ("debate", "agent1-1", 1129, 360),
        ("reflection", "q2-final", 1662, 139),
        ("tree", "writer", 4458, 512),
        ("chain", "part3", 2241, 480),
        ("vote", "final", 1360, 350),
    ],
)
def test_tokens_are_the_measured_ones(
    template: str, stage: str, prompt: float, answer: float
) -> None:
    """Means of prompts within 8 %, of answers within 10 %: limits cut the longest."""
    found = stage_tokens(template, stage)
    assert found[0] == pytest.approx(prompt, rel=0.08)
    assert found[1] == pytest.approx(answer, rel=0.10)


def test_trading_is_as_wide_and_deep_as_measured() -> None:
    """14 analysts, 4 merges, 2 + 2 researchers, a manager, 8 traders, 24 + 24 + 8, one manager."""
    graph, depth = one("trading"), dict[str, int]()
    for stage in graph.stages:
        depth[stage.id] = 1 + max([depth[parent] for parent in stage.parents], default=-1)
    levels = [sum(d == level for d in depth.values()) for level in range(10)]
    assert levels == [14, 4, 2, 2, 1, 8, 24, 24, 8, 1]
    by_id = {stage.id: stage for stage in graph.stages}
    assert path_tokens(by_id["bear-again"].prompt) == 3375
    assert path_tokens(by_id["trader4-safe-again"].prompt) == 4850
    first, again = by_id["trader4-safe"], by_id["trader4-safe-again"]
    assert shared_tokens(again.prompt, first.prompt) == path_tokens(first.prompt)
    draft = Draft("small", generator(1))
    trading(draft, traders=3)
    assert len(draft.done().declared.stages) == 88 - 5 * 8


def test_static_texts_are_shared_by_workflows() -> None:
    """Two workflows of a template start alike, and in nothing else."""
    first, second = [each.declared.stages[0] for each in llm_native(0, 2, "debate")]
    assert first.prompt[0] == second.prompt[0] and first.prompt[1].key != second.prompt[1].key


def test_agents_wait_for_their_tools() -> None:
    """Tools last as long as drawn, are expected at the mean, and stand in the next prompt."""
    arrival = llm_native(0, 1, "short-agent")[0]
    declared, actual = arrival.declared.stages[1], arrival.actual.stages[1]
    assert declared.kind == "tool" and 0.02 <= actual.tool_s <= 60.0 != declared.tool_s
    think = arrival.declared.stages[2]
    assert think.prompt[-1].key == f"out:{arrival.declared.id}/act1[0]"


def test_templates_are_taken_in_turn() -> None:
    """All of them by default; an unknown one is refused with what there is."""
    ids = [each.declared.id for each in llm_native(0, 14)]
    assert ids[:2] == ["chain-0", "code-agent-1"] and ids[12] == "chain-12"
    with pytest.raises(FateError, match="unknown workflow template 'vot'; known: chain"):
        llm_native(0, 1, "vot")


@pytest.mark.parametrize("cell", sorted(LLM_NATIVE_CELLS))
def test_cells(cell: str) -> None:
    """At most 250 model calls each, all of which some device can take; the truth is drawn."""
    case = LLM_NATIVE_CELLS[cell].case(0)
    calls = [s for _, graph in case.arrivals for s in graph.stages if s.kind == "llm"]
    assert 50 <= len(calls) <= 250
    assert {s.model for s in calls} == {model.id for model in case.cluster.models}
    assert set(case.truth.actual) == {graph.id for _, graph in case.arrivals}
    assert [graph for _, graph in case.arrivals] != list(case.truth.actual.values())
    assert LLM_NATIVE_CELLS[cell].case(0) == case


def test_models_are_listed_once() -> None:
    """Sorted, so that clusters do not depend on the order of workflows."""
    assert models_of(llm_native(0, 2, ["vote", "debate"])) == (
        "llama-70b-awq",
        "llama-8b",
        "qwen3-8b",
        "r1-8b",
    )
    assert isinstance(generator("a"), random.Random)
