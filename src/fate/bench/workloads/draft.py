"""Workflows written twice in one go: as they are submitted, and as they turn out to be."""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fate.bench.workloads.lengths import Drawn
from fate.domain.errors import GraphError
from fate.domain.graph import Graph, Path, Segment, Stage, item_key, path_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A workflow that is submitted at a time [s].

    `declared` is what the scheduler is told, `actual` what happens: the same stages with the same
    parents on the same models, whose lengths and tool times may differ.
    """

    at_s: float = 0.0
    declared: Graph
    actual: Graph

    def __post_init__(self) -> None:
        """Refuse two graphs of different shape."""
        if _shape(self.declared) != _shape(self.actual):
            raise GraphError(self.declared.id, "what is declared and what happens differ in shape")

    def at(self, at_s: float) -> "Arrival":
        """Return the workflow, submitted at another time."""
        return Arrival(at_s=at_s, declared=self.declared, actual=self.actual)


def _shape(graph: Graph) -> tuple[str, list[tuple[str, str, tuple[str, ...], str, int]]]:
    stages = [(s.id, s.kind, s.parents, s.model, s.items) for s in graph.stages]
    return graph.id, stages


def models_of(arrivals: Iterable[Arrival]) -> tuple[str, ...]:
    """Return the models that workflows use, sorted."""
    graphs = [arrival.declared for arrival in arrivals]
    return tuple(sorted({s.model for graph in graphs for s in graph.stages if s.kind == "llm"}))


@dataclass(slots=True)
class Draft:
    """A workflow in the making. Stages are added parents first.

    Input texts are there when a workflow is submitted, so their tokens are known; answers and what
    tools bring are declared at their means, in the prompts that read them too.
    """

    workflow: str
    generator: random.Random
    _declared: list[Stage] = field(default_factory=list[Stage])
    _actual: list[Stage] = field(default_factory=list[Stage])
    _prompts: tuple[dict[str, Path], dict[str, Path]] = field(default_factory=lambda: ({}, {}))
    _items: dict[str, int] = field(default_factory=dict[str, int])
    _tokens: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def text(self, length: Drawn, key: str = "", *, least: int = 16) -> Segment:
        """Draw an input text; without a key it is nobody else's.

        Texts that have the same key in several workflows need the same tokens: `sd` 0.
        """
        tokens = max(length.draw(self.generator), least)
        return Segment(key or f"text:{self.workflow}#{self.generator.getrandbits(48):x}", tokens)

    def call(
        self,
        name: str,
        model: str,
        prompt: Sequence[Segment],
        output: Drawn,
        reads: Sequence[str] = (),
        *,
        continues: str = "",
    ) -> str:
        """Add a model call and return its name.

        Args:
            name: unique in the workflow.
            model: in the catalogue.
            prompt: its own texts, shared ones first.
            output: tokens of the answer; 0 for a vector.
            reads: stages whose outputs stand behind the texts; they are its parents.
            continues: a stage whose context goes on: that stage's prompt and answer come first,
                then what is read, then the texts.
        """
        above = [continues] if continues else []
        drawn = max(output.draw(self.generator), 1) if output.most else 0
        lengths = (output.expected, drawn)
        for which, stages in enumerate(self._both):
            read = [segment for stage in reads for segment in self._outputs(stage, which)]
            path: Path = (*prompt, *read)
            if continues:
                path = (*self._prompts[which][continues], *self._outputs(continues, which))
                path = (*path, *read, *prompt)
            self._prompts[which][name] = path
            stages.append(
                Stage(
                    id=name,
                    kind="llm",
                    model=model,
                    parents=tuple(dict.fromkeys([*above, *reads])),
                    prompt=path,
                    output_tokens=float(lengths[which]),
                    max_tokens=output.most,
                )
            )
        self._tokens[name] = lengths
        return name

    def tool(
        self, name: str, seconds: tuple[float, float], parents: Sequence[str], brings: Drawn
    ) -> str:
        """Add a tool call and return its name.

        Args:
            name: unique in the workflow.
            seconds: what it takes on average, and this time.
            parents: stages before it.
            brings: tokens of what it brings.
        """
        for stages, seconds_each in zip(self._both, seconds, strict=True):
            stages.append(Stage(id=name, kind="tool", parents=tuple(parents), tool_s=seconds_each))
        self._tokens[name] = (brings.expected, max(brings.draw(self.generator), 1))
        return name

    def after(self, name: str, parents: Sequence[str]) -> None:
        """Let a stage wait for stages whose outputs it does not read."""
        self._change(name, lambda stage: {"parents": (*stage.parents, *parents)})

    def items(self, name: str, count: int) -> None:
        """Make a stage a map; what differs by item has a key that starts with `ITEM`."""
        self._items[name] = count
        self._change(name, lambda _: {"mapped": True, "items": count})

    def expected(self, name: str) -> int:
        """Return the expected tokens of a stage's output, all items of a map together."""
        return self._tokens[name][0] * self._items.get(name, 1)

    def context(self, name: str) -> int:
        """Return the expected tokens of a stage's prompt and output."""
        return path_tokens(self._prompts[0][name]) + self.expected(name)

    def _change(self, name: str, fields: Callable[[Stage], dict[str, Any]]) -> None:
        for stages in self._both:
            place = next(i for i, stage in enumerate(stages) if stage.id == name)
            stages[place] = msgspec.structs.replace(stages[place], **fields(stages[place]))

    def done(self, at_s: float = 0.0) -> Arrival:
        """Return the workflow."""
        declared, actual = (Graph(id=self.workflow, stages=tuple(s)) for s in self._both)
        return Arrival(at_s=at_s, declared=declared, actual=actual)

    @property
    def _both(self) -> tuple[list[Stage], list[Stage]]:
        return self._declared, self._actual

    def _outputs(self, stage: str, which: int) -> Path:
        """Return a stage's output, of all items if it is a map."""
        instance, tokens = f"{self.workflow}/{stage}", self._tokens[stage][which]
        return tuple(
            [Segment(item_key(instance, i), tokens) for i in range(self._items.get(stage, 1))]
        )


def same(graph: Graph, at_s: float = 0.0) -> Arrival:
    """Return a workflow that turns out to be what was declared."""
    return Arrival(at_s=at_s, declared=graph, actual=graph)


def with_lengths(graph: Graph, factors: Mapping[str, float]) -> Graph:
    """Return a graph whose answers are longer or shorter, in the prompts that read them too.

    Args:
        graph: the workflow.
        factors: stage id -> factor on its output tokens; others stay.
    """
    stages: list[Stage] = []
    grown: dict[str, float] = {}
    for stage in graph.stages:
        prompt = [
            Segment(s.key, max(round(s.tokens * grown.get(s.key, 1.0)), 1)) for s in stage.prompt
        ]
        output = stage.output_tokens
        if output and stage.id in factors:
            most = float(stage.max_tokens or math.inf)
            output = float(max(round(min(output * factors[stage.id], most)), 1))
            for item in range(stage.items):
                key = item_key(graph.instance(stage.id), item)
                grown[key] = output / stage.output_tokens
        changed = msgspec.structs.replace(stage, prompt=tuple(prompt), output_tokens=output)
        stages.append(changed)
    return Graph(id=graph.id, stages=tuple(stages), wait_class=graph.wait_class)
