"""Wall time: asyncio around the core. Planning runs in a worker thread, engines as tasks."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from fate.core.scheduler import Scheduler
from fate.domain.graph import Graph
from fate.domain.messages import (
    Activity,
    ActivityId,
    CancelAll,
    Cancelled,
    Command,
    DeviceLost,
    Drained,
    Dropped,
    Event,
    Expand,
    PlanFailed,
    PlanLate,
    Planned,
    Readmitted,
    Record,
    RequestPlan,
    Reuse,
    RunTool,
    Submitted,
    WakeAt,
    Woke,
    WorkflowEnded,
)
from fate.domain.messages import Cancel as CancelCommand
from fate.drivers.clock import Clock, WallClock
from fate.drivers.execute import Executor
from fate.drivers.keeper import Keeper
from fate.drivers.recover import Recovered
from fate.drivers.setup import Outcome, Setup, answer, in_order, record, workflow_ends
from fate.policy.base import Policy

#: Commands that may take effect before the record of them is durable: they change nothing.
_WITHOUT_EFFECT: frozenset[type[Command]] = frozenset([RequestPlan, Expand])


class RecordWriter(Protocol):
    """Where the decision log goes; `commit` makes it durable together with the outputs."""

    def append(self, record: Record) -> None:
        """Add a record."""
        ...

    def commit(self) -> None:
        """Make everything so far durable."""
        ...

    def sync(self) -> None:
        """Make everything so far outlast a power cut."""
        ...


@dataclass(slots=True)
class Usage:
    """What scheduling cost: wall readings, hence never in the decision log.

    Attributes:
        plan_s: wall seconds of each plan.
        cpu_s: CPU seconds of planning, of the core, and of the loop's own work for it.
    """

    plan_s: list[float] = field(default_factory=list[float])
    cpu_s: float = 0.0


class Planner(Protocol):
    """Answers plan requests without blocking the loop for long."""

    def at_once(self, request: RequestPlan) -> Planned | PlanFailed | None:
        """Return the plan where that takes no longer than starting a task, else None."""
        ...

    async def plan(self, request: RequestPlan) -> Planned | PlanFailed:
        """Return the plan, or why there is none."""
        ...


class WallPlanner:
    """Plans in a worker thread, or at once where the policy says that is cheaper."""

    def __init__(self, policy: Policy, usage: Usage) -> None:
        self._policy, self._usage = policy, usage

    def at_once(self, request: RequestPlan) -> Planned | PlanFailed | None:
        """Return the answer of a policy that says so; the loop counts its CPU time."""
        return self._timed(request) if self._policy.inline else None

    async def plan(self, request: RequestPlan) -> Planned | PlanFailed:
        """Return the policy's answer."""
        return await asyncio.to_thread(self._measured, request)

    def _measured(self, request: RequestPlan) -> Planned | PlanFailed:
        cpu_s = time.thread_time()
        event = self._timed(request)
        self._usage.cpu_s += time.thread_time() - cpu_s
        return event

    def _timed(self, request: RequestPlan) -> Planned | PlanFailed:
        wall_s = time.perf_counter()
        event = answer(self._policy, request)
        self._usage.plan_s.append(time.perf_counter() - wall_s)
        return event


class Runtime:
    """Runs workflows on engines under one core.

    Events are collected in an inbox; each turn hands all of them to the core, journals the batch
    with the answer, and only then lets the commands take effect.
    """

    def __init__(
        self,
        setup: Setup,
        executor: Executor,
        journal: RecordWriter,
        *,
        clock: Clock | None = None,
        planner: Planner | None = None,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.usage = Usage()
        self._core: Scheduler = setup.scheduler()
        self._executor, self._journal = executor, journal
        self._clock: Clock = clock or WallClock()
        self._planner: Planner = planner or WallPlanner(setup.policy, self.usage)
        self._on_record = on_record
        self._inbox: list[Event] = []
        self._mail = asyncio.Event()
        self._activities: dict[ActivityId, tuple[Activity, asyncio.Task[None]]] = {}
        self._helpers: set[asyncio.Task[None]] = set()
        self._keeper = Keeper(executor.engines, self._clock, self.post, executor.limits.load_s)
        self._orphans: set[ActivityId] = set()
        self._crash: BaseException | None = None
        self._busy_since_s = 0.0

    @property
    def core(self) -> Scheduler:
        """The decision core, to read its estimates after a run."""
        return self._core

    @property
    def now_s(self) -> float:
        """The run's clock [s]."""
        return self._clock.now_s()

    def post(self, event: Event) -> None:
        """Hand an event to the next turn."""
        self._inbox.append(event)
        self._mail.set()

    def stop(self, reason: str) -> None:
        """End cleanly: nothing new starts, what runs is cancelled, what is finished is kept."""
        self.post(CancelAll(reason=reason))

    async def run(self, graphs: Sequence[Graph]) -> Outcome:
        """Run workflows to their end.

        Returns:
            The outcome; `records` is empty, the journal has them.
        """
        if not graphs:
            return Outcome(makespan_s=0.0, records=(), ended={})
        for graph in graphs:
            self.post(Submitted(graph=graph))
        return await self._until_end({}, 0.0)

    async def resume(self, left: Recovered) -> Outcome:
        """Go on where a former process left a run, to the end; the clock goes on from there too.

        Returns:
            The outcome of the run as a whole.
        """
        self._core = left.core
        self._executor.recall(left.told, left.finished, left.doubtful)
        for event in left.events:
            self.post(event)
        for command in left.again:
            self._execute(command)
        return await self._until_end(dict(left.ended), left.at_s)

    async def _until_end(self, ended: dict[str, WorkflowEnded], last_end_s: float) -> Outcome:
        begun, self._busy_since_s = False, time.thread_time()
        self._help(self._keeper.feel_pulses(self._busy, self._device_lost))
        try:
            while not (begun and self._core.finished):
                await self._next_mail()
                if self._crash is not None:
                    raise self._crash
                now_s, commands, kinds = self._turn()
                begun = True
                if WorkflowEnded in kinds:
                    ends = workflow_ends(commands)
                    ended.update(ends)
                    last_end_s = now_s
        finally:
            await self._end_tasks()
            self._executor.states.clear()
            self._journal.commit()
        return Outcome(makespan_s=last_end_s, records=(), ended=ended)

    async def _next_mail(self) -> None:
        """Wait for events; turns that follow each other without a wait are counted as one.

        What is finished is durable before: who knows when the next command makes it so.
        """
        idle = not self._mail.is_set()
        if idle:
            self._journal.commit()
            self.usage.cpu_s += time.thread_time() - self._busy_since_s
        await self._clock.wait(self._mail)
        if idle:
            self._busy_since_s = time.thread_time()

    def _turn(self) -> tuple[float, list[Command], set[type[Command]]]:
        """Take a step: decide, journal, act; return when, and what was answered."""
        batch, self._inbox = in_order(self._inbox), []
        self._mail.clear()
        now_s = self._clock.now_s()
        commands = self._core.handle(batch, now_s)
        step = record(now_s, batch, commands)
        self._journal.append(step)
        kinds: set[type[Command]] = {type(command) for command in commands}
        if not kinds <= _WITHOUT_EFFECT:
            self._journal.commit()
        if RunTool in kinds and any(isinstance(c, RunTool) and not self._pure(c) for c in commands):
            self._journal.sync()
        for command in commands:
            self._execute(command)
        if self._on_record is not None:
            self._on_record(step)
        return now_s, commands, kinds

    def _pure(self, command: RunTool) -> bool:
        return self._core.lifecycle.instances[command.chunk.instance].stage.pure

    def _execute(self, command: Command) -> None:
        match command:
            case RequestPlan():
                self._request_plan(command)
            case Expand():
                self.post(self._executor.expand(command))
            case WakeAt(at_s=at_s):
                self._help(self._wake(at_s))
            case CancelCommand(activity=activity):
                if activity in self._activities:
                    self._activities[activity][1].cancel()
            case Reuse():
                self._executor.reuse(command)
            case Dropped():
                self._executor.drop(command)
            case Drained() | Readmitted() | WorkflowEnded():
                pass
            case _:
                task = asyncio.create_task(self._activity(command))
                task.add_done_callback(partial(self._activity_ended, command))
                self._activities[command.activity] = command, task

    async def _activity(self, command: Activity) -> None:
        outcome = await self._executor.run(command, self.post)
        if command.activity in self._orphans:  # its device may be back, and another one
            self._orphans.discard(command.activity)
        elif isinstance(outcome, DeviceLost):
            self._device_lost(outcome)
        else:
            self.post(outcome)

    def _activity_ended(self, command: Activity, task: asyncio.Task[None]) -> None:
        del self._activities[command.activity]
        if task.cancelled():  # before it began, or it would have told
            self.post(Cancelled(activity=command.activity))
        self._watch(task)

    def _request_plan(self, request: RequestPlan) -> None:
        event = self._planner.at_once(request)
        if event is None:
            self._help(self._plan(request))
        else:
            self.post(event)

    async def _plan(self, request: RequestPlan) -> None:
        late = self._help(self._late(request))
        try:
            self.post(await self._planner.plan(request))
        finally:
            late.cancel()

    async def _late(self, request: RequestPlan) -> None:
        await self._clock.sleep(request.grace_s)
        self.post(PlanLate(version=request.version))

    async def _wake(self, at_s: float) -> None:
        await self._clock.sleep_until(at_s)
        self.post(Woke(at_s=at_s))

    def _device_lost(self, event: DeviceLost) -> None:
        """Tell the core once, and try to bring the device back."""
        if event.device in self._keeper.lost:
            return
        self._keeper.lost.add(event.device)
        self.post(event)
        orphans = {
            command.activity: task
            for command, task in self._activities.values()
            if not isinstance(command, RunTool) and command.device == event.device
            if task is not asyncio.current_task()
        }
        for task in orphans.values():
            task.cancel()
        self._orphans |= set(orphans)
        self._help(self._keeper.bring_back(event.device, list(orphans.values())))

    def _busy(self) -> list[str]:
        """Return the devices with activities."""
        working = [command for command, _ in self._activities.values()]
        return [command.device for command in working if not isinstance(command, RunTool)]

    def _help(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        task.add_done_callback(self._watch)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return task

    def _watch(self, task: asyncio.Task[None]) -> None:
        """A bug in a task ends the run with its traceback, instead of leaving it waiting."""
        if not task.cancelled() and task.exception() is not None:
            self._crash = task.exception()
            self._mail.set()

    async def _end_tasks(self) -> None:
        tasks = [*(task for _, task in self._activities.values()), *self._helpers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
