"""What a suite is: its problems, its policies, and the groups in which it is reported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from fate.bench.report import Target
from fate.bench.suites.given import Given
from fate.bench.suites.problem import Problem
from fate.bench.suites.results import Run

Within: TypeAlias = Callable[[Run], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was asked for: seeds, the quick part or all, and own data in place of ours."""

    seeds: Sequence[int]
    quick: bool = False
    instances: Given | None = None
    graphs: Given | None = None
    trace: Given | None = None


def always(run: Run) -> bool:
    """Count every run."""
    return bool(run.policy)


def never(run: Run) -> bool:
    """Count no run."""
    return not run.policy


class Pool(NamedTuple):
    """Cells that are reported together under a name.

    `tail` says whose latencies make the P95; none where latencies say nothing.
    """

    name: str
    within: Within
    tail: Within


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a suite is reported.

    Attributes:
        lead: what was measured, in a sentence.
        limits: what the figures do not show.
        notes: what a reader must know of a group of cells.
        shown: how many groups have plots of their own.
        columns: title -> group, of the heat map.
        axis: number -> group, where groups stand for numbers; `axis_title` says of what.
        axis_metrics: metric -> title, of the curves over it.
        ladder: number -> policy, where policies are one with more and more of something;
            `ladder_title` says of what. The others are drawn as levels beside it.
        gantt: whether the first problem's runs under two policies are drawn.
    """

    lead: str
    limits: str
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    shown: int = 2
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    axis: Mapping[float, str] = field(default_factory=dict[float, str])
    axis_title: str = ""
    axis_metrics: Mapping[str, str] = field(
        default_factory=lambda: {"makespan_over_round-robin": "makespan over round-robin's"}
    )
    ladder: Mapping[float, str] = field(default_factory=dict[float, str])
    ladder_title: str = ""
    gantt: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One suite.

    Attributes:
        name: as `fate bench` has it.
        problems: the frozen list for a choice.
        policies: whom to run for a choice, before those that are not registered are left out.
        pools: groups of cells.
        look: how it is reported.
        tail: whether a run's latencies make a P95 of its cell.
        choosing: the problems by which comparison baselines are chosen; None means all.
        chosen_by: group -> the runs that count in it, for choosing; the first decides.
        chosen_figure: what is compared then, over round-robin's.
        bounded: whether tables show how far below the policies the lower bound is; it takes a
            linear program for each problem.
        exact: the group in which estimates are right; others say how much of a lead they keep.
        says: lines about a suite's rows that no table has.
        titles: policy -> what it is called where there is no room for its options.
        prepare: done once before processes start.
        targets: what figures should be.
    """

    name: str
    problems: Callable[[Choice], list[Problem]]
    policies: Callable[[Choice], list[str]]
    pools: Callable[[], list[Pool]]
    look: Look
    tail: Within
    choosing: Callable[[Choice], list[Problem]] | None = None
    chosen_by: Mapping[str, Within] = field(default_factory=lambda: {"all": always})
    chosen_figure: str = "makespan_s"
    bounded: bool = False
    exact: str | None = None
    says: Callable[[Sequence[Run]], list[str]] = lambda _: []
    titles: Mapping[str, str] = field(default_factory=dict[str, str])
    prepare: Callable[[Sequence[Problem]], None] = lambda _: None
    targets: Sequence[Target] = field(default_factory=tuple[Target, ...])
