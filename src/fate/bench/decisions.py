"""How long a decision takes, on decisions that a simulated run really had to take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fate.bench import synthetic
from fate.core.options import SchedulerOptions
from fate.core.snapshot import SnapshotBuilder
from fate.domain.messages import Record, RequestPlan
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.policy.base import Lookahead, Policy
from fate.policy.kernel.backend import open_kernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_plans import MIN_MIN

#: Returns seconds.
Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Question:
    """What a policy was asked, and what it remembered."""

    snapshot: Snapshot
    memo: Memo | None


class TimedPolicy:
    """Passes questions on to a policy, keeps the first ones of a size, and times all answers.

    `clock` says what seconds are: of the wall, or of a processor.
    """

    def __init__(
        self, policy: Policy, *, ready: int = 0, keep: int = 0, clock: Clock = time.perf_counter
    ) -> None:
        self.name, self.eager, self.inline = policy.name, policy.eager, policy.inline
        self.lookahead: Lookahead = policy.lookahead
        self.questions: list[Question] = []
        self.seconds: list[float] = []
        self._policy, self._ready, self._keep, self._clock = policy, ready, keep, clock

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Let the policy answer."""
        if snapshot.frontier == self._ready and len(self.questions) < self._keep:
            self.questions.append(Question(snapshot, memo))
        start_s = self._clock()
        plan = self._policy.plan(snapshot, memo)
        self.seconds.append(self._clock() - start_s)
        return plan


class SampledPolicy:
    """Asks a policy for the first `count` plans and another one, quick, for all later ones."""

    def __init__(self, policy: Policy, after: Policy, count: int) -> None:
        self.name, self.eager, self.inline = policy.name, policy.eager, policy.inline
        self.lookahead: Lookahead = policy.lookahead
        self._policy, self._after, self._left = policy, after, count

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Let either of them answer."""
        self._left -= 1
        if self._left >= 0:
            return self._policy.plan(snapshot, memo)
        return self._after.plan(snapshot, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTimes:
    """What the core took: seconds of each snapshot alone, and of everything it did."""

    snapshot_s: list[float]
    total_s: float


def run_chains(
    policy: Policy, *, ready: int, devices: int, workflows: int, seed: int = 0
) -> tuple[Outcome, Setup]:
    """Simulate chains of calls that all arrive at once, with at most `ready` chunks in view."""
    cluster = synthetic.cluster(devices)
    setup = Setup(
        cluster=cluster,
        profile=synthetic.profile(cluster),
        policy=policy,
        options=SchedulerOptions(frontier_min=ready, frontier_max=ready),
    )
    arrivals = [(0.0, graph) for graph in synthetic.chains(workflows, seed)]
    return simulate(arrivals, setup), setup


def time_plans(policy: Policy, asked: Sequence[Question]) -> list[float]:
    """Return the seconds of every plan."""
    return [_seconds(lambda q=q: policy.plan(q.snapshot, q.memo)) for q in asked]


def time_local_search(asked: Sequence[Question], moves: int) -> list[float]:
    """Return the seconds of the local search alone, from the min-min plan."""
    found: list[float] = []
    for question in asked:
        kernel = open_kernel(question.snapshot, Weights())
        orders = kernel.greedy(MIN_MIN)
        draws = np.random.default_rng(0).integers(1 << 30, size=(moves, 4))
        found.append(_seconds(lambda k=kernel, o=orders, m=draws: k.local_search(o, m)))
    return found


def time_core(
    records: Sequence[Record],
    setup: Setup,
    clock: Clock = time.perf_counter,
    lookahead: Lookahead = "near",
) -> CoreTimes:
    """Take a run's steps again, plans included, and time what the core does of it.

    Snapshots that are timed alone show what is seen with a `lookahead`.
    """
    core, total_s, snapshot_s = setup.scheduler(), 0.0, list[float]()
    builder = SnapshotBuilder(core.lifecycle, core.fleet, setup.options, setup.seed)
    for step in records:
        start_s = clock()
        commands = core.handle(step.events, step.at_s)
        total_s += clock() - start_s
        if any(isinstance(command, RequestPlan) for command in commands):
            snapshot_s.append(
                _seconds(
                    lambda at_s=step.at_s: builder.build(
                        1, at_s, whole_frontier=False, lookahead=lookahead
                    )
                )
            )
    return CoreTimes(snapshot_s=snapshot_s, total_s=total_s)


def _seconds(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s
