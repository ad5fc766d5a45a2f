"""`paper-proxy`: WfCommons DAGs as LLM workflows, for the toy clusters.

Our reading of the benchmark behind arXiv:2605.07238, whose generator is not public: task type ->
model, runtime -> answer length, file bytes -> output bytes; a system prompt for each task type and
a context for each workflow are prefixes that stages share.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias, cast

import msgspec
import numpy as np

from fate.bench.workloads.recipes import RECIPES, Wanted, instances
from fate.bench.workloads.toys import GIGA, MODELS, model_name
from fate.bench.workloads.wfformat import Instance, InstanceError, read_instance
from fate.domain.graph import Graph, Segment, Stage

#: What a system prompt may have, and what a workflow's context has [tokens].
_SYSTEM_TOKENS, _CONTEXT_TOKENS = (300, 800, 1500), 1500
#: Bounds of a stage's own prompt [tokens], the upper one excluded.
_OWN_TOKENS = (80, 500)
#: Answers [tokens] and outputs [GB] in the middle of an instance, and their bounds; they grow with
#: the power given here of how much longer or larger than that a task is.
_ANSWER, _ANSWER_BOUNDS, _ANSWER_POWER = 150.0, (20.0, 900.0), 0.5
_OUTPUT_GB, _OUTPUT_BOUNDS, _OUTPUT_POWER = 0.05, (0.002, 1.0), 0.4
#: Runtimes below this are taken for it [s].
_LEAST_RUNTIME_S = 0.01
#: Tasks asked of a recipe: the first, or the second where the recipe cannot make that few.
_SIZES = (60, 120)
#: How many instances of each recipe there are to draw from.
_POOL = 100


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """Factors on load times, output bytes, and tokens of prefixes: they make a regime."""

    load: float = 1.0
    bytes: float = 1.0
    prefix: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStage:
    """A stage before scaling: prefixes with their tokens, own tokens, answer tokens, bytes."""

    id: str
    model: int
    prefix: tuple[tuple[str, int], ...]
    own_tokens: int
    output_tokens: float
    output_bytes: float
    parents: tuple[str, ...]


#: The stages of one workflow, parents first.
Workflow: TypeAlias = tuple[ProxyStage, ...]


def draw_workflows(
    seed: Sequence[int], count: int, folder: Path | None = None, most_tasks: int | None = None
) -> list[Workflow]:
    """Return `count` workflows that run together.

    Args:
        seed: numbers that draw the instances, and what an instance does not say of its stages.
        count: number of workflows.
        folder: WfFormat files to draw from, each once before one comes twice; None generates
            instances with wfcommons.
        most_tasks: larger files are left out, unless all are larger; None takes all.

    Raises:
        FateError: instances cannot be generated, or `folder` has none that can be used.
    """
    draw = np.random.default_rng(seed)
    found = draw_instances(draw, count, folder, most_tasks)
    system: dict[str, int] = {}
    return [map_proxy(instance, i, draw, system) for i, instance in enumerate(found)]


def draw_instances(
    draw: np.random.Generator, count: int, folder: Path | None = None, most_tasks: int | None = None
) -> list[Instance]:
    """Return the instances of `count` workflows that run together, as `draw_workflows` does."""
    if folder is not None:
        return _drawn_files(draw, count, folder, most_tasks)
    return instances(wanted(draw, count))


def wanted(draw: np.random.Generator, count: int) -> list[Wanted]:
    """Draw the generated instances of one batch."""
    names = list(RECIPES)
    found: list[Wanted] = []
    for _ in range(count):
        name = names[int(draw.integers(len(names)))]
        size = next((size for size in _SIZES if RECIPES[name][1] <= size), _SIZES[-1])
        found.append(Wanted(name, size, int(draw.integers(_POOL))))
    return found


def instance_files(folder: Path) -> list[Path]:
    """Return the WfFormat files below a folder by name; JSON files of another kind are left out.

    Raises:
        InstanceError: there are none.
    """
    found = [path for path in sorted(folder.rglob("*.json")) if _is_instance(path)]
    if not found:
        raise InstanceError(
            f"{folder}: no WfFormat instance in it (*.json with schemaVersion and workflow)"
        )
    return found


def map_proxy(
    instance: Instance, number: int, draw: np.random.Generator, system: dict[str, int]
) -> Workflow:
    """Return the stages of an instance.

    Args:
        instance: what to map.
        number: its place in the batch: workflows do not share their contexts.
        draw: gives system prompts their tokens, and stages their own.
        system: tokens of the batch's system prompts, by key; new ones are added.
    """
    kinds = sorted({task.category for task in instance.tasks})
    models = _models(instance.application, kinds)
    prompts: dict[str, tuple[str, int]] = {}
    for kind in kinds:
        key, tokens = f"sys:{instance.application}/{kind}", int(draw.choice(_SYSTEM_TOKENS))
        prompts[kind] = key, system.setdefault(key, tokens)
    runtimes = [max(task.runtime_s, _LEAST_RUNTIME_S) for task in instance.tasks]
    sizes = [sum(task.outputs.values()) + 1 for task in instance.tasks]
    middle_s, middle_bytes = median(runtimes), median(sizes)
    names = {task.id: f"t{i}" for i, task in enumerate(instance.tasks)}
    return tuple(
        [
            ProxyStage(
                id=names[task.id],
                model=models[task.category],
                prefix=(prompts[task.category], (f"ctx:{number}", _CONTEXT_TOKENS)),
                own_tokens=int(draw.integers(*_OWN_TOKENS)),
                output_tokens=_within(
                    _ANSWER * (runtime_s / middle_s) ** _ANSWER_POWER, _ANSWER_BOUNDS
                ),
                output_bytes=GIGA
                * _within(_OUTPUT_GB * (size / middle_bytes) ** _OUTPUT_POWER, _OUTPUT_BOUNDS),
                parents=tuple(dict.fromkeys([names[parent] for parent in task.parents])),
            )
            for task, runtime_s, size in zip(instance.tasks, runtimes, sizes, strict=True)
        ]
    )


def proxy_graph(workflow: Workflow, name: str, scale: Scale) -> Graph:
    """Return a workflow as the scheduler sees it."""

    def stage(each: ProxyStage) -> Stage:
        prefix = [Segment(key, max(round(n * scale.prefix), 1)) for key, n in each.prefix]
        return Stage(
            id=each.id,
            kind="llm",
            parents=each.parents,
            model=model_name(each.model),
            prompt=(*prefix, Segment(f"own:{name}/{each.id}", each.own_tokens)),
            output_tokens=each.output_tokens,
            output_bytes=round(each.output_bytes * scale.bytes),
        )

    return Graph(id=name, stages=tuple([stage(each) for each in workflow]))


def _models(application: str, kinds: Sequence[str]) -> dict[str, int]:
    """Return the model of each task type: by spelling alone, so that it is the same everywhere."""
    offset = sum(map(ord, application))
    return {
        kind: (offset + i * 5 + sum(map(ord, kind)) % 3) % len(MODELS)
        for i, kind in enumerate(kinds)
    }


def _drawn_files(
    draw: np.random.Generator, count: int, folder: Path, most_tasks: int | None
) -> list[Instance]:
    found = [read_instance(path) for path in instance_files(folder)]
    if most_tasks is not None:
        found = [each for each in found if len(each.tasks) <= most_tasks] or found
    order: list[int] = []
    while len(order) < count:
        order.extend(draw.permutation(len(found)).tolist())
    return [found[i] for i in order[:count]]


def _is_instance(path: Path) -> bool:
    """Whether a JSON file says that it is WfFormat, usable or not."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(data, dict):
        return False
    return {"schemaVersion", "workflow"} <= set(cast("dict[str, object]", data))


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
