"""Whether a workflow's prompts fit their models' contexts, as far as one can tell beforehand."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fate.domain.catalog import Model
from fate.domain.graph import Stage, path_tokens
from fate.workflow.compile import compile_workflow
from fate.workflow.expectations import Expectations
from fate.workflow.forecast import forecast
from fate.workflow.inputs import bind_inputs
from fate.workflow.problems import WorkflowError
from fate.workflow.spec import WorkflowSpec
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import MemoryOutputs, Values


def check_context(spec: WorkflowSpec, models: Mapping[str, Model], folder: Path) -> None:
    """Raise for every stage whose expected prompt and answer exceed its model's context.

    Inputs without a default count as empty.

    Args:
        spec: a valid workflow.
        models: the model of each role.
        folder: where default files are.
    """
    defaults = {name: each for name, each in spec.inputs.items() if not each.required}
    given = spec.model_copy(update={"inputs": defaults})
    inputs = bind_inputs(given, {}, folder)
    values = Values(compile_workflow(spec), spec.name, inputs, MemoryOutputs())
    graph = forecast(values, models, TokenCounter(), Expectations())
    contexts = {model.id: model.context_tokens for model in models.values()}
    problems = list(_too_long(spec.name, "", graph.stages, contexts))
    if problems:
        raise WorkflowError(problems)


def _too_long(
    workflow: str, path: str, stages: Iterable[Stage], contexts: Mapping[str, int]
) -> Iterator[str]:
    """Yield what is too long among stages and in the groups among them."""
    for stage in stages:
        alone = len(stage.body) == 1 and stage.body[0].id == stage.id
        inner = path if alone else f"{path}{stage.id}."
        yield from _too_long(workflow, inner, stage.body, contexts)
        if stage.kind != "llm":
            continue
        prompt, context = path_tokens(stage.prompt), contexts[stage.model]
        if prompt + stage.max_tokens > context:
            yield (
                f"workflow {workflow!r}, stages.{path}{stage.id}: about {prompt} prompt tokens and "
                f"max_tokens {stage.max_tokens} exceed the {context} tokens of model "
                f"{stage.model!r}; split the text, lower max_tokens, or raise the context"
            )
