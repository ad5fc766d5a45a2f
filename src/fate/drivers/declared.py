"""What a declared graph turns out to be: the expander's part where there are no texts."""

from collections.abc import Callable, Iterable

import msgspec

from fate.domain.graph import (
    ITEM,
    Graph,
    InstanceId,
    Path,
    Scope,
    Segment,
    Stage,
    place_stages,
)
from fate.domain.messages import (
    Command,
    Event,
    Expanded,
    ExpandFailed,
    Revealed,
    Skipped,
    Twin,
)

#: Key prefix of the segment that was a group's item before the group was revealed.
_KNOWN = "item-of:"


class Declared:
    """Answers `Expand` as the stages declare it: items, rounds, and by chance which are skipped.

    With `reuse`, calls of the same model whose prompts have the same keys are made once.
    """

    def __init__(
        self,
        draw: Callable[[str, str], float],
        *,
        reuse: bool = False,
        refusal_rate: float = 0.0,
    ) -> None:
        """Start without any graph.

        Args:
            draw: a number in [0, 1) that depends on its arguments.
            reuse: mark twins.
            refusal_rate: probability that an instance cannot be rendered.
        """
        self._draw, self._reuse, self._refusal_rate = draw, reuse, refusal_rate
        self._stages: dict[InstanceId, Stage] = {}
        self._expanded: dict[InstanceId, Expanded] = {}
        self._rounds: dict[InstanceId, int] = {}
        self._calls: dict[tuple[str, ...], tuple[InstanceId, int]] = {}

    def arrive(self, graph: Graph) -> None:
        """Take note of a workflow's stages."""
        for stage in graph.stages:
            self._stages[graph.instance(stage.id)] = stage

    def know(
        self, instance: InstanceId, stage: Stage, expanded: Expanded | None, rounds: int = 0
    ) -> None:
        """Take note of an instance that is there already, with its prompts or rounds if they are.

        A world may begin in the middle of things.
        """
        self._stages[instance] = stage
        if expanded is not None:
            self._expanded[instance] = expanded
        if rounds:
            self._rounds[instance] = rounds

    def recall(self, message: Event | Command) -> None:
        """Take note of the scopes that a former process has revealed, and of the calls it knew."""
        if isinstance(message, Expanded) and self._reuse:
            self.expand(message.instance)
        if isinstance(message, Revealed):
            self._know_scopes(message.instance, message.scopes)
            if message.scopes and self._stages[message.instance].loop:
                self._rounds[message.instance] = message.scopes[-1].index

    def _know_scopes(self, group: InstanceId, scopes: Iterable[Scope]) -> None:
        workflow = group.rpartition("/")[0]
        for scope in scopes:
            self._stages.update({f"{workflow}/{each.id}": each for each in scope.stages})

    def stage(self, instance: InstanceId) -> Stage:
        """Return the stage of an instance that was submitted or revealed."""
        return self._stages[instance]

    def prompt(self, instance: InstanceId, item: int) -> Path:
        """Return the prompt of one item of an instance that was expanded."""
        expanded = self._expanded.get(instance)
        if expanded is None:  # a former process was asked
            expanded = declared_expansion(instance, self._stages[instance])
            self._expanded[instance] = expanded
        return expanded.head + expanded.tails[item]

    def expand(self, instance: InstanceId) -> Expanded | Skipped | Revealed | ExpandFailed:
        """Answer for an instance whose parents are done, or for a loop whose round is."""
        stage = self._stages[instance]
        begins = instance not in self._rounds
        if begins and stage.probability < 1.0 and self._draw("skip", instance) >= stage.probability:
            return Skipped(instance=instance)
        if self._refusal_rate and self._draw("refuse", instance) < self._refusal_rate:
            return ExpandFailed(instance=instance, reason="simulated failure")
        if stage.kind == "group":
            return self._reveal(instance, stage)
        expanded = declared_expansion(instance, stage)
        if self._reuse and stage.kind == "llm":
            twins = self._twins(stage, expanded)
            expanded = msgspec.structs.replace(expanded, twins=twins)
        self._expanded[instance] = expanded
        return expanded

    def _reveal(self, instance: InstanceId, stage: Stage) -> Revealed:
        indices = range(stage.items)
        if stage.loop:
            done = self._rounds.get(instance, 0)
            indices = range(done + 1, min(done + 1, max(round(stage.rounds), 1)) + 1)
            self._rounds[instance] = done + 1
        scopes = [declared_scope(instance, index, stage) for index in indices]
        self._know_scopes(instance, scopes)
        return Revealed(instance=instance, scopes=tuple(scopes))

    def _twins(self, stage: Stage, expanded: Expanded) -> tuple[Twin, ...]:
        twins: list[Twin] = []
        for item, tail in enumerate(expanded.tails):
            asked = (stage.model, *[segment.key for segment in expanded.head + tail])
            own = (expanded.instance, item)
            source = self._calls.setdefault(asked, own)
            if source != own:
                twins.append(Twin(item, *source))
        return tuple(twins)


def declared_expansion(instance: InstanceId, stage: Stage) -> Expanded:
    """Return an instance's prompts as its stage declares them, items told apart by their keys."""
    if not stage.mapped:
        return Expanded(instance=instance, head=stage.prompt)
    cut = next((i for i, s in enumerate(stage.prompt) if s.key.startswith(ITEM)), None)
    head, rest = stage.prompt[:cut], stage.prompt[cut:] if cut is not None else ()
    tails = tuple(
        tuple(Segment(f"{s.key}#{item}", s.tokens) if s.key.startswith(ITEM) else s for s in rest)
        for item in range(stage.items)
    )
    return Expanded(instance=instance, head=head, tails=tails)


def declared_scope(group: InstanceId, index: int, stage: Stage) -> Scope:
    """Return one scope of a group as its body declares it.

    Keys that name stages of the body name those of this scope: a prompt continues what its own
    siblings wrote. What names no stage is the same text in all scopes.
    """
    mark = f"{group}#{index}" if stage.loop else f"{group}[{index}]"
    placed = place_stages(group.rpartition("/")[2], index, stage)
    return Scope(index, tuple([_renamed(each, group, mark) for each in placed]))


def _renamed(stage: Stage, group: InstanceId, mark: str) -> Stage:
    prompt = tuple([_at(segment, group, mark) for segment in stage.prompt])
    body = tuple([_renamed(each, group, mark) for each in stage.body])
    return msgspec.structs.replace(stage, prompt=prompt, body=body)


def _at(segment: Segment, group: InstanceId, mark: str) -> Segment:
    before, found, after = segment.key.partition(group)
    if not found or after[:1] not in ("", ".", ":", "["):
        return segment
    if before == ITEM and not after:
        before = _KNOWN
    return Segment(f"{before}{mark}{after}", segment.tokens)
