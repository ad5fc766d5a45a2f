"""Real DAGs as workflows on catalogue models: the token mapping, made into graphs."""

from collections.abc import Mapping

from fate.bench.workloads.tokens import TokenStage, map_tokens
from fate.bench.workloads.wfformat import Instance
from fate.domain.graph import Graph, Segment, Stage, item_key

#: Model class -> catalogue model.
CLASS_MODELS: dict[str, str] = {
    "small": "llama-3b",
    "medium": "llama-8b",
    "large": "qwen3-14b",
}
#: An artefact is at most this large [B]: files of scientific workflows reach gigabytes.
ARTEFACT_BYTES = 64 << 20


def token_graph(
    instance: Instance,
    workflow: str,
    *,
    artefacts: bool = False,
    models: Mapping[str, str] = CLASS_MODELS,
) -> Graph:
    """Return an instance as a workflow of LLM calls.

    Prompts are the prefix chain, a document of the stage's own, and what parents wrote. Nothing
    moves between devices but KV states, as answers are text; with `artefacts` children also fetch
    the files that a task writes for others, each task's bytes cut at `ARTEFACT_BYTES`.

    Args:
        instance: tasks, with what was measured of them.
        workflow: id of the graph; its prefixes are those of every instance of the application.
        artefacts: whether files are fetched.
        models: model class -> model.
    """
    read = {name for task in instance.tasks for name in task.inputs}
    files = {
        task.id: sum(size for name, size in task.outputs.items() if name in read)
        for task in instance.tasks
    }
    stages = [
        _stage(each, workflow, models[each.model_class], files[each.id] if artefacts else 0)
        for each in map_tokens(instance)
    ]
    return Graph(id=workflow, stages=tuple(stages))


def _stage(each: TokenStage, workflow: str, model: str, file_bytes: int) -> Stage:
    shared = [Segment(key, tokens) for key, tokens in each.prefix_chain]
    own = each.prompt_tokens - each.shared_prefix_tokens - sum(each.parent_tokens)
    document = [Segment(f"text:{workflow}/{each.id}", own)] if own > 0 else []
    outputs = [
        Segment(item_key(f"{workflow}/{parent}", 0), tokens)
        for parent, tokens in zip(each.parents, each.parent_tokens, strict=True)
    ]
    return Stage(
        id=each.id,
        kind="llm",
        model=model,
        parents=each.parents,
        prompt=(*shared, *document, *outputs),
        output_tokens=float(each.output_tokens),
        max_tokens=max(1024, each.output_tokens),
        output_bytes=min(file_bytes, ARTEFACT_BYTES),
    )
