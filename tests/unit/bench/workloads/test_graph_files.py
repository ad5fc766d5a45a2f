"""Graphs of other projects from a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from fate.bench.workloads.graph_files import MAP_ITEMS, GraphFileError, graph_workflows, read_graphs
from fate.domain.graph import ITEM, item_key

_SHARED = Path(__file__).parents[5] / "shared" / "data" / "llm_workflows.json"


def stage(name: str, kind: str = "llm", parents: str = "", **more: Any) -> dict[str, Any]:
    """A stage of a file; parents are letters."""
    return {"id": name, "kind": kind, "parents": list(parents), "model_class": "medium", **more}


def write(folder: Path, *graphs: Any) -> Path:
    """Write a file of graphs."""
    path = folder / "graphs.json"
    path.write_text(json.dumps(graphs), encoding="utf-8")
    return path


def test_models_and_texts(tmp_path: Path) -> None:
    """Known models are taken as they are, others by class; groups and labels share a text."""
    graph = {
        "name": "g",
        "stages": [
            stage("a", model="meta-llama/Llama-3.2-3B-Instruct", label="judge_0"),
            stage("b", model="gpt-4o", model_class="large", label="judge_1", max_tokens=64),
            stage("c", "tool", "ab"),
            stage("d", parents="c", map=True, model=None),
            stage("e", parents="d", prefix_group="final"),
        ],
    }
    arrival = graph_workflows(read_graphs(write(tmp_path, graph)))[0]
    a, b, c, d, e = arrival.declared.stages
    assert [s.model for s in (a, b, d)] == ["llama-3b", "qwen3-14b", "llama-8b"]
    assert a.prompt[0] == b.prompt[0] != d.prompt[0]
    assert (b.max_tokens, a.max_tokens) == (64, 1000) and b.output_tokens < 64
    assert c.kind == "tool" and c.tool_s > 0
    assert (d.items, d.mapped) == (MAP_ITEMS, True) and d.prompt[1].key == f"{ITEM}g-0/d"
    assert [s.key for s in e.prompt[-MAP_ITEMS:]] == [
        item_key("g-0/d", i) for i in range(MAP_ITEMS)
    ]


def test_helium_gets_classes_by_shape(tmp_path: Path) -> None:
    """At most one parent: small; joins: medium; a joining end: large."""
    graph = {
        "name": "h",
        "source": {"repo": "mlsys-io/helium_demo"},
        "stages": [
            stage("a", model="Qwen3-8B"),
            stage("b", parents="a", model="Qwen3-8B"),
            stage("c", parents="ab", model="Qwen3-8B"),
            stage("d", parents="bc", model="Qwen3-8B"),
        ],
    }
    (form,) = read_graphs(write(tmp_path, graph))
    assert [s.model for s in form.stages] == ["llama-3b", "llama-3b", "llama-8b", "qwen3-14b"]


def test_seeds(tmp_path: Path) -> None:
    """The same seed gives the same workflows, in turn."""
    path = write(tmp_path, *[{"name": name, "stages": [stage("a")]} for name in "xy"])
    forms = read_graphs(path)
    made = graph_workflows(forms, 1, 5)
    assert [each.declared.id for each in made] == ["x-0", "y-1", "x-2", "y-3", "x-4"]
    assert made == graph_workflows(forms, 1, 5) != graph_workflows(forms, 2, 5)


#: Files that cannot be used, and what is said of them.
_BAD: list[tuple[list[Any], str]] = [
    ([], "must be a list of graphs"),
    ([{"stages": []}], "graph 0: no stages"),
    ([{"name": "x"}], "graph 0: 'stages' is missing"),
    ([{"name": "x", "stages": [stage("a", parents="b")]}], "'a' comes twice, or before its"),
    ([{"name": "x", "stages": [stage("a", "magic")]}], "unknown kind 'magic'"),
    ([{"name": "x", "stages": [stage("a", model_class="xl")]}], "unknown model_class 'xl'"),
    ([{"name": "x", "stages": [stage("a", max_tokens=-5)]}], "'a': max_tokens must be at least 1"),
]


@pytest.mark.parametrize(("graphs", "says"), _BAD)
def test_bad_files(tmp_path: Path, graphs: list[Any], says: str) -> None:
    """Which graph, and why."""
    with pytest.raises(GraphFileError, match=says):
        read_graphs(write(tmp_path, *graphs))


def test_no_json(tmp_path: Path) -> None:
    """Not a JSON file."""
    (tmp_path / "x").write_text("{", encoding="utf-8")
    with pytest.raises(GraphFileError, match="not a JSON file"):
        read_graphs(tmp_path / "x")


@pytest.mark.skipif(not _SHARED.is_file(), reason="the graphs lie on developers' machines")
def test_real_graphs() -> None:
    """All of them become workflows; Helium's trading keeps its 89 stages."""
    forms = read_graphs(_SHARED)
    made = {each.declared.id.rpartition("-")[0]: each for each in graph_workflows(forms)}
    assert len(made) == len(forms) >= 30
    assert len(made["helium-trading-8b"].declared.stages) == 89
