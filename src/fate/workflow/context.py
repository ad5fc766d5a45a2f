"""Whether a workflow's prompts fit their models' contexts, as far as one can tell beforehand."""

from collections.abc import Mapping
from pathlib import Path

from fate.domain.catalog import Model
from fate.domain.graph import path_tokens
from fate.workflow.forecast import forecast
from fate.workflow.inputs import bind_inputs
from fate.workflow.problems import WorkflowError
from fate.workflow.program import compile_workflow
from fate.workflow.spec import WorkflowSpec
from fate.workflow.tokens import TokenCounter


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
    graph = forecast(compile_workflow(spec), spec.name, inputs, models, TokenCounter())
    contexts = {model.id: model.context_tokens for model in models.values()}
    problems: list[str] = []
    for stage in graph.stages:
        if stage.kind != "llm":
            continue
        prompt, context = path_tokens(stage.prompt), contexts[stage.model]
        if prompt + stage.max_tokens > context:
            problems.append(
                f"workflow {spec.name!r}, stages.{stage.id}: about {prompt} prompt tokens and "
                f"max_tokens {stage.max_tokens} exceed the {context} tokens of model "
                f"{stage.model!r}; split the text, lower max_tokens, or raise the context"
            )
    if problems:
        raise WorkflowError(problems)
