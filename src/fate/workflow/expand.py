"""The expander: renders prompts and tool arguments when an instance's parents are done.

It is the only part that turns a workflow's texts into what the core works with: segment keys and
token counts. It writes nothing; whoever runs it stores the outputs.

Stored outputs are plain text for `llm` and `join` stages, JSON text for every other tool, and for
what stands in for an item or round of a group. A map over an empty list has no items
(`Expanded(tails=())`): it is done at once, with the output [].

Everything follows from ids and stored outputs, so that another process can go on; `recall` tells
it what outputs do not say.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from fate.domain.catalog import Model
from fate.domain.errors import FateError
from fate.domain.graph import Graph, InstanceId, Path
from fate.domain.messages import (
    Command,
    Dropped,
    Event,
    Expand,
    Expanded,
    ExpandFailed,
    Resumed,
    Revealed,
    Skipped,
)
from fate.engines.base import CallRequest, CallResult
from fate.workflow.compile import compile_workflow
from fate.workflow.forecast import Expectations, forecast, reveal
from fate.workflow.own_code import OwnCall
from fate.workflow.places import Frame, Place
from fate.workflow.program import Argument, Constant, Program
from fate.workflow.render import Expansion, Parts, Rendering, segment
from fate.workflow.spec import (
    GroupStage,
    JoinTool,
    Json,
    LlmStage,
    ModelStage,
    PythonTool,
    WorkflowSpec,
)
from fate.workflow.template import as_text
from fate.workflow.texts import ExpandError
from fate.workflow.tokens import TokenCounter
from fate.workflow.tools import encode, run
from fate.workflow.twins import TwinIndex
from fate.workflow.values import Names, OutputReader, Values

Answer: TypeAlias = Expanded | Skipped | Revealed | ExpandFailed

#: No tokenizer packs more characters of prose into a token: a prompt that is over the context by
#: this measure surely is; nearer ones are left to the engine, which counts.
_MAX_CHARACTERS_PER_TOKEN = 8


class Expander:
    """Renders one submitted workflow.

    `models` gives the model of every role; `outputs` is where finished texts are read.
    `program` spares the parsing when many workflows share a spec, `history` tells what earlier
    runs have seen. Calls are looked up in `twins` unless the workflow says `reuse: false`.
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
        *,
        history: Expectations | None = None,
        twins: TwinIndex | None = None,
    ) -> None:
        self.program = program if program is not None else compile_workflow(spec)
        self.workflow_id, self.counter = workflow_id, counter
        self._models, self._history = models, history or Expectations()
        self._values = Values(self.program, workflow_id, inputs, outputs)
        self._twins = twins if spec.reuse else None
        self._expansions: dict[InstanceId, Expansion] = {}
        self._rounds: dict[InstanceId, int] = {}
        self._afresh = False

    def graph(self) -> Graph:
        """Return the graph to submit, with what is known of its prompts before anything runs."""
        return forecast(self._values, self._models, self.counter, self._history)

    def expand(self, instance: InstanceId) -> Answer:
        """Render an instance whose parents are done, or tell a group's next scopes."""
        place = self._place(instance)
        try:
            if not self._rounds.get(instance) and not self._values.holds(place):
                return Skipped(instance=instance)
            if place.stage.body:
                return self._revealed(place)
            return self._expanded(place)
        except FateError as error:
            return ExpandFailed(instance=instance, reason=str(error))

    def _expanded(self, place: Place) -> Expanded:
        expansion, spec = self._expansion(place), place.stage.spec
        if not isinstance(spec, ModelStage):
            tails: tuple[Path, ...] = ((),) * len(expansion.arguments)
            return Expanded(instance=place.instance, tails=tails)
        model = self._models[spec.model]
        return Expanded(
            instance=place.instance,
            head=self._path(expansion.head, model.tokenizer),
            tails=tuple([self._path(tail, model.tokenizer) for tail in expansion.tails]),
            twins=self._twins.mark(place.instance, spec, model.id, expansion)
            if self._twins is not None
            else (),
        )

    def _revealed(self, group: Place) -> Revealed:
        """Return all items of a map's body, or a loop's next round unless the last one is over."""
        instance = group.instance
        if group.stage.loop:
            before = self._rounds.get(instance)
            if before is None:
                before = 0 if self._afresh else self._values.settled().rounds(group)
            ended = before > 0 and self._values.ends(Frame(group, before))
            frames = [] if ended else [Frame(group, before + 1)]
            self._rounds[instance] = before + len(frames)
        else:
            frames = self._values.settled().frames(group)
        scopes = reveal(self._values, frames, self._models, self.counter, self._history)
        return Revealed(instance=instance, scopes=scopes)

    def default(self, instance: InstanceId, item: int) -> str | None:
        """Take note that an item was dropped, of a group: one of its items or rounds.

        Returns:
            What to store as its output: the declared default. None where later stages go on
            without it.
        """
        self._values.dropped.add((instance, item))
        if self._twins is not None:
            self._twins.forget(instance, item)
        spec = self._place(instance).stage.spec
        if spec.on_error != "default":
            return None
        plain = isinstance(spec, JoinTool) or (
            isinstance(spec, LlmStage) and spec.answer_schema is None
        )
        return as_text(spec.default) if plain else encode(spec.default)

    def recall(self, message: Event | Command) -> None:
        """Take note of what outputs alone do not tell, now or of what a former process recorded.

        What a join did not wait for, which it does not see although it may be finished since; which
        items were dropped without a default, how many rounds were begun, and which calls were
        known, so that those identical to them are found as before. Other messages and other
        workflows' mean nothing here. A run that begins afresh asks for all rounds again.
        """
        if isinstance(message, Resumed):
            self._afresh = message.afresh
            return
        if not isinstance(message, Expand | Dropped | Expanded | Revealed):
            return
        if not message.instance.startswith(f"{self.workflow_id}/"):
            return
        if isinstance(message, Expand):
            self._values.hidden.setdefault(message.instance, frozenset(message.open))
        elif isinstance(message, Expanded):
            self._recall_calls(message.instance)
        elif isinstance(message, Dropped):
            self._values.dropped.add((message.instance, message.item))
            if self._twins is not None:
                self._twins.forget(message.instance, message.item)
        elif message.scopes and self._place(message.instance).stage.loop:
            self._rounds[message.instance] = message.scopes[-1].index

    def _recall_calls(self, instance: InstanceId) -> None:
        place = self._place(instance)
        spec = place.stage.spec
        if self._twins is not None and isinstance(spec, LlmStage):
            expansion, model = self._expansion(place), self._models[spec.model]
            self._twins.mark(instance, spec, model.id, expansion)

    def request(self, instance: InstanceId, item: int, sequence: int) -> CallRequest:
        """Return the call of one item."""
        place = self._place(instance)
        expansion, spec = self._expansion(place), cast("ModelStage", place.stage.spec)
        model, parts = self._models[spec.model].id, expansion.head + expansion.tails[item]
        if not isinstance(spec, LlmStage):
            return CallRequest(
                model=model, parts=parts, max_tokens=0, sequence=sequence, chat=False, embed=True
            )
        return CallRequest(
            model=model,
            parts=parts,
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
        """Run a built-in tool on one item and return what to store.

        Reads no output: any thread may call.

        Raises:
            ToolError: the tool failed; the message names the stage.
        """
        place = self._place(instance)
        assert not isinstance(place.stage.spec, ModelStage | GroupStage | PythonTool)
        return run(place.stage.path, place.stage.spec, self._expansion(place).arguments[item])

    def own_call(self, instance: InstanceId, item: int) -> OwnCall | None:
        """Return the call of own code that an item needs; None where the tool is built in."""
        place = self._place(instance)
        spec = place.stage.spec
        if not isinstance(spec, PythonTool):
            return None
        return OwnCall(
            stage=place.stage.path,
            target=spec.python,
            folder=(self.program.folder / spec.folder).resolve(),
            arguments=self._expansion(place).arguments[item],
            pure=spec.pure,
            timeout_s=spec.timeout_s,
            memory_bytes=spec.memory,
            max_output_bytes=spec.max_output_bytes,
        )

    def check(self, instance: InstanceId, item: int, text: str) -> str | None:
        """Return why an answer is not acceptable, or None; another attempt may do better."""
        stage = self._place(instance).stage
        schema = stage.spec.answer_schema if isinstance(stage.spec, LlmStage) else None
        if schema is None:
            return None
        import jsonschema  # slow to import, and most workflows have no schemas

        try:
            value = json.loads(text)
        except ValueError as error:
            return f"stage {stage.path!r}, item {item}: the answer is not JSON: {error}"
        try:
            jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
        except jsonschema.ValidationError as error:
            return (
                f"stage {stage.path!r}, item {item}: the answer violates the schema "
                f"at {error.json_path}: {error.message[:200]}"
            )
        return None

    def learn(self, request: CallRequest, result: CallResult) -> None:
        """Learn from an engine's answer how long the texts of a call are in tokens."""
        tokenizer = next(m.tokenizer for m in self._models.values() if m.id == request.model)
        for part, tokens in zip(request.parts, result.part_tokens, strict=False):
            self.counter.learn(tokenizer, part.key, part.text, tokens)

    def results(self, *, ended: bool = False) -> dict[str, Any]:
        """Return the declared outputs; those that need an unfinished stage are left out.

        Args:
            ended: the workflow ended well: what has no output by now was skipped or dropped.
        """
        settled, find = self._values.settled(), self._values.places.find
        return {
            name: self._output(name, output)
            for name, output in self.program.outputs.items()
            if ended or all(settled.is_over(find(n, None)) for n in output.references.stages)
        }

    def _output(self, name: str, output: Argument) -> Json:
        try:
            return self._values.evaluate(output, Names(), f"outputs.{name}")
        except ExpandError:
            assert not isinstance(output, Constant)
            places = [self._values.places.find(n, None) for n in output.references.stages]
            if any(self._values.settled().state(place) == "skipped" for place in places):
                return None  # it is a part of something that is not there
            raise

    def _place(self, instance: InstanceId) -> Place:
        return self._values.places.locate(instance)

    def _expansion(self, place: Place) -> Expansion:
        found = self._expansions.get(place.instance)
        if found is None:
            rendering = Rendering(self._values, place)
            items = [None] if place.stage.over is None else self._values.elements(place)
            if isinstance(place.stage.spec, ModelStage):
                found = rendering.prompts(items)
                self._check_context(place, found)
            else:
                found = rendering.arguments(items)
            self._expansions[place.instance] = found
        return found

    def _path(self, parts: Parts, tokenizer: str) -> Path:
        return tuple([segment(part, tokenizer, self.counter) for part in parts])

    def _check_context(self, place: Place, expansion: Expansion) -> None:
        model = self._models[cast("ModelStage", place.stage.spec).model]
        head = sum(len(part.text) for part in expansion.head)
        longest = max((sum(len(p.text) for p in tail) for tail in expansion.tails), default=0)
        tokens = (head + longest) // _MAX_CHARACTERS_PER_TOKEN
        if tokens > model.context_tokens:
            where = self._values.where(f"stages.{place.stage.path}")
            raise ExpandError(
                f"{where}: the prompt has at least {tokens} tokens, model {model.id!r} takes "
                f"{model.context_tokens}; split the text, or raise the context"
            )
