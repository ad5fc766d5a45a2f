"""The graph of a workflow as far as it is known before anything runs, and a group's scopes.

Tools that depend on known texts alone are run ahead (they are pure and quick), so the lists they
produce, the maps over them and their prompts are exact. Everything else is an expectation.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from fate.domain.catalog import Model
from fate.domain.errors import FateError
from fate.domain.graph import Graph, Scope, Stage
from fate.workflow.expectations import Expectations
from fate.workflow.expected import Expected, Sizes
from fate.workflow.expected_prompt import expected_prompt
from fate.workflow.places import Frame, Place
from fate.workflow.render import Rendering
from fate.workflow.spec import GroupStage, LlmStage, ModelStage, NearestTool, PythonTool, SelectTool
from fate.workflow.texts import ExpandError
from fate.workflow.tokens import TokenCounter
from fate.workflow.tools import run
from fate.workflow.values import MemoryOutputs, Values

#: Expected seconds of one item of a tool: ours are instant, own code may call something.
_TOOL_S = 0.001
_OWN_CODE_S = 0.1
#: Pieces a `split` is expected to make when neither its text nor a map over it says more.
_SPLIT_ITEMS = 8
#: How often a condition is expected to hold when nobody knows.
_LIKELY = 0.5


def forecast(
    values: Values, models: Mapping[str, Model], counter: TokenCounter, history: Expectations
) -> Graph:
    """Return the graph to submit. Of `values` only the inputs are read: nothing has run yet."""
    program, known = values.program, MemoryOutputs()
    before = Values(program, values.workflow, values.inputs, known)
    oracle = _Oracle(Sizes(before, models, counter, history), known, history)
    stages = tuple([oracle.stage(place, program.keeps) for place in before.places.stages()])
    return Graph(id=values.workflow, stages=stages, wait_class=program.spec.wait_class)


def reveal(
    values: Values,
    frames: Sequence[Frame],
    models: Mapping[str, Model],
    counter: TokenCounter,
    history: Expectations,
) -> tuple[Scope, ...]:
    """Return the stages of a group's items or rounds; what stands around the group is over."""
    known = MemoryOutputs(values.outputs)
    now = Values(values.program, values.workflow, values.inputs, known)
    now.dropped |= values.dropped
    oracle = _Oracle(Sizes(now, models, counter, history), known, history)
    return tuple([oracle.scope(frame) for frame in frames])


class _Oracle:
    """Walks the stages parents first, remembering what each is expected to write."""

    def __init__(self, sizes: Sizes, known: MemoryOutputs, history: Expectations) -> None:
        self._sizes, self._known, self._history = sizes, known, history
        self._values = sizes.values

    def scope(self, frame: Frame) -> Scope:
        """Return one item or round of a group."""
        assert frame.index is not None
        prefix = f"{self._values.workflow}/"

        def place_id(name: str) -> str:
            return frame.place(name).instance.removeprefix(prefix)

        keeps = frame.group.stage.keeps
        stages = tuple([self.stage(place, keeps, place_id) for place in frame.places()])
        return Scope(frame.index, stages)

    def stage(
        self,
        place: Place,
        keeps: frozenset[str],
        place_id: Callable[[str], str] = lambda name: name,
    ) -> Stage:
        """Return one stage of a graph or scope.

        Args:
            place: the stage; those before it were asked for already.
            keeps: names of the stages whose output somebody outside of their block reads.
            place_id: the id of a stage of the same block.
        """
        stage, probability = place.stage, self._probability(place)
        if stage.body:
            found = self._group(place)
        elif isinstance(stage.spec, ModelStage):
            found = self._call(place, stage.spec)
        else:
            found = self._tool(place, probability)
        expected = self._sizes.expected(place)
        return msgspec.structs.replace(
            found,
            id=place_id(stage.name),
            parents=tuple([place_id(name) for name in stage.parents]),
            join=stage.required,
            on_error=stage.spec.on_error,
            probability=probability,
            kept=stage.name in keeps,
            mapped=stage.over is not None,
            items=expected.items,
            output_bytes=round(expected.total_bytes),
        )

    def _group(self, place: Place) -> Stage:
        any_frame = Frame(place, None)
        keeps = place.stage.keeps
        body = tuple([self.stage(each, keeps) for each in any_frame.places()])
        expected = Expected(self._sizes.items(place), self._sizes.scope_bytes(any_frame))
        self._sizes.expect(place, expected)
        return Stage(
            id=place.stage.name,
            kind="group",
            loop=place.stage.loop,
            rounds=self._sizes.rounds(place),
            body=body,
        )

    def _call(self, place: Place, spec: ModelStage) -> Stage:
        sizes, model = self._sizes, self._sizes.models[spec.model]
        sizes.expect(place, Expected(sizes.items(place), sizes.answer_bytes(place)))
        return Stage(
            id=place.stage.name,
            kind="llm",
            model=model.id,
            prompt=expected_prompt(place, model, sizes),
            output_tokens=sizes.tokens(place),
            max_tokens=spec.max_tokens if isinstance(spec, LlmStage) else 0,
        )

    def _tool(self, place: Place, probability: float) -> Stage:
        spec = place.stage.spec
        own_code = isinstance(spec, PythonTool)
        if own_code or probability < 1.0 or not self._run_ahead(place):
            self._sizes.expect(place, self._tool_result(place))
        return Stage(
            id=place.stage.name,
            kind="tool",
            tool_s=_OWN_CODE_S if own_code else _TOOL_S,
            pure=spec.pure if own_code else True,
        )

    def _run_ahead(self, place: Place) -> bool:
        """Run a built-in tool whose arguments are known; return whether that worked."""
        stage, spec, sizes = place.stage, place.stage.spec, self._sizes
        own = spec.map.item if spec.map else ""
        find = self._values.places.find
        if isinstance(spec, ModelStage | PythonTool | GroupStage) or not (
            sizes.knows(stage.references, place.frame, own)
            and all(sizes.is_known(find(name, place.frame)) for name in stage.parents)
        ):
            return False
        items = [None] if spec.map is None else sizes.elements(place)
        try:
            arguments = Rendering(self._values, place).arguments(items or []).arguments
            texts = [run(stage.path, spec, each) for each in arguments]
        except FateError:
            return False  # running the stage will report it
        if items is None:
            return False
        for item, text in enumerate(texts):
            self._known.put(place.instance, item, text)
        mean = sum(len(text.encode()) for text in texts) / max(len(texts), 1)
        sizes.expect(place, Expected(len(texts), mean), known=True)
        return True

    def _tool_result(self, place: Place) -> Expected:
        """Return what a tool makes of its arguments when they are not known yet."""
        spec, arguments = place.stage.spec, list(place.stage.arguments.values())
        if isinstance(spec, NearestTool):
            given = self._sizes.argument_bytes(place, place.stage.arguments["of"])
            return Expected(self._sizes.items(place), given * min(spec.k / _SPLIT_ITEMS, 1.0))
        size = sum(self._sizes.argument_bytes(place, argument) for argument in arguments)
        if isinstance(place.stage.spec, SelectTool):
            size /= _SPLIT_ITEMS
        return Expected(self._sizes.items(place), size)

    def _probability(self, place: Place) -> float:
        """Return how likely a stage's condition holds."""
        when, spec = place.stage.when, place.stage.spec
        if when is None:
            return 1.0
        if self._sizes.knows(when.references, place.frame):
            try:
                return float(self._values.holds(place))
            except ExpandError:
                return 1.0  # running the stage will report it
        if spec.probability is not None:
            return spec.probability
        seen = self._history.of(place.stage.path).probability
        return _LIKELY if seen is None else seen
