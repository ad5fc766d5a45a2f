"""How late the event loop is while plans are computed beside it."""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import fate
from fate.bench import synthetic
from fate.bench.instant import DeclaredWork, InstantEngine
from fate.domain.errors import FateError
from fate.drivers.execute import Executor
from fate.drivers.run import Runtime
from fate.drivers.setup import Setup
from fate.policy.base import Policy
from fate.store.journal import Header, Journal

#: A tick every millisecond; devices that need 20 ms for everything keep the planner busy.
TICK_S = 0.001
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Seconds by which each tick was late; plans made meanwhile, and their share of the time."""

    late_s: list[float]
    plans: int
    planning_share: float


def measure(policy: Policy, *, devices: int, workflows: int) -> Lag:
    """Run chains of calls on fake devices and return how late a ticker in the same loop was."""
    with tempfile.TemporaryDirectory(prefix="fate-bench-") as folder:
        return asyncio.run(_measure(policy, devices, workflows, Path(folder)))


async def _measure(policy: Policy, devices: int, workflows: int, folder: Path) -> Lag:
    cluster = synthetic.cluster(devices)
    setup = Setup(cluster=cluster, profile=synthetic.profile(cluster), policy=policy)
    graphs = synthetic.chains(workflows)
    header = Header(
        run="lag",
        created_at=datetime.now(UTC).isoformat(),
        simulated=False,
        policy=policy.name,
        cluster=cluster,
        options=setup.options,
        profile=setup.profile,
        version=fate.__version__,
    )
    with Journal.create(folder / "run.sqlite", header) as journal:
        engines = {device.id: InstantEngine(_PAUSE_S) for device in cluster.devices}
        works = {graph.id: DeclaredWork(graph) for graph in graphs}
        runtime = Runtime(setup, Executor(engines, works, journal.outputs), journal)
        late_s: list[float] = []
        ticker = asyncio.create_task(_tick(late_s))
        start_s = time.perf_counter()
        outcome = await runtime.run(graphs)
        seconds = time.perf_counter() - start_s
        ticker.cancel()
    if outcome.status != "ok":
        raise FateError(f"bench: the run beside the ticker ended {outcome.status}")
    plan_s = runtime.usage.plan_s
    return Lag(late_s=late_s, plans=len(plan_s), planning_share=sum(plan_s) / seconds)


async def _tick(late_s: list[float]) -> None:
    while True:
        due_s = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        late_s.append(max(time.perf_counter() - due_s, 0.0))
