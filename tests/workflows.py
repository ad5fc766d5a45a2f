"""Runs workflows on their expander alone, one instance after the other: what a core would do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fate.domain.catalog import Model
from fate.domain.graph import InstanceId, Stage
from fate.domain.messages import (
    Command,
    Dropped,
    Event,
    Expanded,
    ExpandFailed,
    Revealed,
    Skipped,
)
from fate.workflow.expand import Expander
from fate.workflow.inputs import bind_inputs
from fate.workflow.load import load_workflow
from fate.workflow.spec import WorkflowSpec
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import MemoryOutputs

MODEL = Model(id="m", weight_bytes=1, tokenizer="t", context_tokens=4000)
#: What a fake model writes: told the instance, the item and the prompt.
Answer = Callable[[InstanceId, int, str], str]


def spec_of(folder: Path, text: str) -> WorkflowSpec:
    """Return the workflow `w` with the role `fast` whose other keys are in `text`."""
    head = "format: fate.workflow/1\nname: w\nroles: {fast: m}\n"
    file = folder / "w.yaml"
    file.write_text(head + text)
    return load_workflow(file)


def expander_of(
    spec: WorkflowSpec,
    inputs: dict[str, Any],
    outputs: MemoryOutputs,
    workflow: str = "w",
    **options: Any,
) -> Expander:
    """Return an expander of a workflow, all roles meaning one model."""
    models = dict.fromkeys(spec.roles, MODEL)
    bound = bind_inputs(spec, inputs)
    return Expander(spec, workflow, bound, models, TokenCounter(), outputs, **options)


def echo(instance: InstanceId, item: int, prompt: str) -> str:
    """Answer with the place and the prompt's first letters."""
    return f"<{instance.removeprefix('w/')}:{item}>"


@dataclass
class Interpreter:
    """Runs a workflow. With `fresh`, every question is put to an expander made for it alone.

    `drops` are the (instance, item) whose attempts are used up; `recalls` tells fresh expanders
    what the ones before were told and answered.
    """

    spec: WorkflowSpec
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    answer: Answer = echo
    drops: Iterable[tuple[InstanceId, int]] = ()
    fresh: bool = False
    recalls: bool = False
    outputs: MemoryOutputs = field(default_factory=MemoryOutputs)
    prompts: dict[tuple[InstanceId, int], str] = field(
        default_factory=dict[tuple[InstanceId, int], str]
    )
    skipped: list[InstanceId] = field(default_factory=list[InstanceId])
    failed: str = ""
    _only: Expander | None = None
    _log: list[Event | Command] = field(default_factory=list[Event | Command])

    @property
    def it(self) -> Expander:
        """The expander to ask."""
        if self.fresh or self._only is None:
            program = self._only and self._only.program  # the same for the same file
            self._only = expander_of(self.spec, self.inputs, self.outputs, program=program)
            for message in self._log if self.recalls else ():
                self._only.recall(message)
        return self._only

    def run(self) -> dict[str, Any]:
        """Run everything and return the results."""
        self._block(self.it.graph().stages)
        return self.it.results(ended=not self.failed)

    def _block(self, stages: tuple[Stage, ...]) -> None:
        ended: dict[str, bool] = {}
        for stage in stages:
            ended[stage.id] = False
            if self.failed:
                return
            if not stage.parents or any(ended[parent] for parent in stage.parents):
                ended[stage.id] = self._stage(stage)
            if not ended[stage.id]:
                self.skipped.append(f"w/{stage.id}")

    def _stage(self, stage: Stage) -> bool:
        """Run a stage; returns False where it is skipped."""
        instance = f"w/{stage.id}"
        while True:
            answer = self.it.expand(instance)
            self._log.append(answer)
            match answer:
                case Skipped():
                    return False
                case ExpandFailed(reason=reason):
                    self.failed = reason
                    return True
                case Expanded(tails=tails):
                    for item in range(len(tails)):
                        self._item(stage, instance, item)
                    return True
                case Revealed(scopes=scopes):
                    for scope in scopes:
                        self._block(scope.stages)
                    if not scopes or not stage.loop or self.failed:
                        return True

    def _item(self, stage: Stage, instance: InstanceId, item: int) -> None:
        if (instance, item) in set(self.drops):
            text = self.it.default(instance, item)
            self._log.append(Dropped(instance=instance, item=item, reason="test"))
        elif stage.kind == "llm":
            request = self.it.request(instance, item, -1)
            self.prompts[instance, item] = "".join(part.text for part in request.parts)
            text = self.answer(instance, item, self.prompts[instance, item])
        else:
            text = self.it.run_tool(instance, item)
        if text is not None:
            self.outputs.put(instance, item, text)
