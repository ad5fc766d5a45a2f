"""The expected end of a run, predicted again and again while it goes on."""

import asyncio
import time
from dataclasses import dataclass, field

from fate.domain.errors import FateError
from fate.drivers.project import TooSlowError, freeze, project
from fate.drivers.run import Runtime
from fate.policy.base import Policy

#: Seconds between two predictions, at least; and from the start to the first one.
_EVERY_S = 1.0
#: Share of wall time x cores that predictions may take.
_CPU_SHARE = 0.01
#: CPU seconds of one prediction; beyond it, the cheaper policy stands in from then on.
_MOST_CPU_S = 0.4
#: Stages not done yet beyond which nothing is predicted.
_MOST_STAGES = 2_000
#: Seconds after which to look again whether the core still waits for a plan.
_SOON_S = 0.05


@dataclass(slots=True)
class Outlook:
    """Predictions of one run: `points` are (when it was made, the end expected then) [s].

    Attributes:
        policy: the run's own, to decide what is left; it must not remember anything.
        cheaper: takes over where the policy takes too long.
        cores: processor cores whose time is shared.
        points: predictions in order of time.
        cpu_s: CPU seconds they took.
    """

    policy: Policy
    cheaper: Policy | None = None
    cores: int = 1
    points: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    cpu_s: float = 0.0
    _task: "asyncio.Task[None] | None" = None

    def start(self, runtime: Runtime) -> None:
        """Begin to predict, in the loop that the runtime runs in."""
        self._task = asyncio.create_task(self._follow(runtime))

    async def stop(self) -> None:
        """End predicting; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, runtime: Runtime) -> None:
        wait_s = _EVERY_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = _SOON_S
            core = runtime.core
            if core.planning or core.finished:
                continue
            started_s = time.thread_time()
            workflows = core.lifecycle.workflows.values()
            left = sum(w.open_stages for w in workflows if w.status is None)
            wait_s = _EVERY_S
            if left > _MOST_STAGES:
                continue
            now_s, frozen = runtime.now_s, freeze(core)
            spent_s = time.thread_time() - started_s
            spent_s += await asyncio.to_thread(self._predict, frozen, now_s)
            self.cpu_s += spent_s
            wait_s = max(_EVERY_S, spent_s / (_CPU_SHARE * self.cores))

    def _predict(self, frozen: bytes, now_s: float) -> float:
        """Add a prediction; return the CPU seconds it took."""
        started_s = time.thread_time()
        try:
            self.points.append((now_s, project(frozen, self.policy, now_s, _MOST_CPU_S)))
        except TooSlowError:
            self.policy = self.cheaper or self.policy
        except (FateError, LookupError, ValueError, AssertionError):
            pass  # a view of the run must not end it; the last prediction stands
        return time.thread_time() - started_s
