"""Workflows, instances and scopes: plain data, and how calls follow each other."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from fate.core.pool import Work
from fate.domain.graph import Chunk, Graph, InstanceId, Path, Stage
from fate.domain.messages import WorkflowStatus

#: `skipped` is whatever ended without an output: its condition did not hold, nobody needed it any
#: more, or it was given up.
InstanceStatus: TypeAlias = Literal["waiting", "expanding", "open", "done", "skipped"]

#: What tells a workflow of a run from others of the same name.
_RUN_INDEX = re.compile(r"[-_#.:]?\d+$")


@dataclass(slots=True, eq=False)
class Lengths:
    """Output lengths seen of one stage, over all workflows of the run with the same name.

    `declared` is what had been declared for those answers: workflows of one name may differ in it.
    """

    count: int = 0
    tokens: int = 0
    declared: float = 0.0


@dataclass(slots=True, eq=False)
class Workflow:
    """A submitted workflow; `open_stages` counts stages that have not ended, `failures` attempts.

    Stages of a group count from when they are revealed. `attained_s` is what its finished calls
    took, `home` the device of the last of them, -1 before there is one.
    """

    id: str
    number: int
    graph: Graph
    open_stages: int
    status: WorkflowStatus | None = None
    failures: int = 0
    arrived_s: float = 0.0
    attained_s: float = 0.0
    home: int = -1
    family: str = field(init=False)

    def __post_init__(self) -> None:
        """Know the workflow's name without what numbers it within a run."""
        self.family = _RUN_INDEX.sub("", self.id) or self.id


class Before(NamedTuple):
    """What the closest calls before an instance took, seen through tools and groups.

    `path_s` is the service of the longest path to it, `end_s` when the last of them ended (-inf
    without any), `ran_on` how many of their items ran on each device.
    """

    path_s: float = 0.0
    end_s: float = float("-inf")
    ran_on: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True, eq=False)
class Instance:
    """One execution of a stage. `own_s` and `tail_s` are its rank's two parts, in seconds.

    `parents_left` counts parents that have not ended, `parents_done` those with an output.
    `next_calls` are the closest llm descendants, seen through tools and groups; `calls_left`
    counts the calls that have not ended and have this one among theirs. `output_at` counts the
    items whose output lies on each device.

    `open_items` are neither done nor given up: each is in one of the `open_chunks`, or waits as
    one of `borrowing` for another item's answer. `gone` are the items that were given up.
    `waiting_work` is what it costs before its prompts are known, by items.
    `longest_s` is the longest service of an item that is done, `ended_s` when the last one ended,
    `ran_on` counts them by device; `before` is about the calls before this one, once it is asked
    for.
    An expected instance stands for stages of a group that is not revealed yet; it never runs.
    """

    id: InstanceId
    number: int
    workflow: Workflow
    stage: Stage
    lengths: Lengths
    parents_left: int
    probability: float = 1.0
    scope: "OpenScope | None" = None
    group: "Group | None" = None
    parents_done: int = 0
    parents: list["Instance"] = field(default_factory=list["Instance"])
    children: list["Instance"] = field(default_factory=list["Instance"])
    next_calls: list["Instance"] = field(default_factory=list["Instance"])
    calls_left: int = 0
    output_at: dict[int, int] = field(default_factory=dict[int, int])
    own_s: float = 0.0
    tail_s: float = 0.0
    status: InstanceStatus = "waiting"
    head: Path = ()
    tails: tuple[Path, ...] = ()
    chunk_items: int = 1
    open_chunks: int = 0
    open_items: set[int] = field(default_factory=set[int])
    borrowing: set[int] = field(default_factory=set[int])
    gone: set[int] = field(default_factory=set[int])
    failures: dict[int, int] = field(default_factory=dict[int, int])
    waiting_work: dict[int, Work] = field(default_factory=dict[int, Work])
    longest_s: float = 0.0
    ended_s: float = float("-inf")
    ran_on: dict[int, int] = field(default_factory=dict[int, int])
    before: Before | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more can come of it."""
        return self.status in ("done", "skipped")

    @property
    def live(self) -> bool:
        """Whether it and its workflow go on."""
        return not self.ended and self.workflow.status is None


@dataclass(slots=True, eq=False)
class OpenScope:
    """A scope of a group; `left` counts its stages that have not ended."""

    group: Instance
    index: int
    members: list[Instance] = field(default_factory=list[Instance])
    left: int = 0


@dataclass(slots=True, eq=False)
class Group:
    """What a group's instance has on top: scopes revealed so far, `left` of them not over.

    `expected` stand for its scopes until they are revealed, `again` for a loop's further rounds;
    `heads` are the calls it is expected to begin with, `scope_s` the seconds of one scope.
    """

    expected: list[Instance] = field(default_factory=list[Instance])
    again: list[Instance] = field(default_factory=list[Instance])
    heads: list[Instance] = field(default_factory=list[Instance])
    scope_s: float = 0.0
    scopes: dict[int, OpenScope] = field(default_factory=dict[int, OpenScope])
    left: int = 0


def link(own: dict[str, Instance]) -> None:
    """Connect instances of one block with their parents."""
    for instance in own.values():
        for name in instance.stage.parents:
            parent = own[name]
            parent.children.append(instance)
            instance.parents.append(parent)


def first_calls(instances: Iterable[Instance]) -> list[Instance]:
    """Return the calls that some instances begin with: themselves, or what comes behind."""
    found: dict[int, Instance] = {}
    for instance in instances:
        if instance.stage.kind == "llm":
            found[instance.number] = instance
        else:
            behind = instance.next_calls if instance.group is None else instance.group.heads
            found.update([(call.number, call) for call in behind])
    return list(found.values())


def cut(instance: InstanceId, items: Iterable[int], size: int) -> list[Chunk]:
    """Cut items into runs of neighbours of at most `size`."""
    chunks: list[Chunk] = []
    for item in items:
        last = chunks[-1] if chunks else None
        if last is not None and last.stop == item and last.stop - last.start < size:
            chunks[-1] = Chunk(instance, last.start, item + 1)
        else:
            chunks.append(Chunk(instance, item, item + 1))
    return chunks
