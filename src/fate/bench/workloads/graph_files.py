"""Workflow graphs of other projects, read from a file and given token numbers.

A file is a JSON list of `{name, stages: [{id, kind, model_class, parents, model?, max_tokens?,
prefix_group?, map?, label?}]}`, stages parents first. Only shapes are published, so lengths are
drawn from measured traffic (Azure 2023 conversations, see `tokens`): answers, and a document at
the stages that begin. A static text stands before all, the same for stages of one group or label.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fate.bench.workloads.draft import Arrival, Draft
from fate.bench.workloads.lengths import Drawn, Length, Quantiles, generator
from fate.bench.workloads.templates import TOOL_SECONDS
from fate.bench.workloads.token_graphs import CLASS_MODELS
from fate.bench.workloads.tokens import DOCUMENT_KNOTS, OUTPUT_KNOTS, unit
from fate.domain.errors import FateError
from fate.domain.graph import ITEM

#: Part of a model's name, in lower case -> catalogue model. Others go by their class.
KNOWN_MODELS = {
    "r1-distill-llama-8b": "r1-8b",
    "llama-3.1-8b": "llama-8b",
    "llama-3.2-3b": "llama-3b",
    "70b": "llama-70b-awq",
    "qwen3-8b": "qwen3-8b",
}
#: Kind of a stage that is no model call -> (class of tool, tokens of what it brings).
_TOOLS: dict[str, tuple[str, Length]] = {
    "tool": ("web", Length(400, 300, 2000)),
    "retrieval": ("database", Length(1500, 500, 4000)),
    "code": ("file", Length(200, 100, 1000)),
    "human": ("human", Length(50, 25, 200)),
}
_HUMAN = Quantiles(((0.0, 2.0), (0.5, 8.0), (0.95, 25.0), (1.0, 60.0)))
#: Items of a map, whose lists are made at run time.
MAP_ITEMS = 6
#: Own text of a stage that reads others [tokens].
_INSTRUCTION = Length(64)
#: Documents are cut here [tokens].
_LONGEST_DOCUMENT = 4096
_NUMBER = re.compile(r"[_-]?\d+")


class GraphFileError(FateError):
    """A file of workflow graphs cannot be used."""

    code = "bad-graphs"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormStage:
    """A stage of a graph: what it is, on which model, and which static text it has."""

    id: str
    kind: str
    model: str
    parents: tuple[str, ...]
    max_tokens: int
    group: str
    mapped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The shape of a workflow."""

    name: str
    stages: tuple[FormStage, ...]


def read_graphs(path: Path) -> list[Form]:
    """Read a file of graphs.

    Graphs of Helium run one model throughout; so that residency matters, they get classes: a
    stage with at most one parent is small, one that joins medium, a joining one without children
    large.

    Raises:
        GraphFileError: the file is no usable list of graphs; says which graph and why.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraphFileError(f"{path}: not a JSON file: {error}") from None
    if not isinstance(data, list) or not data:
        raise GraphFileError(f"{path}: must be a list of graphs")
    forms: list[Form] = []
    for number, graph in enumerate(cast("list[Any]", data)):
        try:
            forms.append(_form(graph))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise GraphFileError(f"{path}: graph {number}: {reason}") from None
    return forms


def _form(graph: Any) -> Form:  # noqa: ANN401 - parsed JSON
    helium = "helium" in json.dumps(graph.get("source"))
    listed: list[Any] = list(graph["stages"])
    has_children = {parent for stage in listed for parent in stage["parents"]}
    seen: set[str] = set()
    stages: list[FormStage] = []
    for stage in listed:
        name, kind, parents = str(stage["id"]), str(stage["kind"]), tuple(stage["parents"])
        if kind != "llm" and kind not in _TOOLS:
            raise ValueError(f"stage {name!r} has the unknown kind {kind!r}")
        missing = [parent for parent in parents if parent not in seen]
        if missing or name in seen:
            raise ValueError(f"stage {name!r} comes twice, or before its parents {missing}")
        seen.add(name)
        most = int(stage.get("max_tokens") or OUTPUT_KNOTS[-1][1])
        if most < 1:
            raise ValueError(f"stage {name!r}: max_tokens must be at least 1, not {most}")
        by_shape = "small" if len(parents) < 2 else "medium" if name in has_children else "large"
        size = by_shape if helium else str(stage.get("model_class") or "medium")
        label = _NUMBER.sub("", str(stage.get("label") or name))
        stages.append(
            FormStage(
                id=name,
                kind=kind,
                model=_model("" if helium else str(stage.get("model") or ""), size),
                parents=parents,
                max_tokens=most,
                group=str(stage.get("prefix_group") or label),
                mapped=bool(stage.get("map")) and kind == "llm",
            )
        )
    if not stages:
        raise ValueError("no stages")
    return Form(name=str(graph["name"]), stages=tuple(stages))


def _model(name: str, size: str) -> str:
    if size not in CLASS_MODELS:
        raise ValueError(f"unknown model_class {size!r}; known: {', '.join(CLASS_MODELS)}")
    found = [model for part, model in KNOWN_MODELS.items() if part in name.lower()]
    return found[0] if found else CLASS_MODELS[size]


def graph_workflows(forms: Sequence[Form], seed: int = 0, count: int = 0) -> list[Arrival]:
    """Return workflows of these shapes in turn, all at 0 s; `count` 0 takes each once."""
    made: list[Arrival] = []
    for number in range(count or len(forms)):
        form = forms[number % len(forms)]
        draw = generator("graphs", seed, form.name, number)
        made.append(_workflow(Draft(f"{form.name}-{number}", draw), form))
    return made


def _workflow(draft: Draft, form: Form) -> Arrival:
    for stage in form.stages:
        if stage.kind == "llm":
            _call(draft, form, stage)
        else:
            kind, brings = _TOOLS[stage.kind]
            seconds = TOOL_SECONDS.get(kind, _HUMAN)
            took = seconds.mean, seconds.draw_value(draft.generator)
            draft.tool(stage.id, took, stage.parents, brings)
    return draft.done()


def _call(draft: Draft, form: Form, stage: FormStage) -> None:
    key = f"{form.name}:{stage.group}"
    static = draft.text(Length(64 * (2 + int(14 * unit(key)))), key)
    own: Drawn = _INSTRUCTION if stage.parents else _cut(DOCUMENT_KNOTS, _LONGEST_DOCUMENT)
    item = f"{ITEM}{draft.workflow}/{stage.id}" if stage.mapped else ""
    output = _cut(OUTPUT_KNOTS, stage.max_tokens)
    draft.call(stage.id, stage.model, [static, draft.text(own, item)], output, stage.parents)
    if stage.mapped:
        draft.items(stage.id, MAP_ITEMS)


def _cut(knots: Sequence[tuple[float, int]], most: int) -> Quantiles:
    return Quantiles(tuple([(share, float(min(value, most))) for share, value in knots]))
