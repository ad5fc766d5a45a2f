"""What work is expected to cost: from declared figures, and from what this run has seen."""

from typing import NamedTuple

from fate.core.instances import Instance, Lengths, Workflow
from fate.core.paths import EMPTY, PathTable
from fate.core.pool import Work
from fate.cost.estimates import Estimator
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.catalog import Cluster
from fate.domain.graph import (
    ITEM,
    Chunk,
    Path,
    Segment,
    Stage,
    item_key,
    path_tokens,
    written_id,
)

#: Observations that the declared output length of a stage counts for.
_PRIOR_WEIGHT = 2.0


class _Prompts(NamedTuple):
    """Prompts of a range of items: shared head, first and last tail, tokens of other tails."""

    head: Path
    first: Path
    last: Path
    rest_tokens: float


class Expectation:
    """Sizes and seconds of instances, before and after their prompts are known."""

    def __init__(self, cluster: Cluster, estimator: Estimator) -> None:
        self._estimator = estimator
        self._models = {model.id: m for m, model in enumerate(cluster.models)}
        self._hosts = [
            [d for d, device in enumerate(cluster.devices) if cluster.supports(device, model)]
            for model in cluster.models
        ]
        self._lengths: dict[tuple[str, str], Lengths] = {}
        self._cached = any(device.prefix != "none" for device in cluster.devices)
        self.paths = PathTable()

    def lengths(self, workflow: Workflow, stage: Stage) -> Lengths:
        """Return where the output lengths of a stage are kept, wherever it stands in groups."""
        return self._lengths.setdefault((workflow.family, written_id(stage.id)), Lengths())

    def tokens(self, instance: Instance) -> float:
        """Return the expected output tokens of one item, after what this run has seen.

        What is learned is the factor on what was declared, so that workflows which share a name,
        but not their lengths, do not spoil each other's.
        """
        seen, declared = instance.lengths, instance.stage.output_tokens
        weight = _PRIOR_WEIGHT + seen.count
        if not seen.count:
            return declared
        if not declared or not seen.declared:
            return (_PRIOR_WEIGHT * declared + seen.tokens) / weight
        return declared * ((_PRIOR_WEIGHT + seen.count * (seen.tokens / seen.declared)) / weight)

    def own_seconds(self, instance: Instance) -> float:
        """Seconds of an instance, a map spread over the devices that can run it."""
        stage = instance.stage
        seconds = stage.items * self.item_seconds(instance)
        if stage.kind == "tool":
            return seconds
        hosts = self._hosts[self._models[stage.model]]
        return seconds / max(min(len(hosts), stage.items), 1)

    def item_seconds(self, instance: Instance) -> float:
        """Compute seconds of one item, the mean over the devices that can run it."""
        stage = instance.stage
        if stage.kind == "tool":
            return stage.tool_s
        m, seconds = self._models[stage.model], list[float]()
        tokens, output = float(path_tokens(stage.prompt)), self.tokens(instance)
        for d in self._hosts[m]:
            prefill, decode = self._estimator.rates(d, m)
            seconds.append(
                prefill_seconds(tokens, 0.0, *prefill) + decode_seconds(output, tokens, *decode)
            )
        return sum(seconds) / len(seconds) if seconds else 0.0

    def waiting(self, instance: Instance) -> Work:
        """Return what a waiting or expected instance costs as a whole."""
        return self.part(instance, max(instance.stage.items, 1))

    def part(self, instance: Instance, items: int) -> Work:
        """Return what some items of a waiting or expected instance cost."""
        work = instance.waiting_work.get(items)
        if work is None:
            stage = instance.stage
            cut = next((i for i, s in enumerate(stage.prompt) if s.key.startswith(ITEM)), None)
            head, tail = stage.prompt[:cut], stage.prompt[cut:] if cut is not None else ()
            rest = float((items - 1) * path_tokens(tail))
            work = instance.waiting_work[items] = self._work(
                instance, Chunk(instance.id, 0, items), _Prompts(head, tail, tail, rest)
            )
        return work

    def chunk(self, instance: Instance, chunk: Chunk) -> Work:
        """Return what a chunk costs whose prompts are known."""
        tails = instance.tails[chunk.start : chunk.stop]
        rest = float(sum([path_tokens(tail) for tail in tails[1:]]))
        return self._work(instance, chunk, _Prompts(instance.head, tails[0], tails[-1], rest))

    def _work(self, instance: Instance, chunk: Chunk, prompts: _Prompts) -> Work:
        expected = self.tokens(instance)
        first = last = prompts.head + prompts.first
        if prompts.last is not prompts.first:
            last = prompts.head + prompts.last
        left = (*last, Segment(item_key(instance.id, chunk.stop - 1), int(expected)))
        items, model = chunk.stop - chunk.start, instance.stage.model
        path_row = self.paths.row(model, first) if self._cached else EMPTY
        left_row = self.paths.row(model, left) if self._cached else EMPTY
        return Work(
            model=self._models[model],
            path=first,
            left=left,
            path_row=path_row,
            left_row=left_row,
            nodes=self.paths.nodes(path_row),
            left_nodes=self.paths.nodes(left_row),
            first_tokens=float(path_tokens(first)),
            rest_tokens=prompts.rest_tokens,
            head_tokens=float(path_tokens(prompts.head)),
            rest_items=float(items - 1),
            output_tokens=expected * items,
        )
