"""What templates see at run time: inputs, and the outputs of finished stages."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from fate.workflow.program import Program
from fate.workflow.spec import JoinTool, Json, LlmStage
from fate.workflow.tools import decode, find_json


class OutputReader(Protocol):
    """Where finished texts are found; `store.Outputs` is one."""

    def items(self, instance: str) -> list[tuple[int, str]]:
        """Return (item, text) of every finished item, in item order."""
        ...


class MemoryOutputs:
    """Outputs in memory: for tests, and for what is known before a run."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[int, str]] = {}

    def put(self, instance: str, item: int, text: str) -> None:
        """Store an item's text."""
        self._texts.setdefault(instance, {})[item] = text

    def items(self, instance: str) -> list[tuple[int, str]]:
        """Return (item, text) of every stored item, in item order."""
        return sorted(self._texts.get(instance, {}).items())


class Values:
    """Inputs and outputs of one workflow; outputs are read when a template mentions them.

    Only finished stages may be asked for: their outputs do not change any more.
    """

    def __init__(
        self, program: Program, workflow: str, inputs: Mapping[str, Any], outputs: OutputReader
    ) -> None:
        self.program, self.workflow, self.inputs = program, workflow, inputs
        self.stages = _Stages(self)
        self._outputs = outputs
        self._decoded_values: dict[str, Json] = {}

    def finished_items(self, stage: str) -> int:
        """Return how many of a stage's items have an output."""
        return len(self._stored(stage))

    def texts(self, stage: str) -> list[str]:
        """Return a stage's outputs as prompts show them, one for each item."""
        spec = self.program.stages[stage].spec
        stored = self._stored(stage)
        if isinstance(spec, LlmStage | JoinTool):
            return stored
        values = [decode(text) for text in stored]
        return [v if isinstance(v, str) else text for v, text in zip(values, stored, strict=True)]

    def value(self, stage: str) -> Json:
        """Return a stage's output as a value: a list of one for each item if it is a map."""
        if stage not in self._decoded_values:
            # kept, because each item of a map may ask for it
            values = [self._decoded(stage, text) for text in self._stored(stage)]
            mapped = self.program.stages[stage].spec.map is not None
            self._decoded_values[stage] = values if mapped else values[0]
        return self._decoded_values[stage]

    def _stored(self, stage: str) -> list[str]:
        return [text for _, text in self._outputs.items(f"{self.workflow}/{stage}")]

    def _decoded(self, stage: str, text: str) -> Json:
        spec = self.program.stages[stage].spec
        if isinstance(spec, JoinTool):
            return text
        if isinstance(spec, LlmStage):
            return text if spec.answer_schema is None else find_json(text)
        return decode(text)


class _Stages(Mapping[str, Mapping[str, Any]]):
    """`stages` in templates: reads an output only when it is mentioned."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in self._values.program.stages:
            raise KeyError(name)
        return {"output": self._values.value(name)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._values.program.stages)

    def __len__(self) -> int:
        return len(self._values.program.stages)
