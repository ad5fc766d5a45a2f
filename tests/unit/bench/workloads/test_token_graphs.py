"""Scientific DAGs as workflows on catalogue models."""

from fate.bench.workloads.token_graphs import ARTEFACT_BYTES, token_graph
from fate.bench.workloads.tokens import map_tokens
from fate.bench.workloads.wfformat import Instance, Task
from fate.domain.graph import path_tokens, shared_tokens


def instance() -> Instance:
    """Two readers of one file whose outputs a third joins; only one of them is read."""

    def task(
        name: str, parents: tuple[str, ...], inputs: dict[str, int], outputs: dict[str, int]
    ) -> Task:
        category = "join" if parents else "read"
        return Task(
            id=name,
            category=category,
            runtime_s=10.0 + len(name),
            parents=parents,
            inputs=inputs,
            outputs=outputs,
        )

    return Instance(
        name="x",
        application="app",
        tasks=(
            task("a", (), {"f": 9}, {"big": 10**10, "nobody": 5}),
            task("bb", (), {"f": 9}, {"small": 70}),
            task("ccc", ("a", "bb"), {"big": 10**10, "small": 70}, {}),
        ),
    )


def test_prompts_are_the_mapping() -> None:
    """Token for token, with parents' outputs under their keys and the document shared."""
    graph, stages = token_graph(instance(), "w"), map_tokens(instance())
    assert [path_tokens(s.prompt) for s in graph.stages] == [s.prompt_tokens for s in stages]
    first, second, join = graph.stages
    assert shared_tokens(first.prompt, second.prompt) == stages[0].prompt_tokens
    assert [segment.key for segment in join.prompt[-2:]] == ["out:w/a[0]", "out:w/bb[0]"]
    assert (first.model, join.model) == ("llama-3b", "llama-8b")


def test_artefacts_are_what_others_read() -> None:
    """Cut at 64 MiB; texts move for free."""
    assert [s.output_bytes for s in token_graph(instance(), "w").stages] == [0, 0, 0]
    graph = token_graph(instance(), "w", artefacts=True)
    assert [s.output_bytes for s in graph.stages] == [ARTEFACT_BYTES, 70, 0]
