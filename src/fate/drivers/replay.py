"""Journals: the core fed with recorded events, its commands held against the recorded ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fate.core.scheduler import Scheduler
from fate.domain.errors import ReplayError
from fate.domain.graph import Chunk
from fate.domain.messages import Command, Drained, Planned, Record, RequestPlan, Resumed
from fate.domain.plan import Plan
from fate.domain.snapshot import Snapshot
from fate.drivers.setup import Setup, answer, record


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A plan as it was taken: what the policy saw, what it answered, which chunks started.

    `drained` devices were there but put aside, for failing or lagging, or at rest: how they were.
    """

    at_s: float
    snapshot: Snapshot
    plan: Plan
    started: tuple[Chunk, ...]
    drained: Mapping[int, Drained] = field(default_factory=dict[int, Drained])


def replay(records: Iterable[Record], setup: Setup) -> Scheduler:
    """Feed recorded events to a fresh core and check every command; no policy is asked.

    Returns:
        The core in the state the journal ends in.

    Raises:
        ReplayError: a record's commands differ from what the core answers.
    """
    core = setup.scheduler()
    for number, recorded in enumerate(records):
        core = _core_of(recorded, core, setup)
        _check(number, recorded, core.handle(recorded.events, recorded.at_s, replayed=True))
    return core


def _drained(core: Scheduler) -> dict[int, Drained]:
    states = enumerate(core.fleet.devices)
    found = [(d, core.watch.health.aside(d)) for d, state in states if state.healthy]
    return {d: aside for d, aside in found if aside is not None}


def _check(number: int, recorded: Record, commands: Sequence[Command]) -> None:
    actual = record(recorded.at_s, recorded.events, commands)
    if actual != recorded:
        raise ReplayError(
            f"record {number} at {recorded.at_s:.3f} s: the journal says "
            f"{list(recorded.commands)}, the core answers {list(actual.commands)}; it was "
            f"written by another version, or is damaged"
        )


def decisions(
    records: Iterable[Record], setup: Setup, *, check: bool = False
) -> Iterator[Decision]:
    """Yield every plan of a journal with the snapshot it was made from.

    Raises:
        ReplayError: with `check`, a record's commands differ from what the core answers.
    """
    core = setup.scheduler()
    asked: Snapshot | None = None
    drained = dict[int, Drained]()
    for number, recorded in enumerate(records):
        core = _core_of(recorded, core, setup)
        commands = core.handle(recorded.events, recorded.at_s)
        if check:
            _check(number, recorded, commands)
        for event in recorded.events:
            if isinstance(event, Planned) and asked is not None and event.version == asked.version:
                started = [c for c in asked.chunks if core.lifecycle.pool.get(c) is None]
                yield Decision(
                    at_s=recorded.at_s,
                    snapshot=asked,
                    plan=event.plan,
                    started=tuple(started),
                    drained=drained,
                )
        for command in commands:
            if isinstance(command, RequestPlan):
                asked, drained = command.snapshot, _drained(core)


def replan(records: Iterable[Record], setup: Setup) -> Iterator[tuple[Decision, Plan | None]]:
    """Decide anew at every recorded decision.

    Yields:
        The recorded decision, and the plan the policy of `setup` makes of the same snapshot and
        the memo of its own previous plan; None where the policy fails.
    """
    memo = None
    for decision in decisions(records, setup):
        request = RequestPlan(
            version=decision.snapshot.version,
            grace_s=setup.options.plan_grace_s,
            snapshot=decision.snapshot,
            memo=memo,
        )
        event = answer(setup.policy, request)
        plan = event.plan if isinstance(event, Planned) else None
        memo = decision.plan.memo
        yield decision, plan


def _core_of(recorded: Record, core: Scheduler, setup: Setup) -> Scheduler:
    """Return the core that a record was made by: a new one where a run began afresh."""
    if any(isinstance(event, Resumed) and event.afresh for event in recorded.events):
        return setup.scheduler()
    return core
