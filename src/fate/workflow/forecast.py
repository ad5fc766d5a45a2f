"""The graph of a workflow as far as it is known before anything runs.

Tools that depend on inputs alone are run ahead (they are pure and quick), so the lists they
produce, the maps over them and their prompts are exact. Everything else is an expectation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from fate.domain.catalog import Model
from fate.domain.errors import FateError
from fate.domain.graph import ITEM, Graph, Path, Segment, Stage, item_key, path_tokens
from fate.engines.base import PromptPart
from fate.workflow.program import Constant, Program, StageProgram
from fate.workflow.render import (
    MAX_JOINED,
    ExpandError,
    Names,
    Rendering,
    RolePiece,
    chat_pieces,
    segment,
    text_key,
    uses_item,
)
from fate.workflow.spec import LlmStage, PythonTool, SelectTool
from fate.workflow.template import (
    RENDER_ERRORS,
    Computed,
    InputPiece,
    ItemPiece,
    OutputPiece,
    Piece,
    References,
    Static,
)
from fate.workflow.tokens import TokenCounter
from fate.workflow.tools import run
from fate.workflow.values import MemoryOutputs, Values

#: Expected seconds of one item of a tool: ours are instant, own code may call something.
_TOOL_S = 0.001
_OWN_CODE_S = 0.1
#: Pieces a `split` is expected to make when neither its text nor a map over it says more.
_SPLIT_ITEMS = 8
#: Items that are rendered to learn how long they are, strided over all of them.
_SAMPLED_ITEMS = 32


@dataclass(frozen=True, slots=True)
class Expected:
    """What a stage is expected to write: number of items, and bytes of each."""

    items: int
    item_bytes: float

    @property
    def total_bytes(self) -> float:
        """Bytes of all items."""
        return self.items * self.item_bytes


def forecast(
    program: Program,
    workflow: str,
    inputs: Mapping[str, Any],
    models: Mapping[str, Model],
    counter: TokenCounter,
) -> Graph:
    """Return the graph to submit."""
    oracle = _Oracle(program, workflow, inputs, models, counter)
    stages = tuple([oracle.stage(stage) for stage in program.stages.values()])
    return Graph(id=workflow, stages=stages, wait_class=program.spec.wait_class)


class _Oracle:
    """Walks the stages parents first, remembering what each is expected to write."""

    def __init__(
        self,
        program: Program,
        workflow: str,
        inputs: Mapping[str, Any],
        models: Mapping[str, Model],
        counter: TokenCounter,
    ) -> None:
        self._program, self._workflow, self._inputs = program, workflow, inputs
        self._models, self._counter = models, counter
        self._known = MemoryOutputs()
        self._known_stages: set[str] = set()
        self._values = Values(program, workflow, inputs, self._known)
        self._expected: dict[str, Expected] = {}
        self._lists: dict[str, list[Any]] = {}

    def stage(self, stage: StageProgram) -> Stage:
        """Return one stage of the graph."""
        items = self._items(stage)
        spec = stage.spec
        if not isinstance(spec, LlmStage):
            self._run_ahead(stage)
            expected = self._expected.setdefault(stage.name, self._tool(stage, items))
            seconds = _OWN_CODE_S if isinstance(spec, PythonTool) else _TOOL_S
            return Stage(
                id=stage.name,
                kind="tool",
                parents=stage.parents,
                mapped=spec.map is not None,
                items=expected.items,
                tool_s=seconds,
                output_bytes=round(expected.total_bytes),
            )
        model = self._models[spec.model]
        tokens = spec.max_tokens if spec.expect_tokens is None else spec.expect_tokens
        tokens = min(tokens, spec.max_tokens)
        size = tokens * self._counter.bytes_per_token(model.tokenizer)
        self._expected[stage.name] = Expected(items, size)
        return Stage(
            id=stage.name,
            kind="llm",
            parents=stage.parents,
            model=model.id,
            prompt=self._prompt(stage, model),
            output_tokens=float(tokens),
            max_tokens=spec.max_tokens,
            mapped=spec.map is not None,
            items=items,
            output_bytes=round(items * size),
        )

    def _knows(self, references: References) -> bool:
        """Whether everything a template mentions, its map's item aside, is known already."""
        given = all(name in self._inputs for name in references.inputs)
        return given and all(name in self._known_stages for name in references.stages)

    def _items(self, stage: StageProgram) -> int:
        """Return the number of items, and remember the list itself where it is known."""
        if stage.over is None or stage.spec.map is None:
            return 1
        if self._knows(stage.over.references):
            try:
                items = stage.over.evaluate(Names().context(self._values))
            except RENDER_ERRORS:
                items = None  # running the stage will report it
            if isinstance(items, list):
                self._lists[stage.name] = cast("list[Any]", items)
                return len(self._lists[stage.name])
        bare = stage.over.bare
        if isinstance(bare, OutputPiece) and self._program.stages[bare.stage].spec.map:
            return self._expected[bare.stage].items
        return stage.spec.map.items

    def _run_ahead(self, stage: StageProgram) -> None:
        """Run a built-in tool whose arguments are known."""
        spec = stage.spec
        known = self._knows(stage.references) and all(
            p in self._known_stages for p in stage.parents
        )
        if not known or isinstance(spec, LlmStage | PythonTool):
            return
        items = self._lists.get(stage.name) if spec.map else [None]
        if items is None:
            return
        try:
            arguments = Rendering(self._values, stage).arguments(items).arguments
            texts = [run(stage.name, spec, each) for each in arguments]
        except FateError:
            return  # running the stage will report it
        for item, text in enumerate(texts):
            self._known.put(f"{self._workflow}/{stage.name}", item, text)
        self._known_stages.add(stage.name)
        mean = sum(len(text.encode()) for text in texts) / max(len(texts), 1)
        self._expected[stage.name] = Expected(len(texts), mean)

    def _tool(self, stage: StageProgram, items: int) -> Expected:
        """Return what a tool makes of its arguments when they are not known yet."""
        size = sum(
            self._size(argument.references)
            for argument in stage.arguments.values()
            if not isinstance(argument, Constant)
        )
        if isinstance(stage.spec, SelectTool):
            size /= _SPLIT_ITEMS
        if stage.references.uses_item:
            size += self._item_bytes(stage)
        return Expected(items, size)

    def _size(self, references: References) -> float:
        """Return the bytes of everything a template mentions, its map's item aside."""
        inputs = sum(
            len(str(self._inputs[name]).encode())
            for name in references.inputs
            if name in self._inputs
        )
        return inputs + sum(self._expected[name].total_bytes for name in references.stages)

    def _item_bytes(self, stage: StageProgram) -> float:
        """Return the expected bytes of one element of a map's list."""
        if stage.over is None or stage.spec.map is None:
            return 0.0
        return self._size(stage.over.references) / max(self._items(stage), 1)

    def _prompt(self, stage: StageProgram, model: Model) -> Path:
        """Return the prompt of one item; what differs from item to item is at its mean length."""
        rendering = Rendering(self._values, stage)
        items = self._lists.get(stage.name)
        path: list[Segment] = []
        for index, each in enumerate(chat_pieces(stage)):
            piece = each[1]
            if isinstance(piece, PromptPart) or self._renders(piece, items):
                try:
                    if items and uses_item(piece):
                        key = f"{ITEM}{self._workflow}/{stage.name}:{index}"
                        path.append(self._any_item(rendering, each, items, key, model))
                    else:
                        path.extend(self._segments(rendering, each, None, model))
                except ExpandError:
                    continue  # running the stage will report it
            else:
                path.extend(self._expectation(stage, piece, f"{index}", model))
        return tuple(path)

    def _segments(
        self, rendering: Rendering, each: RolePiece, item: object, model: Model
    ) -> list[Segment]:
        """Return the segments of a piece whose text is known."""
        parts = rendering.parts(each, item)
        return [segment(part, model.tokenizer, self._counter) for part in parts]

    def _any_item(
        self, rendering: Rendering, each: RolePiece, items: list[Any], key: str, model: Model
    ) -> Segment:
        """Return the segment that stands for a piece which every item renders otherwise."""
        sample = items[:: -(-len(items) // _SAMPLED_ITEMS)]
        tokens = sum(
            path_tokens(tuple(self._segments(rendering, each, item, model))) for item in sample
        )
        return Segment(key, round(tokens / len(sample)))

    def _renders(self, piece: Piece, items: list[Any] | None) -> bool:
        """Whether a piece's text is known."""
        match piece:
            case Static():
                return True
            case InputPiece(name):
                return name in self._inputs
            case ItemPiece():
                return bool(items)
            case OutputPiece(stage):
                return stage in self._known_stages
            case Computed(references=references):
                return self._knows(references) and (bool(items) or not references.uses_item)

    def _expectation(
        self, stage: StageProgram, piece: Piece, place: str, model: Model
    ) -> list[Segment]:
        """Return segments for a piece whose text is not known yet."""
        instance = f"{self._workflow}/{stage.name}"

        def count(size: float) -> int:
            return self._counter.estimate(model.tokenizer, size)

        match piece:
            case OutputPiece(parent, separator):
                return self._outputs(parent, separator, model.tokenizer)
            case ItemPiece():
                return [Segment(f"{ITEM}{instance}", count(self._item_bytes(stage)))]
            case Computed(references=references):
                size = self._size(references)
                size += self._item_bytes(stage) if references.uses_item else 0.0
                return [Segment(f"expr:{instance}:{place}", count(size))]
            case _:
                return []

    def _outputs(self, parent: str, separator: str, tokenizer: str) -> list[Segment]:
        """Return the segments of a parent's items, as rendering will join them.

        An answer counted in an earlier run of the same workflow is expected to be as long again:
        a text may be cut into other tokens than it was generated in.
        """
        expected = self._expected[parent]
        instance = f"{self._workflow}/{parent}"
        each = self._counter.estimate(tokenizer, expected.item_bytes)
        path: list[Segment] = []
        for item in range(min(expected.items, MAX_JOINED)):
            if item and separator:
                key = text_key(separator)
                path.append(Segment(key, self._counter.count(tokenizer, key, separator)))
            key = item_key(instance, item)
            known = self._counter.known(tokenizer, key)
            path.append(Segment(key, each if known is None else known))
        if expected.items > MAX_JOINED:
            rest = (expected.items - MAX_JOINED) * (expected.item_bytes + len(separator))
            key = f"expr:{instance}:rest"
            path.append(Segment(key, self._counter.estimate(tokenizer, rest)))
        return path
