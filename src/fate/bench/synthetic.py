"""A made-up cluster and made-up work of any size, for suites in which nothing real runs."""

import random

from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Model
from fate.domain.graph import Graph, Segment, Stage, item_key

#: Seconds to load, prompt tokens and answer tokens per second of four models.
_MODELS: dict[str, tuple[float, float, float]] = {
    "a": (1.0, 2000.0, 300.0),
    "b": (1.5, 1500.0, 200.0),
    "c": (2.0, 1000.0, 150.0),
    "d": (3.0, 500.0, 100.0),
}
#: Stages of each chain that `chains` makes.
CHAIN = 5


def cluster(devices: int) -> Cluster:
    """Return devices that each hold two of four models."""
    models = tuple(Model(id=name, weight_bytes=1000, context_tokens=8192) for name in _MODELS)
    made = tuple(
        Device(id=f"device-{d}", engine="simulated", memory_bytes=2000, slots=1, sequences=4)
        for d in range(devices)
    )
    return Cluster(devices=made, models=models)


def profile(of: Cluster) -> Profile:
    """Return costs under which every other device is half as fast as its neighbour."""
    costs = {
        device.id: {name: _costs(*rates, 1.0 + d % 2) for name, rates in _MODELS.items()}
        for d, device in enumerate(of.devices)
    }
    return Profile(costs=costs, source="declared")


def chains(count: int, seed: int = 0) -> list[Graph]:
    """Return workflows of `CHAIN` calls, models in a drawn order, system prompts shared."""
    draw = random.Random(seed)  # noqa: S311  # not a secret
    return [_chain(f"w{number}", draw.choices(list(_MODELS), k=CHAIN)) for number in range(count)]


def _chain(name: str, models: list[str]) -> Graph:
    stages: list[Stage] = []
    for position, model in enumerate(models):
        prompt = [Segment(f"system-{model}", 250), Segment(f"task-{name}", 60)]
        prompt += [Segment(item_key(f"{name}/s{p}", 0), 40) for p in range(position)]
        stages.append(
            Stage(
                id=f"s{position}",
                kind="llm",
                model=model,
                parents=(f"s{position - 1}",) if position else (),
                prompt=tuple(prompt),
                output_tokens=40.0,
                max_tokens=40,
            )
        )
    return Graph(id=name, stages=tuple(stages))


def _costs(load_s: float, prefill: float, decode: float, factor: float) -> CallCosts:
    return CallCosts(
        load_s=load_s * factor,
        unload_s=0.05 * factor,
        prefill=(0.002, factor / prefill, 0.0),
        decode=(0.0, factor / decode, 0.0),
    )
