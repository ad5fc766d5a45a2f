"""Whether the models that a workflow's roles mean do what its stages ask of them."""

from collections.abc import Iterator, Mapping

from fate.domain.catalog import Model
from fate.workflow.problems import WorkflowError
from fate.workflow.spec import EmbedStage, GroupStage, ModelStage, Stage, WorkflowSpec


def check_tasks(spec: WorkflowSpec, models: Mapping[str, Model]) -> None:
    """Raise for every stage that asks a model for what is not its task.

    Args:
        spec: a valid workflow.
        models: the model of each role.
    """
    problems: list[str] = []
    for path, stage in _calls(spec.stages, ""):
        model = models[stage.model]
        wanted = "embed" if isinstance(stage, EmbedStage) else "generate"
        if model.task != wanted:
            problems.append(
                f"workflow {spec.name!r}, stages.{path}: role {stage.model!r} means model "
                f"{model.id!r}, whose task is {model.task!r}; the stage needs a model with "
                f"`task: {wanted}` in the cluster file"
            )
    if problems:
        raise WorkflowError(problems)


def _calls(stages: Mapping[str, Stage], path: str) -> Iterator[tuple[str, ModelStage]]:
    """Yield (path, stage) of all that call models, inside groups too."""
    for name, stage in stages.items():
        if isinstance(stage, GroupStage):
            yield from _calls(stage.stages, f"{path}{name}.")
        elif isinstance(stage, ModelStage):
            yield f"{path}{name}", stage
