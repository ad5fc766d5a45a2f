"""What runs have seen of their workflows' stages, kept between runs."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec

from fate.domain.graph import InstanceId, Scope, Stage, written_id
from fate.domain.messages import (
    ActivityId,
    Call,
    Expanded,
    ItemDone,
    Record,
    Revealed,
    Skipped,
    Submitted,
)
from fate.store.learned import cache_path, read_or_empty, write_whole

#: Which length is expected of an answer.
Lengths: TypeAlias = Literal["mean", "p50", "p90"]
LENGTHS: tuple[Lengths, ...] = get_args(Lengths)

#: Numbers kept of each kind for a stage; older ones are thinned out.
_SAMPLES = 64
#: Workflows kept; those not run for longest go first.
_WORKFLOWS = 200
#: Conditions asked after which older answers count for half.
_ASKED = 200

#: How the id of a round of a stage that repeats on its own ends.
_ROUND = re.compile(r"#\d+$")


class StageHistory(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was seen of one stage over all runs of its workflow.

    Attributes:
        count: finished items of all runs.
        tokens: output tokens of an item, a sample.
        items: elements of its map, run by run.
        rounds: rounds of its loop.
        ran, skipped: how often its condition held, and did not.
    """

    count: int = 0
    tokens: list[int] = []
    items: list[int] = []
    rounds: list[int] = []
    ran: float = 0.0
    skipped: float = 0.0

    def length(self, kind: Lengths) -> float | None:
        """Return the mean or a quantile of the output tokens; None before anything was seen."""
        if not self.tokens:
            return None
        if kind == "mean":
            return sum(self.tokens) / len(self.tokens)
        return quantile(self.tokens, {"p50": 0.5, "p90": 0.9}[kind])

    @property
    def mean_items(self) -> float | None:
        """Mean number of elements of its map."""
        return sum(self.items) / len(self.items) if self.items else None

    @property
    def mean_rounds(self) -> float | None:
        """Mean number of rounds of its loop."""
        return sum(self.rounds) / len(self.rounds) if self.rounds else None

    @property
    def probability(self) -> float | None:
        """How likely its condition holds; None where it never was asked."""
        asked = self.ran + self.skipped
        return self.ran / asked if asked else None

    def merge(self, other: "StageHistory") -> None:
        """Add what another run has seen."""
        self.count += other.count
        self.tokens = _thinned(self.tokens, other.tokens)
        self.items = [*self.items, *other.items][-_SAMPLES:]
        self.rounds = [*self.rounds, *other.rounds][-_SAMPLES:]
        self.ran, self.skipped = self.ran + other.ran, self.skipped + other.skipped
        if self.ran + self.skipped > _ASKED:
            self.ran, self.skipped = self.ran / 2.0, self.skipped / 2.0


WorkflowHistory: TypeAlias = dict[str, StageHistory]


class _File(msgspec.Struct, kw_only=True):
    format: int = 1
    workflows: dict[str, WorkflowHistory] = {}


class Observer:
    """Reads the records of a run as they are taken; `seen` is by the written id of a stage."""

    def __init__(self) -> None:
        self.seen: WorkflowHistory = {}
        self._calls: dict[ActivityId, InstanceId] = {}
        self._stages: dict[InstanceId, Stage] = {}
        self._rounds: dict[InstanceId, int] = {}

    def add(self, record: Record) -> None:
        """Take note of one step."""
        for event in record.events:
            match event:
                case ItemDone(activity=activity, output_tokens=tokens) if (
                    tokens and activity in self._calls
                ):
                    stage = self._of(self._calls[activity])
                    stage.count += 1
                    stage.tokens.append(tokens)
                case Submitted(graph=graph):
                    self._know(graph.id, graph.stages)
                case Expanded() | Revealed() | Skipped():
                    self._answered(event)
                case _:
                    pass
        for command in record.commands:
            if isinstance(command, Call):
                self._calls[command.activity] = command.chunk.instance

    def _answered(self, event: Expanded | Revealed | Skipped) -> None:
        instance, seen = event.instance, self._of(event.instance)
        match event:
            case Skipped():
                seen.skipped += 1.0
            case Expanded(tails=tails):
                seen.ran += _ROUND.search(instance) is None  # its loop was asked already
                stage = self._stages.get(instance)
                if stage is not None and stage.mapped:
                    seen.items.append(len(tails))
            case Revealed(scopes=scopes):
                workflow = instance.partition("/")[0]
                for scope in scopes:
                    self._know(workflow, scope.stages)
                self._revealed(instance, seen, scopes)

    def _revealed(self, instance: InstanceId, seen: StageHistory, scopes: Sequence[Scope]) -> None:
        group = self._stages.get(instance)
        if group is None:
            return  # a former process was told what it is
        if not group.loop:
            seen.ran += 1.0
            seen.items.append(len(scopes))
        elif scopes:
            seen.ran += instance not in self._rounds
            self._rounds[instance] = scopes[-1].index
        elif instance in self._rounds:
            seen.rounds.append(self._rounds[instance])

    def _know(self, workflow: str, stages: Sequence[Stage]) -> None:
        self._stages.update({f"{workflow}/{stage.id}": stage for stage in stages})

    def _of(self, instance: InstanceId) -> StageHistory:
        return self.seen.setdefault(written_id(instance.partition("/")[2]), StageHistory())


def quantile(values: Sequence[int], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return float(ordered[max(math.ceil(share * len(ordered)) - 1, 0)])


def default_path() -> Path:
    """Return where the history is kept: under FATE_HOME, or the user's cache."""
    return cache_path("history.json")


def load_history(path: Path, workflow: str) -> WorkflowHistory:
    """Return what is known of a workflow's stages.

    A file that cannot be read counts as empty: it holds nothing that cannot be seen again.
    """
    return read_or_empty(path, _File).workflows.get(workflow, {})


def save_history(path: Path, workflow: str, seen: WorkflowHistory) -> None:
    """Merge what a run has seen into the file; atomic, the last writer wins."""
    known = read_or_empty(path, _File)
    stages = known.workflows.pop(workflow, {})
    for name, stage in seen.items():
        stages.setdefault(name, StageHistory()).merge(stage)
    known.workflows[workflow] = stages
    for name in list(known.workflows)[:-_WORKFLOWS]:
        del known.workflows[name]
    write_whole(path, known)


def _thinned(old: Iterable[int], new: Sequence[int]) -> list[int]:
    """Return a sample of both: the quantiles of the new values, and the newer of the old ones."""
    ordered = sorted(new)
    step = -(-len(ordered) // (_SAMPLES // 2)) or 1
    sample = ordered[step // 2 :: step] if ordered else []
    return [*old, *sample][-_SAMPLES:]
