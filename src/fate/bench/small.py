"""Small random cases, of which the exact optimum can be had: every cost is a whole millisecond."""

import random

import msgspec

from fate.bench.case import PATIENT, Case
from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Link, Model
from fate.domain.graph import Graph, Segment, Stage, item_key
from fate.drivers.world import Truth

#: Of each model: seconds to load, milliseconds per prompt token and per answer token.
MODELS: dict[str, tuple[int, int, int]] = {"a": (2, 1, 10), "b": (3, 1, 15), "c": (5, 2, 20)}
#: How many times slower than the first each further device is, over and over.
_SPEEDS = (1, 1, 2)
_LATENCY_S, _BYTES_PER_S = 0.1, 1e6
_UNLOAD_S = 0.1


def small_case(seed: int, *, stages: int = 12, devices: int = 3, workflows: int = 2) -> Case:
    """Return a random case: workflows of calls that share prompts, send bytes, and switch models.

    A device has one compute slot and holds one model and one prompt at a time.
    """
    draw = random.Random(seed)  # noqa: S311  # not a secret
    cluster = _cluster(devices)
    profile = _profile(cluster)
    sizes = [stages // workflows + (w < stages % workflows) for w in range(workflows)]
    return Case(
        arrivals=tuple((0.0, _graph(draw, f"w{w}", size)) for w, size in enumerate(sizes)),
        cluster=cluster,
        profile=profile,
        truth=Truth(profile=profile),
        seed=seed,
        options=msgspec.structs.replace(PATIENT, move=False),
    )


def _cluster(devices: int) -> Cluster:
    names = [f"d{d}" for d in range(devices)]
    return Cluster(
        devices=tuple(
            Device(id=name, engine="simulated", memory_bytes=1500, sequences=1) for name in names
        ),
        models=tuple(Model(id=name, weight_bytes=1000) for name in MODELS),
        links=tuple(
            Link(source=s, target=t, bytes_per_s=_BYTES_PER_S, latency_s=_LATENCY_S)
            for s in names
            for t in names
            if s != t
        ),
    )


def _profile(cluster: Cluster) -> Profile:
    costs = {
        device.id: {
            name: CallCosts(
                load_s=float(load_s),
                unload_s=_UNLOAD_S,
                prefill=(0.0, prefill / 1000 * _SPEEDS[d % 3], 0.0),
                decode=(0.0, decode / 1000 * _SPEEDS[d % 3], 0.0),
            )
            for name, (load_s, prefill, decode) in MODELS.items()
        }
        for d, device in enumerate(cluster.devices)
    }
    return Profile(costs=costs, source="declared")


def _graph(draw: random.Random, name: str, size: int) -> Graph:
    """Return a random DAG in which each call continues one of its parents, or starts anew."""
    made: list[Stage] = []
    for number in range(size):
        names = [stage.id for stage in made]
        parents = draw.sample(names, min(len(names), draw.choice((1, 1, 2, 3))))
        if draw.random() < 0.15:
            parents = []
        made.append(_stage(draw, name, f"s{number}", [s for s in made if s.id in parents]))
    return Graph(id=name, stages=tuple(made))


def _stage(draw: random.Random, workflow: str, name: str, parents: list[Stage]) -> Stage:
    model = draw.choice(list(MODELS))
    answers = tuple(
        Segment(item_key(f"{workflow}/{parent.id}", 0), int(parent.output_tokens))
        for parent in parents
    )
    prompt = (Segment(f"system-{model}", 800), Segment(f"{workflow}-task", 400), *answers)
    if parents and draw.random() < 0.5:
        model = parents[0].model
        prompt = (*parents[0].prompt, *answers)
    own = Segment(f"{workflow}-{name}", draw.randrange(50, 400, 10))
    tokens = draw.randrange(20, 200, 10)
    return Stage(
        id=name,
        kind="llm",
        model=model,
        parents=tuple(parent.id for parent in parents),
        prompt=(*prompt, own),
        output_tokens=float(tokens),
        max_tokens=tokens,
        output_bytes=1000 * draw.randrange(0, 4000, 100),
    )
