"""The expander: renders prompts and tool arguments when an instance's parents are done.

It is the only part that turns a workflow's texts into what the core works with: segment keys and
token counts. It writes nothing; whoever runs it stores the outputs.

Stored outputs are plain text for `llm` and `join` stages, JSON text for every other tool. A map
over an empty list has no items (`Expanded(tails=())`): it is done at once, with the output [].
"""

import json
from collections.abc import Mapping
from typing import Any, cast

import jsonschema

from fate.domain.catalog import Model
from fate.domain.errors import FateError
from fate.domain.graph import Graph, InstanceId, Path
from fate.domain.messages import Expanded, ExpandFailed
from fate.engines.base import CallRequest, CallResult
from fate.workflow.forecast import forecast
from fate.workflow.program import Argument, Program, StageProgram, compile_workflow
from fate.workflow.render import (
    ExpandError,
    Expansion,
    Names,
    Parts,
    Rendering,
    evaluate,
    segment,
)
from fate.workflow.spec import Json, LlmStage, WorkflowSpec
from fate.workflow.template import as_text
from fate.workflow.tokens import TokenCounter
from fate.workflow.tools import run
from fate.workflow.values import OutputReader, Values

#: No tokenizer packs more characters of prose into a token: a prompt that is over the context by
#: this measure surely is; nearer ones are left to the engine, which counts.
_MAX_CHARACTERS_PER_TOKEN = 8
#: Most items of one map.
MAX_ITEMS = 100_000


class Expander:
    """Renders one submitted workflow.

    `models` gives the model of every role; `outputs` is where finished texts are read.
    `program` spares the parsing when many workflows share a spec.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - everything a rendering depends on
        self,
        spec: WorkflowSpec,
        workflow_id: str,
        inputs: Mapping[str, Any],
        models: Mapping[str, Model],
        counter: TokenCounter,
        outputs: OutputReader,
        program: Program | None = None,
    ) -> None:
        self.program = program if program is not None else compile_workflow(spec)
        self.workflow_id, self.counter = workflow_id, counter
        self._models = models
        self._values = Values(self.program, workflow_id, inputs, outputs)
        self._expansions: dict[InstanceId, Expansion] = {}

    def graph(self) -> Graph:
        """Return the graph to submit, with what is known of its prompts before anything runs."""
        return forecast(
            self.program, self.workflow_id, self._values.inputs, self._models, self.counter
        )

    def expand(self, instance: InstanceId) -> Expanded | ExpandFailed:
        """Render an instance whose parents are done."""
        try:
            expansion = self._expansion(instance)
        except FateError as error:
            return ExpandFailed(instance=instance, reason=str(error))
        if expansion.arguments:
            return Expanded(instance=instance, tails=((),) * len(expansion.arguments))
        stage = self._stage(instance)
        tokenizer = self._model(stage).tokenizer if stage.spec.kind == "llm" else ""
        return Expanded(
            instance=instance,
            head=self._path(expansion.head, tokenizer),
            tails=tuple([self._path(tail, tokenizer) for tail in expansion.tails]),
        )

    def request(self, instance: InstanceId, item: int, sequence: int) -> CallRequest:
        """Return the call of one item."""
        expansion, stage = self._expansion(instance), self._stage(instance)
        spec = cast("LlmStage", stage.spec)
        return CallRequest(
            model=self._model(stage).id,
            parts=expansion.head + expansion.tails[item],
            max_tokens=spec.max_tokens,
            sequence=sequence,
            temperature=spec.temperature,
            seed=spec.seed,
            stop=spec.stop,
            schema=spec.answer_schema,
            exact_tokens=spec.exact_tokens,
            chat=spec.chat,
        )

    def run_tool(self, instance: InstanceId, item: int) -> str:
        """Run a tool on one item and return what to store. Reads no output: any thread may call.

        Raises:
            ToolError: the tool failed; the message names the stage.
        """
        stage = self._stage(instance)
        assert not isinstance(stage.spec, LlmStage)
        return run(stage.name, stage.spec, self._expansion(instance).arguments[item])

    def check(self, instance: InstanceId, item: int, text: str) -> str | None:
        """Return why an answer is not acceptable, or None; another attempt may do better."""
        stage = self._stage(instance)
        schema = stage.spec.answer_schema if isinstance(stage.spec, LlmStage) else None
        if schema is None:
            return None
        try:
            value = json.loads(text)
        except ValueError as error:
            return f"stage {stage.name!r}, item {item}: the answer is not JSON: {error}"
        try:
            jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
        except jsonschema.ValidationError as error:
            return (
                f"stage {stage.name!r}, item {item}: the answer violates the schema "
                f"at {error.json_path}: {error.message[:200]}"
            )
        return None

    def learn(self, request: CallRequest, result: CallResult) -> None:
        """Learn from an engine's answer how long the texts of a call are in tokens."""
        tokenizer = next(m.tokenizer for m in self._models.values() if m.id == request.model)
        for part, tokens in zip(request.parts, result.part_tokens, strict=False):
            self.counter.learn(tokenizer, part.key, part.text, tokens)

    def results(self) -> dict[str, Any]:
        """Return the declared outputs; those that need an unfinished stage are left out."""
        finished = self._finished_stages()
        return {
            name: self._output(name, output)
            for name, output in self.program.outputs.items()
            if finished.issuperset(output.references.stages)
        }

    def _output(self, name: str, output: Argument) -> Json:
        return evaluate(self._values, output, Names(), f"outputs.{name}")

    def _finished_stages(self) -> set[str]:
        """Return the stages all of whose items, and whose parents, have their outputs."""
        finished: set[str] = set()
        for name, stage in self.program.stages.items():
            if not finished.issuperset(stage.parents):
                continue
            wanted = 1
            if stage.over is not None:
                try:
                    wanted = len(self._expansion(f"{self.workflow_id}/{name}").tails)
                except FateError:
                    continue  # the list is not one, hence the workflow failed
            if self._values.finished_items(name) == wanted:
                finished.add(name)
        return finished

    def _stage(self, instance: InstanceId) -> StageProgram:
        return self.program.stages[instance.removeprefix(f"{self.workflow_id}/")]

    def _model(self, stage: StageProgram) -> Model:
        assert isinstance(stage.spec, LlmStage)
        return self._models[stage.spec.model]

    def _expansion(self, instance: InstanceId) -> Expansion:
        found = self._expansions.get(instance)
        if found is None:
            stage = self._stage(instance)
            rendering, items = Rendering(self._values, stage), self._items(stage)
            if isinstance(stage.spec, LlmStage):
                found = rendering.prompts(items)
                self._check_context(stage, found)
            else:
                found = rendering.arguments(items)
            self._expansions[instance] = found
        return found

    def _items(self, stage: StageProgram) -> list[Any]:
        """Return the elements of a map's list; one empty item for a stage that is no map."""
        if stage.over is None:
            return [None]
        where = f"stages.{stage.name}.map.over"
        items = evaluate(self._values, stage.over, Names(), where)
        if not isinstance(items, list):
            raise ExpandError(f"{self._where(where)}: needs a list, got {as_text(items)[:80]!r}")
        elements = cast("list[Any]", items)
        if len(elements) > MAX_ITEMS:
            raise ExpandError(f"{self._where(where)}: {len(elements)} items, at most {MAX_ITEMS}")
        return elements

    def _where(self, place: str) -> str:
        return f"workflow {self.program.spec.name!r}, {place}"

    def _path(self, parts: Parts, tokenizer: str) -> Path:
        return tuple([segment(part, tokenizer, self.counter) for part in parts])

    def _check_context(self, stage: StageProgram, expansion: Expansion) -> None:
        model = self._model(stage)
        head = sum(len(part.text) for part in expansion.head)
        longest = max((sum(len(p.text) for p in tail) for tail in expansion.tails), default=0)
        tokens = (head + longest) // _MAX_CHARACTERS_PER_TOKEN
        if tokens > model.context_tokens:
            raise ExpandError(
                f"{self._where(f'stages.{stage.name}')}: the prompt has at least {tokens} tokens, "
                f"model {model.id!r} takes {model.context_tokens}; split the text, or raise the "
                "context"
            )
