"""What the runtime costs per item when the work itself costs nothing, journal included."""

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import fate
from fate.bench.instant import DeclaredWork, InstantEngine
from fate.bench.policies import ready_policy
from fate.core.options import SchedulerOptions
from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Model
from fate.domain.errors import FateError
from fate.domain.graph import Graph, Segment, Stage
from fate.drivers.clock import WallClock
from fate.drivers.execute import Executor
from fate.drivers.run import Runtime
from fate.drivers.setup import Setup
from fate.store.journal import Header, Journal

MODEL = "noop"
#: Two devices with four slots each: eight items under way, as with the tools in `ANCHORS`.
_DEVICES, _SLOTS = 2, 4


def chain(length: int = 500) -> Graph:
    """Return stages one after the other."""
    return Graph(id="chain", stages=tuple(_stage(i, (i - 1,) if i else ()) for i in range(length)))


def fan(width: int = 500) -> Graph:
    """Return one stage, `width` that need it, and one that needs them all."""
    middle = range(1, width + 1)
    stages = [_stage(0, ()), *[_stage(i, (0,)) for i in middle], _stage(width + 1, tuple(middle))]
    return Graph(id="fan", stages=tuple(stages))


def layered(layers: int = 40, width: int = 50, parents: int = 3) -> Graph:
    """Return layers in which every stage needs `parents` neighbours of the layer above."""
    stages: list[Stage] = []
    for layer in range(layers):
        for place in range(width):
            above = [(layer - 1) * width + (place + k) % width for k in range(parents)]
            stages.append(_stage(layer * width + place, tuple(above) if layer else ()))
    return Graph(id="layered", stages=tuple(stages))


#: The shapes that are measured, under their names in reports.
SHAPES: dict[str, Callable[[], Graph]] = {
    "chain-500": chain,
    "fan-1-500-1": fan,
    "layered-2000": layered,
}

#: Microseconds per no-op task of other tools on the same shapes, measured on a machine of the
#: same class (2 cores, Python 3.11): LangGraph 1.2 without a checkpointer, Ray 2.60 with two CPUs,
#: dask 2026.8 with two worker threads, DBOS 3.4 on SQLite (a 200-step chain). Only DBOS is durable.
ANCHORS: dict[str, dict[str, float]] = {
    "chain-500": {"LangGraph": 288, "Ray": 1458, "dask": 5714, "DBOS": 2588},
    "fan-1-500-1": {"LangGraph": 222, "Ray": 656, "dask": 1302},
    "layered-2000": {"LangGraph": 283, "Ray": 609, "dask": 1466},
}


def seconds_per_item(graph: Graph, policy: str) -> float:
    """Run a graph of no-op calls once, with a journal on disk; return wall seconds per item."""
    gc.freeze()  # as `fate run` does
    with tempfile.TemporaryDirectory(prefix="fate-bench-") as folder:
        return asyncio.run(_run(graph, policy, Path(folder))) / len(graph.stages)


async def _run(graph: Graph, policy: str, folder: Path) -> float:
    return await run_at(graph, policy, folder / "run.sqlite")


async def run_at(graph: Graph, policy: str, path: Path) -> float:
    """Run a graph of no-op calls with its journal at `path`; return wall seconds."""
    setup = setup_of(policy)
    header = Header(
        run=graph.id,
        created_at=datetime.now(UTC).isoformat(),
        simulated=False,
        policy=policy,
        cluster=setup.cluster,
        options=setup.options,
        profile=setup.profile,
        version=fate.__version__,
    )
    with Journal.create(path, header) as journal:
        clock = WallClock()
        engines = {device.id: InstantEngine() for device in setup.cluster.devices}
        works = {graph.id: DeclaredWork(graph)}
        executor = Executor(engines, works, journal.outputs)
        runtime = Runtime(setup, executor, journal, clock=clock)
        start_s = time.perf_counter()
        outcome = await runtime.run([graph])
        seconds = time.perf_counter() - start_s
    if outcome.status != "ok":
        raise FateError(f"bench: {graph.id} ended {outcome.status}: {outcome.ended}")
    return seconds


def setup_of(policy: str) -> Setup:
    """Return a cluster on which no-op calls run under a policy."""
    model = Model(id=MODEL, weight_bytes=1)
    devices = tuple(
        Device(id=f"device-{d}", engine="instant", memory_bytes=1, slots=_SLOTS, prefix="none")
        for d in range(_DEVICES)
    )
    costs = CallCosts(load_s=0.001, unload_s=0.0, prefill=(0.001, 0.0, 0.0), decode=(0.0, 0.0, 0.0))
    return Setup(
        cluster=Cluster(devices=devices, models=(model,)),
        profile=Profile(costs={device.id: {MODEL: costs} for device in devices}, source="declared"),
        policy=ready_policy(policy),
        options=SchedulerOptions(chunk_s=0.0, lookahead_depth=0),
    )


def _stage(number: int, parents: tuple[int, ...]) -> Stage:
    return Stage(
        id=f"s{number}",
        kind="llm",
        model=MODEL,
        parents=tuple(f"s{parent}" for parent in parents),
        prompt=(Segment(f"p{number}", 8),),
        output_tokens=1.0,
        max_tokens=1,
    )
