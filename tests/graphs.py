"""Small clusters, profiles and graphs for tests of the core and the drivers."""

from collections.abc import Iterable

from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Link, Model
from fate.domain.graph import ITEM, Graph, OnError, Segment, Stage, item_key

MIB = 1 << 20

#: id -> (MiB, load s, prefill tokens/s, decode tokens/s)
MODELS = {"A": (33, 0.40, 2500, 460), "B": (48, 0.45, 1370, 330), "C": (63, 0.50, 930, 240)}


def cluster(  # each is a property of the cluster
    devices: int = 2,
    memory_mib: int = 70,
    slots: int = 1,
    sequences: int = 4,
    tool_slots: int = 4,
    park_bytes: int = 0,
    link_bytes_per_s: float = 0.0,
) -> Cluster:
    """Equal devices for the models A, B, C; 70 MiB hold any one of them, 100 MiB some two.

    A token of KV cache takes 100 bytes where states can be parked or moved.
    """
    names = [f"d{d}" for d in range(devices)] if link_bytes_per_s else []
    links = [Link(source=s, target=t, bytes_per_s=link_bytes_per_s) for s in names for t in names]
    return Cluster(
        devices=tuple(
            Device(
                id=f"d{d}",
                engine="fake",
                memory_bytes=memory_mib * MIB,
                slots=slots,
                sequences=sequences,
                park_bytes=park_bytes,
            )
            for d in range(devices)
        ),
        models=tuple(
            Model(
                id=name,
                weight_bytes=figures[0] * MIB,
                kv_bytes_per_token=100 if park_bytes or link_bytes_per_s else 0,
                tokenizer="t",
            )
            for name, figures in MODELS.items()
        ),
        links=tuple(link for link in links if link.source != link.target),
        tool_slots=tool_slots,
    )


def profile(of: Cluster, factor: float = 1.0) -> Profile:
    """The costs of `MODELS` on every device, times a factor."""
    costs = {
        name: CallCosts(
            load_s=load_s * factor,
            unload_s=0.05 * factor,
            prefill=(0.002 * factor, factor / prefill, 0.0),
            decode=(0.0, factor / decode, 0.0),
        )
        for name, (_, load_s, prefill, decode) in MODELS.items()
    }
    return Profile(costs={device.id: costs for device in of.devices})


def llm(
    workflow: str,
    name: str,
    model: str,
    parents: Iterable[str] = (),
    *,
    system: int = 250,
    own: int = 60,
    out: int = 32,
) -> Stage:
    """A call with a system prompt shared by model, its own text, and its parents' outputs."""
    parents = tuple(parents)
    outputs = tuple(Segment(item_key(f"{workflow}/{parent}", 0), out) for parent in parents)
    return Stage(
        id=name,
        kind="llm",
        model=model,
        parents=parents,
        prompt=(Segment(f"system-{model}", system), Segment(f"{workflow}-text", own), *outputs),
        output_tokens=out,
        max_tokens=out,
    )


def group(
    name: str,
    *body: Stage,
    items: int = 1,
    rounds: float = 0.0,
    parents: Iterable[str] = (),
    on_error: OnError = "fail",
) -> Stage:
    """A map over `items`, or a loop where `rounds` are given."""
    return Stage(
        id=name,
        kind="group",
        body=body,
        items=items,
        loop=rounds > 0,
        rounds=rounds or 1.0,
        parents=tuple(parents),
        on_error=on_error,
    )


def chain(workflow: str, models: str) -> Graph:
    """One call after the other, a model per letter."""
    stages: list[Stage] = []
    for k, model in enumerate(models):
        stages.append(llm(workflow, f"s{k}", model, [f"s{k - 1}"] if k else []))
    return Graph(id=workflow, stages=tuple(stages))


def map_reduce(workflow: str, items: int = 4) -> Graph:
    """A tool that splits, a map, two critics, a join."""
    notes = Stage(
        id="notes",
        kind="llm",
        model="A",
        parents=("split",),
        prompt=(Segment("system-A", 250), Segment(f"{ITEM}{workflow}", 120)),
        output_tokens=32,
        max_tokens=32,
        mapped=True,
        items=items,
    )
    critics = [llm(workflow, f"critic{j}", "B", ["notes"]) for j in range(2)]
    split = Stage(id="split", kind="tool", tool_s=0.01)
    final = llm(workflow, "final", "C", ["critic0", "critic1"])
    return Graph(id=workflow, stages=(split, notes, *critics, final))


def mixed() -> list[Graph]:
    """Two map-reduces and four chains that alternate between three models out of phase."""
    orders = ("ABCAB", "BCABC", "CABCA", "ACBAC")
    return [map_reduce("m0"), *(chain(f"x{i}", o) for i, o in enumerate(orders)), map_reduce("m1")]
