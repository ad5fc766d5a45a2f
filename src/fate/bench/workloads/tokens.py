"""Scientific tasks as LLM stages with token counts: deterministic, ranks instead of values.

Runtimes span six orders of magnitude, so a task's place among the others counts, on quantiles of
measured LLM traffic (Azure 2023 conversations, Splitwise, arXiv:2311.18677).
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from statistics import median_high

import numpy as np

from fate.bench.workloads.wfformat import Instance, Task

MODEL_CLASSES = ("small", "medium", "large")
CONTEXT_TOKENS = 8192
APPLICATION_TOKENS = 256
BYTES_PER_TOKEN = 4

#: Quantile -> tokens: answers, and prompts that stand for documents.
OUTPUT_KNOTS = (
    (0.0, 7), (0.05, 41), (0.25, 85), (0.5, 129), (0.75, 395), (0.9, 424), (0.95, 451),
    (0.99, 601), (1.0, 1000),
)  # fmt: skip
DOCUMENT_KNOTS = (
    (0.0, 16), (0.05, 181), (0.25, 396), (0.5, 1020), (0.75, 1189), (0.9, 2735), (0.95, 4083),
    (0.99, 4142), (1.0, 8192),
)  # fmt: skip
#: Quantile of the positive runtimes that stands for a missing or zero one.
_NO_RUNTIME = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStage:
    """One task as an LLM stage.

    The prompt is the prefix chain (keys with tokens, root first), an own part, and of each parent
    as many tokens as `parent_tokens` says.
    """

    id: str
    category: str
    model_class: str
    prompt_tokens: int
    output_tokens: int
    prefix_chain: tuple[tuple[str, int], ...]
    parents: tuple[str, ...]
    parent_tokens: tuple[int, ...]

    @property
    def shared_prefix_tokens(self) -> int:
        """Tokens of the prefix chain."""
        return sum(tokens for _, tokens in self.prefix_chain)

    @property
    def output_bytes(self) -> int:
        """Bytes of the answer as text."""
        return BYTES_PER_TOKEN * self.output_tokens


def map_tokens(instance: Instance) -> tuple[TokenStage, ...]:
    """Return the stages of an instance, in its order of tasks."""
    runtimes = _runtimes(instance.tasks)
    classes = _model_classes(instance.tasks, runtimes)
    ordered = sorted(runtimes.values())
    outputs = {
        task: round(_at(OUTPUT_KNOTS, _midrank(ordered, runtime)))
        for task, runtime in runtimes.items()
    }
    documents = _documents(instance.tasks)
    shared = Counter((t.category, documents[t.id][0]) for t in instance.tasks if documents[t.id][0])
    return tuple(
        [_stage(instance, task, classes, outputs, documents, shared) for task in instance.tasks]
    )


def _stage(
    instance: Instance,
    task: Task,
    classes: Mapping[str, str],
    outputs: Mapping[str, int],
    documents: Mapping[str, tuple[frozenset[str], int]],
    shared: Counter[tuple[str, frozenset[str]]],
) -> TokenStage:
    application, category = instance.application, f"{instance.application}/{task.category}"
    category_tokens = 64 * (2 + int(14 * unit(category)))
    chain = [(application, APPLICATION_TOKENS), (category, category_tokens)]
    files, document = documents[task.id]
    if shared[task.category, files] > 1:
        chain.append((f"{category}/{_digest(files)}", document))
    fixed = APPLICATION_TOKENS + category_tokens + document
    room = CONTEXT_TOKENS - fixed - outputs[task.id]
    each = room // len(task.parents) if task.parents else 0
    parents = tuple(sorted(task.parents))
    parent_tokens = tuple([max(min(outputs[parent], each), 1) for parent in parents])
    return TokenStage(
        id=task.id,
        category=task.category,
        model_class=classes[task.category],
        prompt_tokens=fixed + sum(parent_tokens),
        output_tokens=outputs[task.id],
        prefix_chain=tuple(chain),
        parents=parents,
        parent_tokens=parent_tokens,
    )


def _runtimes(tasks: Sequence[Task]) -> dict[str, float]:
    """Return each task's runtime [s]; a small one where none was measured."""
    positive = sorted([task.runtime_s for task in tasks if task.runtime_s > 0])
    small = positive[int(_NO_RUNTIME * len(positive))] if positive else 1.0
    return {task.id: task.runtime_s if task.runtime_s > 0 else small for task in tasks}


def _model_classes(tasks: Sequence[Task], runtimes: Mapping[str, float]) -> dict[str, str]:
    """Return a model class for each category: the longer its tasks take, the larger."""
    of: dict[str, list[float]] = {}
    for task in tasks:
        of.setdefault(task.category, []).append(runtimes[task.id])
    order = sorted(of, key=lambda category: (median_high(of[category]), category))
    return {category: MODEL_CLASSES[3 * j // len(order)] for j, category in enumerate(order)}


def _documents(tasks: Sequence[Task]) -> dict[str, tuple[frozenset[str], int]]:
    """Return (files no task writes, tokens of the document they stand for) of each task."""
    written = {name for task in tasks for name in task.outputs}
    files = {t.id: frozenset(name for name in t.inputs if name not in written) for t in tasks}
    sizes = {t.id: sum(t.inputs[name] for name in files[t.id]) for t in tasks if files[t.id]}
    ordered = sorted(sizes.values())
    return {
        task.id: (
            files[task.id],
            min(round(_at(DOCUMENT_KNOTS, _midrank(ordered, sizes[task.id]))), CONTEXT_TOKENS // 2)
            if files[task.id]
            else 0,
        )
        for task in tasks
    }


def _midrank(ordered: Sequence[float], value: float) -> float:
    """Return the mid-rank of a value among sorted ones, in [0, 1]."""
    return (bisect_left(ordered, value) + bisect_right(ordered, value)) / (2 * len(ordered))


def _at(knots: Sequence[tuple[float, int]], quantile: float) -> float:
    """Return the piecewise linear function through `knots` at a quantile."""
    return float(np.interp(quantile, [q for q, _ in knots], [value for _, value in knots]))


def unit(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64


def _digest(files: frozenset[str]) -> str:
    return blake2b("|".join(sorted(files)).encode(), digest_size=6).hexdigest()
